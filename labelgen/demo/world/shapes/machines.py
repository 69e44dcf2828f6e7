"""Construction vehicles: excavator, wheel loader, roller, mobile crane and forklift."""

from __future__ import annotations

import numpy as np

from labelgen.demo.world.materials import Material
from labelgen.demo.world.primitives import Assembly, Colour
from labelgen.demo.world.shapes.thing import Thing, paint
from labelgen.demo.world.shapes.vehicles import wheels

_DARK: Colour = (0.03, 0.03, 0.03)
_GLASS: Colour = (0.03, 0.04, 0.05)


def construction_vehicle(rng: np.random.Generator) -> Thing:
    """One of five machines."""
    make = [_excavator, _loader, _roller, _crane, _forklift][
        int(rng.choice(5, p=[0.38, 0.22, 0.14, 0.16, 0.1]))
    ]
    word, body = paint(
        rng,
        ("yellow", "orange", "white", "red", "green", "blue", "grey"),
        [0.42, 0.2, 0.08, 0.1, 0.08, 0.06, 0.06],
    )
    a, name = make(rng, body)
    return Thing(a, "vehicle.construction", "construction vehicle", (name, "construction machine"), word)


def _excavator(rng: np.random.Generator, body: Colour) -> tuple[Assembly, str]:
    a = Assembly()
    for side in (-1.0, 1.0):
        a.hull(
            (0, side * 1.05, 0.42),
            (1.75, 0.28, 0.42),
            (-0.85, 0.85, 1.0),
            Material.RIBBED,
            _DARK,
            tex=(0.2, 0.0),
        )
    a.box((0, 0, 0.75), (0.7, 0.8, 0.2), Material.METAL, _DARK)
    top, swing = Assembly(), float(rng.uniform(-1.2, 1.2))
    top.box((-0.5, 0, 1.45), (1.4, 1.25, 0.42), Material.PLAIN, body)
    top.hull((-1.35, 0, 1.95), (0.6, 1.15, 0.2), (-0.9, 0.9, 0.9), Material.METAL, body)
    top.hull((0.35, 0.75, 2.15), (0.6, 0.45, 0.75), (-0.95, 0.75, 0.92), Material.GLASS, _GLASS)
    top.box((0.3, 0.75, 2.92), (0.55, 0.44, 0.05), Material.PLAIN, body)
    elbow = (float(rng.uniform(2.4, 3.0)), -0.1, float(rng.uniform(3.0, 4.2)))
    wrist = (float(rng.uniform(4.0, 4.8)), -0.1, float(rng.uniform(1.0, 2.2)))
    top.rod((0.7, -0.1, 1.5), elbow, 0.2, Material.PLAIN, body)
    top.rod(elbow, wrist, 0.15, Material.PLAIN, body)
    top.rod((0.8, -0.1, 1.2), (elbow[0] * 0.6, -0.1, elbow[2] * 0.8), 0.07, Material.METAL, (0.4, 0.4, 0.4))
    top.hull(
        (wrist[0] - 0.15, -0.1, wrist[2] - 0.35),
        (0.4, 0.5, 0.35),
        (-0.5, 1.0, 1.0),
        Material.METAL,
        (0.12, 0.11, 0.1),
        turn=(0.0, np.pi, 0.0),
    )
    a.add(top, yaw=swing)
    return a, "excavator"


def _loader(rng: np.random.Generator, body: Colour) -> tuple[Assembly, str]:
    a = Assembly()
    a.hull((-1.3, 0, 1.35), (1.4, 0.95, 0.55), (-0.85, 1.0, 0.85), Material.PLAIN, body)
    a.box((1.1, 0, 1.1), (0.9, 0.55, 0.35), Material.PLAIN, body)
    a.hull((0.1, 0, 2.35), (0.75, 0.75, 0.75), (-0.9, 0.75, 0.9), Material.GLASS, _GLASS)
    a.box((0.05, 0, 3.13), (0.75, 0.75, 0.06), Material.PLAIN, body)
    wheels(a, (-1.4, 1.4), 1.3, 0.75, 0.5, body)
    lift = float(rng.uniform(0.5, 2.4))
    for side in (-1.0, 1.0):
        a.rod((0.9, side * 0.45, 1.7), (3.0, side * 0.45, lift), 0.12, Material.PLAIN, body)
    a.hull((3.3, 0, lift), (0.5, 1.35, 0.45), (-1.0, 0.1, 1.0), Material.METAL, (0.2, 0.19, 0.18))
    return a, "wheel loader"


def _roller(rng: np.random.Generator, body: Colour) -> tuple[Assembly, str]:
    a = Assembly()
    for x in (-1.5, 1.5):
        a.cone(
            (x, 0, 0.65),
            (0.65, 0.65, 0.9),
            1.0,
            Material.METAL,
            (0.25, 0.24, 0.23),
            turn=(0.0, 0.0, np.pi / 2),
        )
    a.box((0, 0, 1.05), (1.3, 0.75, 0.4), Material.PLAIN, body)
    a.hull((-1.0, 0, 1.65), (0.7, 0.7, 0.2), (-0.9, 0.9, 0.9), Material.PLAIN, body)
    for x in (-0.35, 0.9):
        for side in (-1.0, 1.0):
            a.rod((x, side * 0.7, 1.4), (x, side * 0.7, 2.7), 0.04, Material.METAL, _DARK)
    a.box((0.27, 0, 2.75), (0.85, 0.8, 0.05), Material.PLAIN, body)
    a.box((0.0, 0, 1.65), (0.25, 0.25, 0.2), Material.CLOTH, _DARK)
    return a, "road roller"


def _crane(rng: np.random.Generator, body: Colour) -> tuple[Assembly, str]:
    a = Assembly()
    a.box((0, 0, 1.1), (4.2, 1.25, 0.35), Material.PLAIN, body)
    a.hull((3.5, 0, 1.75), (0.7, 1.1, 0.5), (-1.0, 0.7, 0.95), Material.GLASS, _GLASS)
    a.box((-1.0, 0, 1.8), (1.3, 0.9, 0.4), Material.PLAIN, body)
    wheels(a, (-3.0, -1.7, 1.2, 2.6), 1.27, 0.55, 0.4, _DARK)
    reach, rise = float(rng.uniform(5.0, 8.0)), float(rng.uniform(3.0, 9.0))
    a.rod((-2.0, 0, 2.2), (-2.0 + reach, 0, 2.2 + rise), 0.28, Material.PLAIN, body)
    for x in (-3.9, 3.9):
        for side in (-1.0, 1.0):
            a.box((x * 0.9, side * 1.9, 0.55), (0.12, 0.65, 0.1), Material.PLAIN, body)
            a.rod((x * 0.9, side * 2.4, 0.02), (x * 0.9, side * 2.4, 0.6), 0.09, Material.METAL, _DARK)
    return a, "mobile crane"


def _forklift(rng: np.random.Generator, body: Colour) -> tuple[Assembly, str]:
    a = Assembly()
    a.hull((-0.4, 0, 0.75), (0.95, 0.58, 0.42), (-0.85, 0.9, 0.95), Material.PLAIN, body)
    for x in (-0.9, 0.4):
        for side in (-1.0, 1.0):
            a.rod((x, side * 0.5, 1.1), (x * 0.8, side * 0.45, 2.15), 0.035, Material.METAL, _DARK)
    a.box((-0.2, 0, 2.17), (0.65, 0.5, 0.03), Material.METAL, _DARK)
    high = float(rng.uniform(2.1, 3.0))
    for side in (-1.0, 1.0):
        a.box((0.75, side * 0.35, high / 2), (0.08, 0.07, high / 2), Material.METAL, (0.1, 0.1, 0.1))
        a.box((1.35, side * 0.3, 0.2), (0.55, 0.06, 0.03), Material.METAL, (0.1, 0.1, 0.1))
    a.box((-0.35, 0, 1.3), (0.25, 0.25, 0.15), Material.CLOTH, _DARK)
    wheels(a, (-0.95, 0.45), 0.6, 0.3, 0.2, _DARK)
    return a, "forklift"
