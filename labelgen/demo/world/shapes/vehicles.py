"""Cars, lorries, buses and trailers; the origin lies under the middle, x points forward."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from labelgen.demo.world.materials import Material
from labelgen.demo.world.primitives import Assembly, Colour
from labelgen.demo.world.shapes.thing import Thing, paint, shade

_DARK: Colour = (0.02, 0.02, 0.022)
_GLASS: Colour = (0.03, 0.04, 0.05)
_BODY = (
    "white",
    "silver",
    "grey",
    "black",
    "red",
    "blue",
    "green",
    "yellow",
    "orange",
    "brown",
    "beige",
    "turquoise",
)
_BODY_WEIGHTS = np.array([0.17, 0.13, 0.12, 0.14, 0.1, 0.1, 0.05, 0.05, 0.04, 0.04, 0.04, 0.02])


def wheels(
    a: Assembly, at: Sequence[float], half_track: float, radius: float, width: float, hub: Colour
) -> None:
    """Add a pair of wheels at each place along x."""
    for x in at:
        for side in (-1.0, 1.0):
            a.cone(
                (x, side * (half_track - width / 2), radius),
                (radius, radius, width / 2),
                1.0,
                Material.TYRE,
                _DARK,
                colour2=hub,
                turn=(0.0, 0.0, np.pi / 2),
            )


def car(rng: np.random.Generator) -> Thing:
    """Saloon, hatchback, estate, SUV or van."""
    kind = rng.choice(["sedan", "hatchback", "estate", "suv", "van"], p=[0.3, 0.25, 0.1, 0.2, 0.15])
    word, body = paint(rng, _BODY, _BODY_WEIGHTS)
    scale = rng.uniform(0.94, 1.06)
    length, width, belt, height = {
        "sedan": (4.7, 1.82, 0.92, 1.44),
        "hatchback": (4.0, 1.74, 0.94, 1.48),
        "estate": (4.6, 1.80, 0.93, 1.48),
        "suv": (4.6, 1.90, 1.06, 1.72),
        "van": (5.0, 1.95, 1.10, 2.0),
    }[str(kind)]
    length, width = length * scale, width * scale
    hx, hy = length / 2, width / 2
    a = Assembly()
    clear = 0.2 if kind != "suv" else 0.26
    a.hull(
        (0, 0, (belt + clear) / 2), (hx, hy, (belt - clear) / 2), (-0.965, 0.95, 0.93), Material.PAINT, body
    )
    rear, front, base0, base1 = {
        "sedan": (-0.72, 0.30, -0.62, 0.44),
        "hatchback": (-0.82, 0.42, -0.93, 0.62),
        "estate": (-0.88, 0.40, -0.96, 0.55),
        "suv": (-0.88, 0.45, -0.95, 0.58),
        "van": (-0.97, 0.62, -0.97, 0.92),
    }[str(kind)]
    middle, half = (base0 + base1) / 2 * hx, (base1 - base0) / 2 * hx
    top0 = (rear * hx * 0.94 - middle) / half
    top1 = (front * hx - middle) / half
    roof = height - 0.07
    a.hull(
        (middle, 0, (belt + roof) / 2),
        (half, hy * 0.93, (roof - belt) / 2),
        (max(top0, -1.0), min(top1, 1.0), 0.8),
        Material.GLASS,
        _GLASS,
    )
    r0, r1 = rear * hx * 0.94 - 0.05, front * hx + 0.05
    a.hull(
        ((r0 + r1) / 2, 0, roof + 0.03),
        ((r1 - r0) / 2, hy * 0.78, 0.04),
        (-0.95, 0.95, 0.92),
        Material.PLAIN,
        body,
    )
    for x in (middle - 0.1 * hx, middle + max(top0, -1.0) * half + 0.06):
        pillar = (0.05, hy * 0.935, (roof - belt) / 2)
        a.hull((x, 0, (belt + roof) / 2), pillar, (-1.0, 1.0, 0.8), Material.PLAIN, body)
    radius = 0.33 if kind not in ("suv", "van") else 0.37
    wheels(a, (-0.6 * hx, 0.62 * hx), hy + 0.01, radius, 0.22, shade(rng, (0.35, 0.36, 0.38)))
    for side in (-1.0, 1.0):
        a.box((0.36 * hx, side * (hy + 0.06), belt + 0.08), (0.07, 0.09, 0.07), Material.PLAIN, body)
    if word == "yellow" and rng.random() < 0.6:
        a.box(
            ((r0 + r1) / 2, 0, roof + 0.14), (0.12, 0.3, 0.08), Material.SIGN, (0.8, 0.8, 0.75), colour2=_DARK
        )
    noun = {"suv": "car", "van": "van"}.get(str(kind), "car")
    return Thing(a, "vehicle.car", noun, ("automobile", str(kind)), word)


def truck(rng: np.random.Generator) -> Thing:
    """Box lorry, flatbed with load, tipper, pickup or the tractor of a road train."""
    kind = str(
        rng.choice(["box", "flatbed", "tipper", "pickup", "tractor"], p=[0.38, 0.17, 0.15, 0.18, 0.12])
    )
    word, cab = paint(rng, _BODY, _BODY_WEIGHTS)
    hub = shade(rng, (0.4, 0.4, 0.4))
    a = Assembly()
    if kind == "pickup":
        hx, hy = 2.65, 0.98
        a.hull((0, 0, 0.66), (hx, hy, 0.38), (-0.98, 0.96, 0.95), Material.PAINT, cab)
        a.hull((0.35, 0, 1.42), (1.15, hy * 0.92, 0.38), (-0.8, 0.5, 0.82), Material.GLASS, _GLASS)
        a.box((0.25, 0, 1.82), (0.72, hy * 0.75, 0.035), Material.PLAIN, cab)
        a.box((-1.65, 0, 1.09), (0.95, hy * 0.98, 0.06), Material.PLAIN, _DARK)
        for side in (-1.0, 1.0):
            a.box((-1.7, side * hy * 0.93, 1.16), (0.9, 0.05, 0.14), Material.PLAIN, cab)
        wheels(a, (-1.6, 1.7), hy + 0.02, 0.4, 0.26, hub)
        return Thing(a, "vehicle.truck", "pickup truck", ("pickup", "truck"), word)
    hy = rng.uniform(1.1, 1.25)
    length = {"box": rng.uniform(6.0, 9.5), "flatbed": rng.uniform(6.5, 9.0), "tipper": 7.5, "tractor": 5.6}[
        kind
    ]
    hx, cab_half, cab_top = length / 2, 0.95, rng.uniform(2.5, 3.0)
    front = hx - cab_half
    a.hull((front, 0, 0.95), (cab_half, hy, 0.5), (-1.0, 1.0, 1.0), Material.PAINT, cab)
    a.hull(
        (front, 0, (1.45 + cab_top) / 2),
        (cab_half, hy, (cab_top - 1.45) / 2),
        (-1.0, 0.82, 0.95),
        Material.PAINT,
        cab,
    )
    a.hull(
        (front + 0.06, 0, 1.95), (cab_half * 0.96, hy * 0.9, 0.36), (-0.2, 0.94, 0.98), Material.GLASS, _GLASS
    )
    for side in (-1.0, 1.0):
        a.box((front + 0.25, side * (hy - 0.005), 2.0), (0.38, 0.03, 0.3), Material.GLASS, _GLASS)
        a.box((front + 0.8, side * (hy + 0.12), 2.0), (0.06, 0.1, 0.25), Material.PLAIN, _DARK)
    a.box((-0.5, 0, 0.85), (hx - 0.6, 0.45, 0.14), Material.METAL, (0.06, 0.06, 0.06))
    bed = (hx - cab_half - 0.12, -(cab_half + 0.12))
    if kind == "box":
        _, box = paint(rng)
        _, second = paint(rng)
        high = rng.uniform(3.0, 3.8)
        material = Material.LIVERY if rng.random() < 0.7 else Material.RIBBED
        a.box(
            (bed[1], 0, (1.05 + high) / 2),
            (bed[0], hy + 0.03, (high - 1.05) / 2),
            material,
            box,
            colour2=second,
            tex=(0.3, 0.0),
        )
    elif kind == "flatbed":
        a.box((bed[1], 0, 1.1), (bed[0], hy, 0.1), Material.WOOD, (0.3, 0.2, 0.1))
        for side in (-1.0, 1.0):
            a.box((bed[1], side * hy, 1.4), (bed[0], 0.03, 0.25), Material.PLAIN, cab)
        for _ in range(int(rng.integers(0, 4))):
            x, size = bed[1] + rng.uniform(-0.7, 0.7) * bed[0], rng.uniform(0.35, 0.6, 3)
            a.box((x, rng.uniform(-0.5, 0.5), 1.2 + size[2]), tuple(size), Material.WOOD, paint(rng)[1])
    elif kind == "tipper":
        load = shade(rng, (0.4, 0.3, 0.1))
        a.hull(
            (bed[1], 0, 1.85),
            (bed[0], hy + 0.05, 0.75),
            (-1.0, 1.0, 1.0),
            Material.RIBBED,
            load,
            tex=(0.5, 0.0),
        )
        a.ball((bed[1], 0, 2.55), (bed[0] * 0.85, hy * 0.8, 0.45), Material.CONCRETE, (0.25, 0.18, 0.1))
    else:
        a.cone((-1.2, 0, 1.1), (0.55, 0.55, 0.08), 1.0, Material.METAL, _DARK)
        a.box((0.95, 0, 1.9), (0.25, hy * 0.85, 0.5), Material.RIBBED, (0.3, 0.3, 0.3), tex=(0.15, 0.0))
    axles = [front + 0.1, -hx + 1.3] + ([-hx + 2.5] if length > 7.4 or kind == "tractor" else [])
    wheels(a, axles, hy, 0.5, 0.32, hub)
    return Thing(a, "vehicle.truck", "truck", ("lorry", f"{kind} truck"), word)


def trailer(rng: np.random.Generator) -> Thing:
    """Semi-trailer, container trailer or small box trailer; rests on its own legs or hitch."""
    kind = str(rng.choice(["semi", "container", "small"], p=[0.45, 0.3, 0.25]))
    word, body = paint(rng)
    _, second = paint(rng)
    hub = shade(rng, (0.4, 0.4, 0.4))
    a = Assembly()
    if kind == "small":
        hx, hy = rng.uniform(1.2, 1.7), rng.uniform(0.75, 0.95)
        high = rng.uniform(0.9, 2.0)
        a.box((0, 0, (0.5 + high) / 2), (hx, hy, (high - 0.5) / 2), Material.RIBBED, body, tex=(0.2, 0.0))
        a.rod((hx, 0, 0.5), (hx + 1.1, 0, 0.45), 0.05, Material.METAL, _DARK)
        wheels(a, (-0.1,), hy + 0.22, 0.32, 0.2, hub)
        return Thing(a, "vehicle.trailer", "trailer", ("utility trailer",), word)
    hx = rng.uniform(4.5, 6.6)
    hy, high = 1.25, rng.uniform(3.5, 4.0)
    material = Material.RIBBED if kind == "container" else Material.LIVERY
    a.box(
        (0, 0, (1.2 + high) / 2), (hx, hy, (high - 1.2) / 2), material, body, colour2=second, tex=(0.28, 0.0)
    )
    a.box((0, 0, 1.08), (hx, 0.5, 0.12), Material.METAL, (0.05, 0.05, 0.05))
    wheels(a, (-hx + 1.2, -hx + 2.4, -hx + 3.6), hy - 0.02, 0.5, 0.34, hub)
    for side in (-1.0, 1.0):
        a.box((hx - 2.6, side * 0.8, 0.5), (0.08, 0.08, 0.5), Material.METAL, (0.1, 0.1, 0.1))
    return Thing(a, "vehicle.trailer", "trailer", ("semi-trailer", "lorry trailer"), word)


def bus(rng: np.random.Generator) -> Thing:
    """City bus, double-decker, coach or articulated bus."""
    kind = str(rng.choice(["city", "double", "coach", "bendy"], p=[0.45, 0.2, 0.2, 0.15]))
    word, body = paint(
        rng, ("white", "silver", "red", "blue", "green", "yellow", "orange", "turquoise", "purple")
    )
    _, second = paint(rng)
    hub = shade(rng, (0.35, 0.35, 0.35))
    hy = 1.27
    a = Assembly()
    if kind == "bendy":
        for x, hx in ((4.7, 4.3), (-4.4, 3.9)):
            a.hull((x, 0, 1.7), (hx, hy, 1.38), (-0.99, 0.99, 0.97), Material.BUS, body, colour2=second)
        a.box((0.0, 0, 1.65), (0.6, hy * 0.94, 1.25), Material.RIBBED, _DARK, tex=(0.2, 0.0))
        wheels(a, (-6.0, 2.0, 7.2), hy, 0.48, 0.3, hub)
        return Thing(a, "vehicle.bus.bendy", "bus", ("articulated bus",), word)
    hx = rng.uniform(5.0, 6.0)
    if kind == "double":
        a.hull((0, 0, 1.25), (hx, hy, 0.95), (-1.0, 1.0, 1.0), Material.BUS, body, colour2=second)
        a.hull((0, 0, 3.2), (hx, hy, 1.0), (-0.99, 0.97, 0.97), Material.BUS, body, colour2=second)
    else:
        low = 0.35 if kind == "city" else 0.4
        high = 3.1 if kind == "city" else 3.6
        a.hull(
            (0, 0, (low + high) / 2),
            (hx, hy, (high - low) / 2),
            (-0.99, 0.97, 0.96),
            Material.BUS,
            body,
            colour2=second,
        )
        if kind == "city":
            a.box((-1.0, 0, high + 0.12), (1.6, 0.8, 0.14), Material.PLAIN, body)
    wheels(a, (-0.55 * hx, 0.62 * hx), hy + 0.005, 0.48, 0.3, hub)
    for side in (-1.0, 1.0):
        a.box((hx + 0.12, side * (hy - 0.1), 2.4), (0.15, 0.07, 0.22), Material.PLAIN, _DARK)
    synonyms = {"city": "city bus", "double": "double-decker bus", "coach": "coach"}[kind]
    return Thing(a, "vehicle.bus.rigid", "bus", (synonyms,), word)


def ego() -> Thing:
    """The car that carries the sensors: bonnet, roof and the LiDAR's platform."""
    a = Assembly()
    white: Colour = (0.7, 0.7, 0.7)
    a.hull((2.75, 0, 0.62), (0.85, 0.85, 0.29), (-1.0, 0.92, 0.86), Material.PLAIN, white)
    a.box((0.55, 0, 0.52), (1.9, 0.86, 0.28), Material.PLAIN, white)
    a.hull((0.30, 0, 1.1), (1.6, 0.78, 0.3), (-0.30, 0.75, 0.82), Material.GLASS, _GLASS)
    a.box((0.70, 0, 1.41), (0.85, 0.42, 0.02), Material.PLAIN, white)
    a.cone((0.944, 0, 1.56), (0.475, 0.475, 0.08), 1.0, Material.PLAIN, (0.1, 0.1, 0.1))
    a.cone((0.944, 0, 1.69), (0.06, 0.06, 0.07), 1.0, Material.PLAIN, (0.1, 0.1, 0.1))
    return Thing(a, "vehicle.ego", "ego vehicle", ("bonnet",), "white")
