"""Where things stand: a register of taken places, and the one routine that puts a thing beside a road."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from labelgen.demo.world import surface as sf
from labelgen.demo.world.layout import Plan
from labelgen.demo.world.roads import Road
from labelgen.demo.world.shapes.thing import Thing
from labelgen.demo.world.surface import HEIGHT
from labelgen.demo.world.traffic import Track

FloatArray = NDArray[np.float64]
Maker = Callable[[np.random.Generator], Thing]
#: Metres that things keep from the kerbs of crossing roads.
CLEARANCE = 6.0


@dataclass
class Entry:
    """A thing, its pose at rest (x, y, z, yaw, phase), and its track if it moves."""

    thing: Thing
    pose: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)
    track: Track | None = None
    rider: bool = False


@dataclass
class Stock:
    """Everything in a city.

    Attributes:
        entries: all things; ego: row of the car that carries the sensors.
        speed: (L, 4) of the circuit's lanes, see `Traffic`.
    """

    entries: list[Entry] = field(default_factory=list)
    speed: FloatArray = field(default_factory=lambda: np.zeros((0, 4)))
    ego: int = 0


class Room:
    """A plan that is being filled.

    Args:
        plan: roads, lots and surfaces.
        rng: source of all choices.
    """

    def __init__(self, plan: Plan, rng: np.random.Generator) -> None:
        self.plan, self.rng, self.stock = plan, rng, Stock()
        self._taken = np.zeros((1024, 3))  # discs: x, y, radius
        self._count = 0

    def stand(
        self,
        thing: Thing,
        road: Road,
        s: float,
        d: float,
        yaw: float,
        kinds: tuple[int, ...] | None = None,
        min_beyond: float = 0.0,
        room: float = 1.0,
        crossing: bool = False,
    ) -> bool:
        """Put a thing at a place of a road unless something is in its way.

        Args:
            thing: what to put.
            road: beside which road.
            s: metres along it.
            d: metres to the left of it.
            yaw: radians relative to the road's direction.
            kinds: surfaces that it may stand on; None for all.
            min_beyond: metres from the carriageway that all of it must keep.
            room: factor on the room that it takes.
            crossing: whether it may stand close to a crossing road.

        Returns:
            Whether it stands.
        """
        low, high = thing.assembly.bounds()
        (x,), (y,), (heading,) = road.at(np.array([s]), np.array([d]))
        turn = float(heading + yaw)
        half, middle = (high - low)[:2] / 2, ((high + low) / 2)[:2]
        c, sn = np.cos(turn), np.sin(turn)
        corners = _CORNERS * half + middle
        gx, gy = x + c * corners[:, 0] - sn * corners[:, 1], y + sn * corners[:, 0] + c * corners[:, 1]
        found, beyond, other = sf.surfaces(self.plan.ground, gx, gy)
        if beyond.min() < min_beyond or (not crossing and other.min() < CLEARANCE):
            return False
        if kinds is not None and not np.isin(found, kinds).all():
            return False
        # The footprint as a row of discs.
        long = int(half[1] > half[0])
        radius = max(float(half[1 - long]), 0.15) * room
        count = max(1, int(np.ceil(half[long] / max(half[1 - long], 0.4))))
        discs = np.zeros((count, 2)) + middle
        discs[:, long] += (
            np.linspace(-1, 1, count) * max(half[long] - half[1 - long], 0.0) if count > 1 else 0.0
        )
        places = np.stack([x + c * discs[:, 0] - sn * discs[:, 1], y + sn * discs[:, 0] + c * discs[:, 1]], 1)
        if not self._free(places, radius):
            return False
        self._take(places, radius)
        self.stock.entries.append(Entry(thing, (float(x), float(y), float(HEIGHT[found[4]]), turn, 0.0)))
        return True

    def line_up(
        self,
        maker: Maker,
        road: Road,
        s: float,
        d: float,
        length: float,
        step: float,
        jitter: float = 0.05,
        kinds: tuple[int, ...] | None = None,
        min_beyond: float = 0.0,
    ) -> None:
        """Stand things in a row along a road, around s."""
        for at in np.arange(s - length / 2 + step / 2, s + length / 2, step):
            place = d + self.rng.normal(0, jitter)
            self.stand(maker(self.rng), road, at, place, self.rng.normal(0, 0.04), kinds, min_beyond, 0.9)

    def beyond(self, road: Road, side: float, setback: float) -> float:
        """Place across a road ``setback`` metres behind the sidewalk of a side (+1 left, -1 right)."""
        return side * (road.half_width + self.plan.walk + setback)

    def _free(self, places: FloatArray, radius: float) -> bool:
        taken = self._taken[: self._count]
        gap = ((taken[:, None, :2] - places) ** 2).sum(-1) - (taken[:, None, 2] + radius) ** 2
        return bool((gap > 0).all())

    def _take(self, places: FloatArray, radius: float) -> None:
        end = self._count + len(places)
        while end > len(self._taken):
            self._taken = np.concatenate([self._taken, np.zeros_like(self._taken)])
        self._taken[self._count : end, :2], self._taken[self._count : end, 2] = places, radius
        self._count = end


_CORNERS = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [1.0, -1.0], [0.0, 0.0]])
