"""Trees, bushes and hedges: ellipsoids and boxes with holes between their leaves."""

from __future__ import annotations

import numpy as np

from labelgen.demo.world.materials import Material
from labelgen.demo.world.primitives import Assembly, Colour, Triple
from labelgen.demo.world.shapes.thing import Thing, shade

#: Word and two linear colours of leaves.
_LEAVES: tuple[tuple[str, Colour, Colour], ...] = (
    ("green", (0.05, 0.13, 0.025), (0.09, 0.19, 0.04)),
    ("green", (0.035, 0.09, 0.03), (0.06, 0.13, 0.045)),
    ("green", (0.10, 0.17, 0.03), (0.17, 0.24, 0.05)),
    ("yellow", (0.34, 0.24, 0.03), (0.22, 0.19, 0.04)),
    ("red", (0.26, 0.045, 0.03), (0.16, 0.06, 0.03)),
    ("brown", (0.16, 0.10, 0.045), (0.22, 0.13, 0.05)),
    ("pink", (0.55, 0.28, 0.32), (0.16, 0.20, 0.06)),
)
_SHARES = np.array([0.5, 0.14, 0.08, 0.14, 0.14])
_STREET_SHARES = np.array([0.6, 0.16, 0.08, 0.16])
_WEIGHTS = np.array([0.3, 0.22, 0.18, 0.11, 0.07, 0.07, 0.05])


def _foliage(rng: np.random.Generator) -> tuple[str, Colour, Colour]:
    word, a, b = _LEAVES[int(rng.choice(len(_LEAVES), p=_WEIGHTS))]
    return word, shade(rng, a), shade(rng, b)


def _crown(
    a: Assembly,
    at: Triple,
    half: Triple,
    leaf: Colour,
    leaf2: Colour,
    size: float,
    turn: Triple = (0.0, 0.0, 0.0),
) -> None:
    """A ball of leaves: two ragged shells around a denser core; ``size`` is that of a spray of leaves."""
    for scale, holes in ((1.0, 0.62), (0.86, 0.4), (0.68, 0.12)):
        shell = (half[0] * scale, half[1] * scale, half[2] * scale)
        a.ball(
            at,
            shell,
            Material.LEAVES,
            leaf,
            colour2=leaf2,
            open=(holes, size * (1.2 - 0.2 * scale)),
            turn=turn,
        )


def tree(rng: np.random.Generator, street: bool = False) -> Thing:
    """Broad-leaved tree, column, conifer, palm or bare young tree; in a ``street`` none with low branches."""
    kinds = ["broad", "column", "palm", "young", "conifer"]
    kind = str(rng.choice(kinds[:4] if street else kinds, p=_STREET_SHARES if street else _SHARES))
    word, leaf, leaf2 = _foliage(rng)
    bark = shade(rng, (0.12, 0.085, 0.06))
    a = Assembly()
    if kind == "conifer":
        high = rng.uniform(4.5, 9.0)
        a.cone((0, 0, 0.5), (0.13, 0.13, 0.5), 0.9, Material.BARK, bark)
        layers = 3
        for k in range(layers):
            z, r = 0.9 + (high - 0.9) * k / (layers + 0.6), (1.9 - 0.5 * k) * high / 8
            tall = (high - 0.9) * 0.45
            a.cone(
                (0, 0, z + tall / 2),
                (r, r, tall / 2),
                0.12,
                Material.LEAVES,
                leaf,
                colour2=leaf2,
                open=(0.22, 0.24),
            )
        return Thing(a, "static.vegetation", "conifer", ("tree", "fir"), word)
    trunk = {
        "broad": rng.uniform(2.8 if street else 2.0, 3.4),
        "column": 1.4,
        "palm": rng.uniform(4.5, 7.0),
        "young": 1.7,
    }[kind]
    thick = {"broad": rng.uniform(0.14, 0.28), "column": 0.12, "palm": 0.16, "young": 0.05}[kind]
    a.cone((0, 0, trunk * 0.6), (thick, thick, trunk * 0.6), 0.7, Material.BARK, bark)
    if kind == "palm":
        for k in range(9):
            turn = 2 * np.pi * k / 9 + rng.uniform(0, 0.4)
            out = (0.95 * np.cos(turn), 0.95 * np.sin(turn), trunk * 1.2 - 0.05)
            a.ball(
                out,
                (1.1, 0.28, 0.16),
                Material.LEAVES,
                leaf,
                colour2=leaf2,
                turn=(turn, 0.35, 0.0),
                open=(0.3, 0.16),
            )
        return Thing(a, "static.vegetation", "palm tree", ("tree", "palm"), "green")
    if kind == "column":
        tall = rng.uniform(2.0, 3.6)
        _crown(a, (0, 0, trunk + tall), (0.85, 0.85, tall), leaf, leaf2, 0.13)
    else:
        crowns, spread = (5, rng.uniform(1.0, 1.8)) if kind == "broad" else (2, 0.6)
        for k in range(crowns):
            size = spread * rng.uniform(0.75, 1.1)
            turn = 2 * np.pi * k / crowns + rng.uniform(0, 1)
            off = spread * 0.62 * (k > 0)
            at = (off * np.cos(turn), off * np.sin(turn), trunk * 1.05 + size * rng.uniform(0.5, 1.0))
            _crown(a, at, (size, size, size * 0.8), leaf, leaf2, 0.15)
    return Thing(a, "static.vegetation", "tree", ("leafy tree",), word)


def bush(rng: np.random.Generator) -> Thing:
    """A bush of one to three mounds."""
    word, leaf, leaf2 = _foliage(rng)
    a = Assembly()
    for _ in range(int(rng.integers(1, 4))):
        r = rng.uniform(0.35, 0.8)
        at = (rng.normal(0, 0.4), rng.normal(0, 0.4), r * 0.7)
        _crown(a, at, (r, r, r * 0.85), leaf, leaf2, 0.08)
    return Thing(a, "static.vegetation", "bush", ("shrub",), word)


def hedge(rng: np.random.Generator, length: float) -> Thing:
    """A clipped hedge along x."""
    word, leaf, leaf2 = _foliage(rng)
    high, deep = rng.uniform(0.8, 1.8), rng.uniform(0.3, 0.5)
    a = Assembly()
    for grow, holes in ((0.0, 0.3), (0.07, 0.62)):
        half = (length / 2 + grow, deep + grow, (high + grow) / 2)
        a.box((0, 0, half[2]), half, Material.LEAVES, leaf, colour2=leaf2, open=(holes, 0.09))
    a.box(
        (0, 0, high / 2 - 0.06),
        (length / 2 - 0.1, deep - 0.1, high / 2 - 0.06),
        Material.LEAVES,
        leaf,
        colour2=leaf2,
    )
    return Thing(a, "static.vegetation", "hedge", ("bushes",), word)
