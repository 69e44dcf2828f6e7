"""Barriers, cones, poles, signs, lamps, fences, walls and other things that stand in streets."""

from __future__ import annotations

import numpy as np

from labelgen.demo.world.materials import Material
from labelgen.demo.world.primitives import Assembly, Colour
from labelgen.demo.world.shapes.thing import PALETTE, Thing, paint, shade

_DARK: Colour = (0.03, 0.03, 0.03)
_STEEL: Colour = (0.32, 0.33, 0.34)
_WHITE: Colour = (0.75, 0.75, 0.72)
_MANMADE = "static.manmade"


def barrier(rng: np.random.Generator, kind: str | None = None) -> Thing:
    """Concrete or plastic road barrier, crowd fence or striped board."""
    kind = kind or str(rng.choice(["concrete", "plastic", "fence", "board"], p=[0.3, 0.35, 0.2, 0.15]))
    a = Assembly()
    if kind == "concrete":
        word, colour = "grey", shade(rng, (0.42, 0.41, 0.38))
        a.hull((0, 0, 0.15), (1.0, 0.3, 0.15), (-1.0, 1.0, 0.55), Material.CONCRETE, colour)
        a.hull((0, 0, 0.6), (1.0, 0.17, 0.3), (-1.0, 1.0, 0.7), Material.CONCRETE, colour)
    elif kind == "plastic":
        word, colour = paint(rng, ("red", "white", "orange", "yellow", "blue", "green"))
        a.hull((0, 0, 0.25), (0.8, 0.27, 0.25), (-1.0, 1.0, 0.6), Material.PLAIN, colour)
        a.hull((0, 0, 0.75), (0.8, 0.18, 0.25), (-0.97, 0.97, 0.8), Material.PLAIN, colour)
        a.box((0, 0, 0.62), (0.6, 0.185, 0.06), Material.BANDS, colour, colour2=_WHITE, tex=(0.12, 0.0))
    elif kind == "fence":
        word, colour = paint(rng, ("silver", "grey", "yellow", "red", "blue"))
        a.box((0, 0, 0.62), (1.1, 0.03, 0.48), Material.METAL, colour, open=(-0.22, 0.16))
        for x in (-0.85, 0.85):
            a.box((x, 0, 0.07), (0.04, 0.3, 0.07), Material.METAL, colour)
    else:
        word = str(rng.choice(["red", "orange", "yellow", "blue"]))
        colour = shade(rng, PALETTE[word])
        for z in (0.5, 0.9):
            a.box((0, 0, z), (0.9, 0.03, 0.13), Material.DIAGONAL, colour, colour2=_WHITE, tex=(0.5, 0.0))
        for x in (-0.75, 0.75):
            a.rod((x, -0.3, 0.0), (x, 0.0, 1.0), 0.03, Material.METAL, _STEEL)
            a.rod((x, 0.3, 0.0), (x, 0.0, 1.0), 0.03, Material.METAL, _STEEL)
    name = {
        "concrete": "concrete barrier",
        "plastic": "plastic barrier",
        "fence": "barricade",
        "board": "barricade",
    }
    return Thing(a, "movable_object.barrier", "barrier", ("road barrier", name[kind]), word)


def cone(rng: np.random.Generator) -> Thing:
    """Traffic cone or delineator post."""
    word, colour = paint(rng, ("orange", "red", "yellow", "green", "blue"), [0.58, 0.18, 0.12, 0.06, 0.06])
    a = Assembly()
    second = _WHITE if rng.random() < 0.8 else _DARK
    if rng.random() < 0.72:
        high = rng.uniform(0.45, 0.95)
        a.box((0, 0, 0.03), (0.22, 0.22, 0.03), Material.PLAIN, _DARK if rng.random() < 0.5 else colour)
        a.cone(
            (0, 0, 0.06 + high / 2),
            (0.17, 0.17, high / 2),
            0.2,
            Material.BANDS,
            colour,
            colour2=second,
            tex=(0.3, 0.0),
        )
    else:
        high = rng.uniform(0.8, 1.1)
        a.cone((0, 0, 0.05), (0.24, 0.24, 0.05), 0.9, Material.PLAIN, _DARK)
        a.cone(
            (0, 0, 0.1 + high / 2),
            (0.09, 0.09, high / 2),
            0.8,
            Material.BANDS,
            colour,
            colour2=second,
            tex=(0.3, 0.0),
        )
    return Thing(a, "movable_object.trafficcone", "traffic cone", ("cone", "pylon"), word)


def lamp(rng: np.random.Generator) -> Thing:
    """Street lamp with an arm over the road (towards +y)."""
    word, colour = paint(rng, ("grey", "silver", "black", "green", "white"))
    high, arm = rng.uniform(6.0, 9.0), rng.uniform(1.2, 2.4)
    a = Assembly()
    a.cone((0, 0, high / 2), (0.11, 0.11, high / 2), 0.6, Material.METAL, colour)
    a.cone((0, 0, 0.4), (0.16, 0.16, 0.4), 0.9, Material.METAL, colour)
    a.rod((0, 0, high - 0.1), (0, arm, high + 0.4), 0.05, Material.METAL, colour)
    a.hull((0, arm + 0.25, high + 0.4), (0.13, 0.4, 0.07), (-0.8, 0.8, 0.8), Material.PLAIN, (0.6, 0.6, 0.55))
    return Thing(a, _MANMADE, "street lamp", ("lamp post", "pole"), word)


def sign(rng: np.random.Generator) -> Thing:
    """Traffic sign on a post; its face looks along +x."""
    word, colour = paint(rng, ("red", "blue", "white", "yellow", "green"))
    high = rng.uniform(2.2, 2.9)
    a = Assembly()
    a.cone((0, 0, high / 2), (0.04, 0.04, high / 2), 1.0, Material.METAL, _STEEL)
    second = _WHITE if word != "white" else _DARK
    size = rng.uniform(0.28, 0.42)
    if rng.random() < 0.5:
        a.cone(
            (0.05, 0, high),
            (size, size, 0.02),
            1.0,
            Material.SIGN,
            colour,
            colour2=second,
            turn=(0.0, np.pi / 2, 0.0),
        )
    else:
        a.box(
            (0.05, 0, high), (0.02, size * rng.uniform(0.8, 1.6), size), Material.SIGN, colour, colour2=second
        )
    return Thing(a, _MANMADE, "traffic sign", ("sign", "sign post"), word)


def traffic_light(rng: np.random.Generator) -> Thing:
    """Signal on a post, with a second head on an arm (towards +y)."""
    word, colour = paint(rng, ("black", "grey", "green", "yellow"))
    a = Assembly()
    a.cone((0, 0, 2.6), (0.09, 0.09, 2.6), 0.8, Material.METAL, colour)
    a.rod((0, 0, 5.1), (0, 3.2, 5.3), 0.06, Material.METAL, colour)
    for y, z in ((0.0, 2.9), (3.0, 5.0)):
        a.box((0.14, y, z), (0.1, 0.15, 0.45), Material.PLAIN, _DARK)
        for k, light in enumerate(((0.1, 0.7, 0.2), (0.3, 0.2, 0.02), (0.3, 0.02, 0.02))):
            a.ball((0.23, y, z - 0.28 + 0.28 * k), (0.04, 0.1, 0.1), Material.PLAIN, light)
    return Thing(a, _MANMADE, "traffic light", ("traffic signal",), word)


def bollard(rng: np.random.Generator) -> Thing:
    """Short post."""
    word, colour = paint(rng, ("grey", "black", "yellow", "white", "brown"))
    a = Assembly()
    a.cone((0, 0, 0.45), (0.1, 0.1, 0.45), 0.85, Material.BANDS, colour, colour2=_WHITE, tex=(0.6, 0.0))
    return Thing(a, _MANMADE, "bollard", ("post",), word)


def fence(rng: np.random.Generator, length: float) -> Thing:
    """Fence of bars, boards or mesh along x."""
    kind = str(rng.choice(["bars", "boards", "mesh"]))
    word, colour = paint(rng, ("black", "green", "white", "brown", "grey", "silver"))
    high = rng.uniform(0.9, 2.0)
    a = Assembly()
    if kind == "boards":
        a.box((0, 0, high / 2), (length / 2, 0.03, high / 2), Material.WOOD, colour)
    else:
        spacing = (-0.25, 0.14) if kind == "bars" else (-0.3, 0.07)
        a.box((0, 0, high / 2), (length / 2, 0.02, high / 2), Material.METAL, colour, open=spacing)
    for k in range(int(length / 2.5) + 1):
        a.box(
            (-length / 2 + k * 2.5, 0, high / 2 + 0.04), (0.05, 0.05, high / 2 + 0.04), Material.METAL, colour
        )
    return Thing(a, _MANMADE, "fence", ("railing",), word)


def wall(rng: np.random.Generator, length: float) -> Thing:
    """Free-standing wall along x."""
    word, colour = paint(rng, ("red", "brown", "grey", "beige", "white"))
    high = rng.uniform(0.7, 2.6)
    material = Material.BRICK if rng.random() < 0.5 else Material.CONCRETE
    a = Assembly()
    a.box(
        (0, 0, high / 2),
        (length / 2, 0.15, high / 2),
        material,
        colour,
        colour2=(0.5, 0.48, 0.45),
        tex=(1.2, 0.0),
    )
    a.box((0, 0, high + 0.04), (length / 2 + 0.02, 0.2, 0.05), Material.CONCRETE, (0.4, 0.39, 0.37))
    return Thing(a, _MANMADE, "wall", ("stone wall",), word)


def shelter(rng: np.random.Generator) -> Thing:
    """Bus shelter, open towards +y."""
    word, colour = paint(rng, ("grey", "black", "green", "red", "blue", "white"))
    a = Assembly()
    a.box((0, 0, 2.5), (2.2, 0.8, 0.06), Material.PLAIN, colour)
    a.box((0, -0.72, 1.25), (2.1, 0.03, 1.15), Material.GLASS, (0.10, 0.13, 0.14))
    for x in (-2.1, 2.1):
        a.box((x, -0.7, 1.25), (0.05, 0.05, 1.25), Material.METAL, colour)
        a.box((x, 0.5, 1.25), (0.05, 0.05, 1.25), Material.METAL, colour)
    a.box((-0.4, -0.45, 0.48), (1.2, 0.2, 0.04), Material.WOOD, (0.3, 0.2, 0.1))
    a.box((2.1, 0.0, 1.2), (0.08, 0.5, 0.9), Material.SIGN, paint(rng)[1], colour2=paint(rng)[1])
    return Thing(a, _MANMADE, "bus stop", ("bus shelter",), word)


def kiosk(rng: np.random.Generator) -> Thing:
    """Box, kiosk, hoarding or switch cabinet."""
    word, colour = paint(rng)
    a = Assembly()
    kind = rng.integers(0, 3)
    if kind == 0:
        a.box((0, 0, 0.65), (0.45, 0.25, 0.65), Material.METAL, colour)
    elif kind == 1:
        a.box((0, 0, 1.2), (1.4, 1.0, 1.2), Material.PLAIN, colour)
        a.box((0, 0.6, 2.5), (1.6, 1.7, 0.08), Material.BANDS, colour, colour2=_WHITE, tex=(0.4, 0.0))
    else:
        for x in (-1.2, 1.2):
            a.box((x, 0, 1.0), (0.06, 0.06, 1.0), Material.METAL, _STEEL)
        a.box((0, 0, 2.6), (1.7, 0.07, 0.9), Material.SIGN, colour, colour2=paint(rng)[1])
    return Thing(a, _MANMADE, str(["cabinet", "kiosk", "billboard"][int(kind)]), ("structure",), word)


def clutter(rng: np.random.Generator) -> Thing:
    """Things of the categories that the challenge ignores: bins, carts, debris, racks, a dog."""
    word, colour = paint(rng)
    a = Assembly()
    kind = int(rng.integers(0, 4))
    if kind == 0:
        a.hull(
            (0, 0, 0.55), (0.32, 0.3, 0.5), (-0.9, 0.9, 0.9), Material.PLAIN, colour, turn=(0.0, np.pi, 0.0)
        )
        a.box((0, 0, 1.07), (0.33, 0.31, 0.04), Material.PLAIN, colour)
        return Thing(a, "movable_object.pushable_pullable", "rubbish bin", ("bin",), word)
    if kind == 1:
        for _ in range(4):
            size = rng.uniform(0.06, 0.25, 3)
            a.box(
                (rng.normal(0, 0.3), rng.normal(0, 0.3), size[2]),
                tuple(size),
                Material.WOOD,
                paint(rng)[1],
                turn=(rng.uniform(0, 3), 0.0, 0.0),
            )
        return Thing(a, "movable_object.debris", "debris", ("rubble",), word)
    if kind == 2:
        for x in (-0.8, -0.3, 0.2, 0.7):
            a.tube(
                (x, 0, 0.35),
                (0.35, 0.35, 0.025),
                0.88,
                Material.METAL,
                _STEEL,
                turn=(np.pi / 2, 0.0, np.pi / 2),
            )
        return Thing(a, "static_object.bicycle_rack", "bicycle rack", ("bike rack",), "silver")
    fur = shade(rng, (0.25, 0.15, 0.08), 0.6)
    a.ball((0, 0, 0.42), (0.34, 0.12, 0.14), Material.CLOTH, fur)
    a.ball((0.36, 0, 0.58), (0.13, 0.08, 0.09), Material.CLOTH, fur)
    for x in (-0.2, 0.2):
        for side in (-1.0, 1.0):
            a.rod((x, side * 0.07, 0.0), (x, side * 0.07, 0.4), 0.03, Material.CLOTH, fur)
    return Thing(a, "animal", "dog", ("animal",), "brown")
