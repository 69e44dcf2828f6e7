"""Pedestrians, bicycles and motorcycles, with and without riders."""

from __future__ import annotations

import numpy as np

from labelgen.demo.world.materials import Material
from labelgen.demo.world.primitives import Assembly, Colour
from labelgen.demo.world.shapes.thing import Thing, paint, shade

_SKIN: tuple[Colour, ...] = ((0.55, 0.36, 0.26), (0.38, 0.22, 0.14), (0.20, 0.10, 0.06), (0.62, 0.43, 0.33))
_HAIR: tuple[Colour, ...] = ((0.02, 0.018, 0.016), (0.1, 0.06, 0.03), (0.35, 0.25, 0.12), (0.3, 0.3, 0.3))
_DARK: Colour = (0.02, 0.02, 0.022)
_STRIDE = 0.42


def _pick(rng: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    return shade(rng, colours[int(rng.integers(len(colours)))])


def pedestrian(rng: np.random.Generator, walking: bool = True, worker: bool = False) -> Thing:
    """A standing or walking person: adult, child, worker or police officer."""
    kind = (
        "construction_worker"
        if worker
        else str(rng.choice(["adult", "child", "police_officer"], p=[0.82, 0.14, 0.04]))
    )
    height = rng.uniform(1.02, 1.4) if kind == "child" else rng.uniform(1.55, 1.92)
    word, top = paint(rng)
    _, bottom = paint(rng, ("blue", "black", "grey", "brown", "beige", "white", "green", "red"))
    if worker:
        word = str(rng.choice(["orange", "yellow"]))
        top = shade(rng, (0.85, 0.3, 0.02) if word == "orange" else (0.7, 0.75, 0.05), 0.1)
    elif kind == "police_officer":
        word, top, bottom = "blue", (0.02, 0.03, 0.12), (0.015, 0.02, 0.06)
    a = Assembly()
    _person(a, rng, height, top, bottom, _STRIDE if walking else 0.0, worker)
    if kind == "adult" and rng.random() < 0.25:
        colour = paint(rng)[1]
        a.hull(
            (-0.17 * height / 1.7, 0, 0.74 * height),
            (0.09, 0.16, 0.2),
            (-0.9, 0.9, 0.9),
            Material.CLOTH,
            colour,
        )
    elif kind == "adult" and rng.random() < 0.08:
        colour = paint(rng)[1]
        a.rod((0.2, 0, 0.8 * height), (0.2, 0, height + 0.3), 0.015, Material.METAL, _DARK)
        a.cone((0.2, 0, height + 0.22), (0.52, 0.52, 0.1), 0.1, Material.CLOTH, colour)
    noun = {
        "child": "child",
        "police_officer": "police officer",
        "construction_worker": "construction worker",
    }.get(kind, "pedestrian")
    return Thing(a, f"human.pedestrian.{kind}", noun, ("person",), word)


def _person(
    a: Assembly,
    rng: np.random.Generator,
    height: float,
    top: Colour,
    bottom: Colour,
    stride: float,
    vest: bool,
) -> None:
    s = height / 1.75
    broad = rng.uniform(0.9, 1.25)
    skin, pattern = _pick(rng, _SKIN), float(rng.integers(0, 4))
    skirt = rng.random() < 0.15 and not vest
    for side in (-1.0, 1.0):
        swing = stride * side
        a.cone(
            (0, side * 0.1 * s, 0.44 * s),
            (0.068 * s, 0.075 * s, 0.42 * s),
            1.0,
            Material.CLOTH,
            skin if skirt else bottom,
            swing=swing,
        )
        a.box((0.05 * s, side * 0.1 * s, 0.04 * s), (0.12 * s, 0.05 * s, 0.04 * s), Material.PLAIN, _DARK)
        a.cone(
            (0, side * 0.245 * broad * s, 1.12 * s),
            (0.05 * s, 0.05 * s, 0.29 * s),
            1.0,
            Material.CLOTH,
            top,
            swing=-0.8 * swing,
        )
    if skirt:
        a.cone(
            (0, 0, 0.75 * s), (0.25 * s, 0.26 * s, 0.25 * s), 0.6, Material.CLOTH, bottom, tex=(pattern, 0.0)
        )
    if vest:
        a.hull(
            (0, 0, 1.14 * s),
            (0.14 * s, 0.21 * broad * s, 0.31 * s),
            (-0.85, 0.85, 0.9),
            Material.BANDS,
            top,
            colour2=(0.75, 0.75, 0.7),
            tex=(0.28, 0.0),
        )
    else:
        a.hull(
            (0, 0, 1.14 * s),
            (0.13 * s, 0.2 * broad * s, 0.31 * s),
            (-0.85, 0.85, 0.92),
            Material.CLOTH,
            top,
            colour2=bottom,
            tex=(pattern, 0.0),
        )
    _head(a, rng, (0.0, 0.0, 1.61 * s), s, skin, helmet=vest)


def _head(
    a: Assembly,
    rng: np.random.Generator,
    at: tuple[float, float, float],
    s: float,
    skin: Colour,
    helmet: bool,
) -> None:
    a.ball(at, (0.1 * s, 0.085 * s, 0.125 * s), Material.SKIN, skin)
    cover = paint(rng)[1] if helmet else _pick(rng, _HAIR)
    a.ball((at[0] - 0.015, at[1], at[2] + 0.045 * s), (0.115 * s, 0.1 * s, 0.1 * s), Material.PLAIN, cover)


def _rider(
    a: Assembly, rng: np.random.Generator, seat: tuple[float, float], grip: tuple[float, float]
) -> None:
    """A person on a saddle at (x, z) with hands on a bar at (x, z)."""
    skin, top, bottom = _pick(rng, _SKIN), paint(rng)[1], paint(rng)[1]
    x, z = seat
    neck = (x + 0.28, z + 0.52)
    for side in (-1.0, 1.0):
        knee = (x + 0.38, side * 0.14, z - 0.08 - 0.12 * side)
        a.rod((x, side * 0.1, z + 0.05), knee, 0.075, Material.CLOTH, bottom)
        a.rod(knee, (x + 0.25, side * 0.14, z - 0.55 - 0.1 * side), 0.055, Material.CLOTH, bottom)
        a.rod(
            (neck[0], side * 0.2, neck[1] - 0.06), (grip[0], side * 0.25, grip[1]), 0.045, Material.CLOTH, top
        )
    middle = ((x + neck[0]) / 2, (z + neck[1]) / 2)
    lean = float(np.arctan2(neck[0] - x, neck[1] - z))
    a.hull(
        (middle[0], 0, middle[1]),
        (0.12, 0.19, 0.33),
        (-0.9, 0.9, 0.95),
        Material.CLOTH,
        top,
        turn=(0.0, lean, 0.0),
        colour2=bottom,
        tex=(float(rng.integers(0, 3)), 0.0),
    )
    _head(a, rng, (neck[0] + 0.07, 0.0, neck[1] + 0.2), 1.0, skin, helmet=rng.random() < 0.7)


def bicycle(rng: np.random.Generator, rider: bool = False) -> Thing:
    """A bicycle; its rider belongs to it, as in nuScenes."""
    word, frame = paint(rng)
    a = Assembly()
    r, base = 0.34, 0.53
    for x in (-base, base):
        a.tube((x, 0, r), (r, r, 0.028), 0.84, Material.PLAIN, _DARK, turn=(0.0, 0.0, np.pi / 2))
        a.cone(
            (x, 0, r), (0.05, 0.05, 0.04), 1.0, Material.METAL, (0.3, 0.3, 0.3), turn=(0.0, 0.0, np.pi / 2)
        )
        for k in range(3):
            c, s = 0.9 * r * np.cos(k * np.pi / 3 + 0.3), 0.9 * r * np.sin(k * np.pi / 3 + 0.3)
            a.rod((x - c, 0, r - s), (x + c, 0, r + s), 0.007, Material.METAL, (0.4, 0.4, 0.4))
    crank, seat, head = (-0.08, 0.3), (-0.22, 0.86), (0.38, 0.82)
    for p, q in (
        (crank, seat),
        (crank, head),
        ((seat[0], 0.78), head),
        ((-base, r), crank),
        ((-base, r), seat),
    ):
        a.rod((p[0], 0, p[1]), (q[0], 0, q[1]), 0.024, Material.PLAIN, frame)
    a.rod((base, 0, r), (head[0] - 0.04, 0, 1.0), 0.024, Material.PLAIN, frame)
    a.rod((0.35, -0.28, 1.02), (0.35, 0.28, 1.02), 0.018, Material.METAL, _DARK)
    a.hull((seat[0], 0, 0.92), (0.14, 0.08, 0.04), (-0.9, 0.5, 0.8), Material.PLAIN, _DARK)
    if rng.random() < 0.3:
        a.box((0.58, 0, 0.86), (0.15, 0.18, 0.12), Material.WOOD, (0.3, 0.18, 0.08))
    if rider:
        _rider(a, rng, (seat[0], 0.92), (0.35, 1.02))
    synonyms = ("cyclist", "bike with a rider") if rider else ("bike",)
    return Thing(a, "vehicle.bicycle", "bicycle", synonyms, word)


def motorcycle(rng: np.random.Generator, rider: bool = False) -> Thing:
    """A motorcycle or scooter; its rider belongs to it, as in nuScenes."""
    word, body = paint(rng)
    scooter = rng.random() < 0.4
    a = Assembly()
    r, base = (0.25, 0.62) if scooter else (0.32, 0.72)
    for x in (-base, base):
        a.cone(
            (x, 0, r),
            (r, r, 0.07),
            1.0,
            Material.TYRE,
            _DARK,
            colour2=(0.4, 0.4, 0.4),
            turn=(0.0, 0.0, np.pi / 2),
        )
    bar = (0.42, 1.02)
    if scooter:
        a.hull((-0.45, 0, 0.55), (0.5, 0.18, 0.25), (-0.9, 0.6, 0.8), Material.PLAIN, body)
        a.box((0.12, 0, 0.32), (0.35, 0.16, 0.05), Material.PLAIN, body)
        a.hull((0.45, 0, 0.62), (0.12, 0.2, 0.32), (-0.9, 0.3, 0.7), Material.PLAIN, body)
        a.hull((-0.42, 0, 0.83), (0.38, 0.15, 0.05), (-0.9, 0.9, 0.9), Material.CLOTH, _DARK)
        if rng.random() < 0.5:
            a.box((-0.85, 0, 1.08), (0.22, 0.24, 0.22), Material.PLAIN, paint(rng)[1])
    else:
        a.hull((0.12, 0, 0.82), (0.32, 0.17, 0.15), (-0.8, 0.8, 0.6), Material.PLAIN, body)
        a.box((0.02, 0, 0.48), (0.32, 0.2, 0.2), Material.METAL, (0.12, 0.12, 0.12))
        a.hull((-0.42, 0, 0.82), (0.38, 0.14, 0.07), (-0.9, 0.9, 0.8), Material.CLOTH, _DARK)
        a.hull((0.55, 0, 0.92), (0.14, 0.17, 0.18), (-0.6, 0.4, 0.6), Material.PLAIN, body)
        a.rod((-0.9, -0.2, 0.35), (0.0, -0.2, 0.3), 0.055, Material.METAL, (0.45, 0.45, 0.45))
        a.hull((-0.72, 0, 0.7), (0.2, 0.1, 0.1), (-0.9, 0.9, 0.8), Material.PLAIN, body)
    a.rod((base, 0, r), (0.4, 0, 1.0), 0.05, Material.METAL, (0.35, 0.35, 0.35))
    a.rod((bar[0], -0.36, bar[1]), (bar[0], 0.36, bar[1]), 0.022, Material.METAL, _DARK)
    a.ball((0.58, 0, 0.9), (0.08, 0.1, 0.1), Material.PLAIN, (0.8, 0.8, 0.75))
    if rider:
        _rider(a, rng, (-0.3, 0.9), bar)
    synonyms = ("motorbike", "motorcyclist" if rider else "scooter" if scooter else "motorbike")
    return Thing(a, "vehicle.motorcycle", "motorcycle", tuple(dict.fromkeys(synonyms)), word)
