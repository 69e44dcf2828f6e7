"""One scene: a seeded city with everything in it, and where everything is at any time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from labelgen.datasets.nuscenes_categories import INDEX
from labelgen.demo.world import rig
from labelgen.demo.world.categories import CLASS_OF_CATEGORY, FIRST_STUFF
from labelgen.demo.world.layout import Plan, plan_city
from labelgen.demo.world.light import Weather
from labelgen.demo.world.populate import populate
from labelgen.demo.world.primitives import Part, Prims, collect, joined, place
from labelgen.demo.world.shapes.thing import colour_word
from labelgen.demo.world.surface import CATEGORY, Surface, surfaces
from labelgen.demo.world.traffic import Track, Traffic

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Item:
    """One object of a city.

    Attributes:
        object_id: value in the object maps, 1..65535.
        category: general category index.
        noun, synonyms, colour: words for captions.
        body: row of `City.poses`, or -1 for a piece of ground.
        size: (3,) length, width, height of its box in metres.
        middle: (3,) the box's centre in the body's frame.
        instance: number among the things of its challenge class (0: of those ignored) from 1; 0 for stuff.
        moving: whether it follows a track.
        rider: whether somebody sits on it.
        surface: kind of ground, or None.
    """

    object_id: int
    category: int
    noun: str
    synonyms: tuple[str, ...]
    colour: str
    body: int
    size: tuple[float, float, float]
    middle: tuple[float, float, float]
    instance: int
    moving: bool
    rider: bool = False
    surface: Surface | None = None


class City:
    """A scene built from a seed; the same seed gives the same city.

    Coordinates are metres in the scene's own frame: z up, carriageways at z = 0.

    Args:
        seed: any non-negative integer; see `labelgen.demo.seeds`.
    """

    def __init__(self, seed: int) -> None:
        self.seed = int(seed)
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, 0]))
        plan: Plan = plan_city(rng)
        self.roads, self.ground, self.weather = plan.roads, plan.ground, plan.weather
        stock = populate(plan, rng)
        parts: list[tuple[Part, int, int, int]] = []
        items: list[Item] = []
        tracks: dict[int, Track] = {}
        resting = np.zeros((len(stock.entries), 5))
        counters: dict[int, int] = {}
        for body, entry in enumerate(stock.entries):
            thing, category = entry.thing, INDEX[entry.thing.category]
            object_id = body + 1
            resting[body] = entry.pose
            if entry.track is not None:
                tracks[body] = entry.track
            low, high = thing.assembly.bounds()
            instance = 0
            if category < FIRST_STUFF:
                group = int(CLASS_OF_CATEGORY[category])
                instance = counters[group] = counters.get(group, 0) + 1
            size, middle = high - low, (high + low) / 2
            items.append(
                Item(
                    object_id,
                    category,
                    thing.noun,
                    thing.synonyms,
                    thing.colour,
                    body,
                    (float(size[0]), float(size[1]), float(size[2])),
                    (float(middle[0]), float(middle[1]), float(middle[2])),
                    instance,
                    entry.track is not None,
                    entry.rider,
                )
            )
            parts.extend((part, body, object_id, category) for part in thing.assembly.parts)
        for object_id, kind in plan.pieces.items():
            noun, synonyms = _GROUND_WORDS[kind]
            r, g, b = plan.weather.ground[int(kind)]
            colour = colour_word((r, g, b))
            items.append(
                Item(
                    object_id,
                    int(CATEGORY[kind]),
                    noun,
                    synonyms,
                    colour,
                    -1,
                    (0, 0, 0),
                    (0, 0, 0),
                    0,
                    False,
                    surface=kind,
                )
            )
        self.items: dict[int, Item] = {item.object_id: item for item in items}
        self.traffic = Traffic(self.roads, self.ground, resting, tracks, stock.speed)
        self.ego_body = stock.ego
        self.prims: Prims = collect(parts, self.seed * 1_000_003)
        moving = np.isin(self.prims.body, self.traffic.rows)
        self._moving_rows = np.flatnonzero(moving)
        self._static_rows = np.flatnonzero(~moving)
        self.look = plan.look

    @cached_property
    def static(self) -> Prims:
        """Parts of all bodies at rest, in world coordinates."""
        return place(self.prims, self._static_rows, self.traffic.poses(0.0))

    @cached_property
    def parts_object(self) -> NDArray[np.uint16]:
        """(P,) object id of each row of `parts`."""
        ids: NDArray[np.uint16] = self.prims.object_id[np.concatenate([self._static_rows, self._moving_rows])]
        return ids

    def moving(self, time_s: float) -> Prims:
        """Parts of all moving bodies, in world coordinates."""
        return place(self.prims, self._moving_rows, self.traffic.poses(time_s))

    def parts(self, time_s: float) -> Prims:
        """All parts in world coordinates: those at rest first, then the moving ones."""
        return joined(self.static, self.moving(time_s))

    def ego_pose(self, time_s: float) -> tuple[FloatArray, FloatArray]:
        """Translation (3,) and unit quaternion (4,) w, x, y, z of the ego vehicle."""
        x, y, _, yaw, _ = self.traffic.poses(time_s)[self.ego_body]
        wave = time_s * self.look.sway[2] + self.look.sway[3]
        pitch, roll = self.look.sway[0] * np.sin(wave), self.look.sway[1] * np.sin(0.7 * wave + 1.0)
        return np.array([x, y, 0.0]), rig.euler_quaternion(yaw, pitch, roll)

    def world_from_ego(self, time_s: float) -> FloatArray:
        """(4, 4) pose of the ego vehicle."""
        return rig.pose_matrix(*self.ego_pose(time_s))

    def place_of(self, item: Item) -> str:
        """Words for the ground that a thing stands on at the scene's start."""
        x, y = self.traffic.poses(0.0)[item.body, :2]
        kinds, _, other = surfaces(self.ground, np.array([x]), np.array([y]))
        if other[0] < 0.0:
            return "at the crossing"
        return _PLACES[Surface(int(kinds[0]))]


_PLACES: dict[Surface, str] = {
    Surface.ROAD: "on the road",
    Surface.DRIVEWAY: "in a driveway",
    Surface.PARKING: "in the parking lot",
    Surface.SIDEWALK: "on the sidewalk",
    Surface.PLAZA: "on a plaza",
    Surface.GRASS: "on the grass",
    Surface.DIRT: "on bare ground",
    Surface.ISLAND: "on a traffic island",
    Surface.RAILS: "on the rails",
    Surface.WATER: "by the water",
}
_GROUND_WORDS: dict[Surface, tuple[str, tuple[str, ...]]] = {
    Surface.ROAD: ("road", ("street", "carriageway")),
    Surface.PARKING: ("parking lot", ("car park",)),
    Surface.SIDEWALK: ("sidewalk", ("pavement", "footpath")),
    Surface.PLAZA: ("plaza", ("paved square", "sidewalk")),
    Surface.GRASS: ("grass", ("lawn", "terrain")),
    Surface.DIRT: ("dirt", ("soil", "terrain")),
    Surface.ISLAND: ("traffic island", ("median",)),
    Surface.RAILS: ("rails", ("tram tracks",)),
    Surface.WATER: ("water", ("canal", "pond")),
}

__all__ = ["City", "Item", "Track", "Weather"]
