"""Buildings; the front looks along -y, the origin lies under the middle of the front wall."""

from __future__ import annotations

import numpy as np

from labelgen.demo.world.materials import Material
from labelgen.demo.world.primitives import Assembly, Colour
from labelgen.demo.world.shapes.thing import Thing, paint, shade

_PANE: tuple[Colour, ...] = ((0.05, 0.07, 0.09), (0.03, 0.05, 0.06), (0.08, 0.11, 0.12), (0.04, 0.08, 0.07))
_WALLS = ("white", "beige", "grey", "red", "brown", "yellow", "silver", "blue", "green", "pink", "orange")
_WALL_WEIGHTS = np.array([0.16, 0.18, 0.17, 0.12, 0.1, 0.08, 0.05, 0.05, 0.04, 0.03, 0.02])


def _pane(rng: np.random.Generator) -> Colour:
    return shade(rng, _PANE[int(rng.integers(len(_PANE)))])


def tower(rng: np.random.Generator, width: float, depth: float) -> Thing:
    """City building of 3 to 14 storeys with a base, a parapet and sometimes set-backs or balconies."""
    word, wall = paint(rng, _WALLS, _WALL_WEIGHTS)
    storey = rng.uniform(3.0, 3.8)
    storeys = int(rng.integers(3, 15))
    high = storeys * storey
    material = Material.CURTAIN if rng.random() < 0.35 else Material.FACADE
    pane, tex = _pane(rng), (rng.uniform(1.4, 3.6), storey)
    a = Assembly()
    base = rng.uniform(3.4, 4.6)
    inset = rng.choice([0.0, 0.0, 1.2])
    a.box(
        (0, depth / 2 + inset / 2, base / 2),
        (width / 2 - inset, depth / 2 - inset / 2, base / 2),
        Material.CURTAIN if rng.random() < 0.6 else Material.BRICK,
        paint(rng, _WALLS, _WALL_WEIGHTS)[1],
        colour2=pane,
        tex=(rng.uniform(2.5, 4.5), base),
    )
    a.box(
        (0, depth / 2, base + high / 2),
        (width / 2, depth / 2, high / 2),
        material,
        wall,
        colour2=pane,
        tex=tex,
    )
    if inset:
        for k in range(int(width / 5) + 1):
            x = -width / 2 + 0.6 + k * (width - 1.2) / max(int(width / 5), 1)
            a.cone((x, 0.4, base / 2), (0.3, 0.3, base / 2), 1.0, Material.CONCRETE, (0.4, 0.4, 0.38))
    a.box(
        (0, depth / 2, base + high + 0.4), (width / 2 + 0.15, depth / 2 + 0.15, 0.4), Material.CONCRETE, wall
    )
    if rng.random() < 0.4:
        for k in range(1, storeys):
            a.box((0, -0.35, base + k * storey), (width * 0.4, 0.6, 0.1), Material.CONCRETE, wall)
            a.box(
                (0, -0.9, base + k * storey + 0.5),
                (width * 0.4, 0.03, 0.45),
                Material.METAL,
                paint(rng)[1],
                open=(-0.4, 0.3) if rng.random() < 0.5 else (0.0, 0.0),
            )
    elif rng.random() < 0.4:
        awning = paint(rng)[1]
        a.hull(
            (0, -0.7, base - 0.9),
            (width * 0.35, 0.8, 0.2),
            (-1.0, 1.0, 0.3),
            Material.BANDS,
            awning,
            colour2=(0.75, 0.73, 0.7),
            tex=(0.2, 0.0),
        )
    return Thing(a, "static.manmade", "building", ("office building", "tower"), word)


def house(rng: np.random.Generator, width: float, depth: float) -> Thing:
    """House of one to three storeys with a pitched roof."""
    word, wall = paint(rng, _WALLS, _WALL_WEIGHTS)
    storey = rng.uniform(2.7, 3.1)
    high = storey * int(rng.integers(1, 4)) + 0.4
    roof = shade(rng, [(0.30, 0.09, 0.05), (0.10, 0.10, 0.11), (0.16, 0.10, 0.07)][int(rng.integers(3))])
    a = Assembly()
    if rng.random() < 0.4:
        a.box(
            (0, depth / 2, high / 2),
            (width / 2, depth / 2, high / 2),
            Material.BRICK,
            wall,
            colour2=(0.5, 0.48, 0.45),
        )
        for k in range(int(width / 2.6)):
            x = -width / 2 + 1.4 + k * 2.6
            for z in np.arange(1.5, high - 0.6, storey):
                a.box((x, 0.0, z), (0.55, 0.04, 0.65), Material.GLASS, _pane(rng))
    else:
        a.box(
            (0, depth / 2, high / 2),
            (width / 2, depth / 2, high / 2),
            Material.FACADE,
            wall,
            colour2=_pane(rng),
            tex=(rng.uniform(2.0, 3.0), storey),
        )
    pitch = rng.uniform(1.2, 2.6)
    ridge = 0.02 if rng.random() < 0.7 else 0.4
    if rng.random() < 0.5:
        a.hull(
            (0, depth / 2, high + pitch / 2),
            (width / 2 + 0.4, depth / 2 + 0.4, pitch / 2),
            (-0.98, 0.98, ridge),
            Material.TILES,
            roof,
        )
    else:
        a.hull(
            (0, depth / 2, high + pitch / 2),
            (width / 2 + 0.4, depth / 2 + 0.4, pitch / 2),
            (-ridge, ridge, 0.98),
            Material.TILES,
            roof,
        )
    a.box((0.2 * width, -0.02, 1.05), (0.5, 0.06, 1.05), Material.WOOD, paint(rng)[1])
    if rng.random() < 0.5:
        a.box(
            (-0.25 * width, depth * 0.5, high + pitch * 0.8),
            (0.3, 0.3, 0.8),
            Material.BRICK,
            (0.3, 0.1, 0.07),
        )
    return Thing(a, "static.manmade", "house", ("building", "home"), word)


def hall(rng: np.random.Generator, width: float, depth: float) -> Thing:
    """Warehouse or workshop with gates."""
    word, wall = paint(rng, _WALLS, _WALL_WEIGHTS)
    high = rng.uniform(5.0, 9.0)
    a = Assembly()
    a.box((0, depth / 2, high / 2), (width / 2, depth / 2, high / 2), Material.RIBBED, wall, tex=(0.5, 0.0))
    a.box(
        (0, depth / 2, high + 0.15), (width / 2 + 0.1, depth / 2 + 0.1, 0.2), Material.METAL, (0.2, 0.2, 0.2)
    )
    gate = paint(rng)[1]
    for k in range(int(width / 6)):
        a.box((-width / 2 + 3 + 6 * k, -0.02, 1.9), (1.8, 0.06, 1.9), Material.RIBBED, gate, tex=(0.35, 0.0))
    return Thing(a, "static.manmade", "warehouse", ("building", "hall"), word)


def container(rng: np.random.Generator) -> Thing:
    """Shipping container or site hut on the ground."""
    word, colour = paint(rng)
    a = Assembly()
    hx = rng.choice([3.0, 6.0])
    a.box((0, 1.22, 1.3), (hx, 1.22, 1.3), Material.RIBBED, colour, tex=(0.28, 0.0))
    return Thing(a, "static.manmade", "container", ("hut",), word)
