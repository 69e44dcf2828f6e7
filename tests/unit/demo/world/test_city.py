"""A city: the same from the same seed, complete, and in motion without collisions."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial import cKDTree

from labelgen.demo import seeds as sd
from labelgen.demo.world import CATEGORIES, CLASS_OF_CATEGORY, City, describe
from labelgen.demo.world.annotate import box_of
from labelgen.demo.world.categories import FIRST_STUFF


def test_seed_ranges_are_disjoint_and_the_default_is_for_validation():
    ranges = [sd.TRAIN_SEEDS, sd.VAL_SEEDS, sd.TEST_SEEDS]
    assert all(a.stop <= b.start for a, b in pairwise(ranges))
    assert sd.split_of(sd.DEFAULT_SEED) == "val"
    assert [sd.split_of(n) for n in (0, 99_999, 100_000, 299_999, 300_000)] == [
        "train",
        "train",
        "val",
        "test",
        None,
    ]


def test_same_seed_same_city(city):
    again, other = City(city.seed), City(100_004)
    for a, b in zip(city.prims, again.prims, strict=True):
        assert np.array_equal(a, b)
    assert city.items == again.items
    assert np.array_equal(city.traffic.poses(7.0), again.traffic.poses(7.0))
    assert city.prims.centre.shape != other.prims.centre.shape or not np.array_equal(
        city.prims.centre, other.prims.centre
    )


def test_items_are_sound(city):
    ids = np.array(list(city.items))
    assert ids.min() >= 1
    assert ids.max() < 65_536
    for item in city.items.values():
        assert 0 <= item.category < len(CATEGORIES)
        assert item.instance < 1000
        assert (item.instance > 0) == (item.body >= 0 and item.category < FIRST_STUFF)
    keys = [(int(CLASS_OF_CATEGORY[i.category]), i.instance) for i in city.items.values() if i.instance]
    assert len(keys) == len(set(keys))


def test_all_sixteen_classes_are_built_in_most_cities(city):
    built = [
        set(CLASS_OF_CATEGORY[[i.category for i in c.items.values()]]) for c in (city, City(100_000), City(7))
    ]
    assert set(range(1, 17)) - {12} <= set.union(*built)
    assert all(len(b - {0}) >= 14 for b in built)


def test_boxes_hold_their_parts_at_all_times(city):
    for time_s in (0.0, 3.7):
        parts = city.parts(time_s)
        corners = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
        for object_id in np.unique(parts.object_id)[::7]:
            item = city.items[int(object_id)]
            centre, rotation, size = box_of(city, item, time_s)
            yaw = 2 * np.arctan2(rotation[3], rotation[0])
            c, s = np.cos(yaw), np.sin(yaw)
            to_box = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
            for row in np.flatnonzero((parts.object_id == object_id) & (parts.kind == 0)):
                points = parts.centre[row] + corners * parts.half[row] @ parts.axes[row].T
                local = (points - centre) @ to_box.T
                assert (np.abs(local) <= size[[1, 0, 2]] / 2 + 1e-6).all()


def test_the_ego_vehicle_drives_freely_for_minutes(city):
    ego = next(i for i in city.items.values() if CATEGORIES[i.category] == "vehicle.ego")
    movers = [i for i in city.items.values() if i.moving and CATEGORIES[i.category].startswith("vehicle.")]
    rows = np.array([i.body for i in movers if i is not ego])
    reach = np.array([i.size[0] / 2 for i in movers if i is not ego])
    driven = 0.0
    before = city.ego_pose(0.0)[0]
    for time_s in np.arange(0.0, 120.0, 1.0):
        poses = city.traffic.poses(float(time_s))
        x, y, _, yaw, _ = poses[ego.body]
        c, s = np.cos(yaw), np.sin(yaw)
        offset = poses[rows, :2] - (x, y)
        ahead, aside = offset @ (c, s), offset @ (-s, c)
        same_lane = (np.abs(aside) < 1.2) & (np.abs(np.cos(poses[rows, 3] - yaw)) > 0.9)
        assert (np.abs(ahead[same_lane]) > reach[same_lane] + 2.0).all()
        driven += float(np.linalg.norm(city.ego_pose(float(time_s))[0] - before))
        before = city.ego_pose(float(time_s))[0]
    assert driven > 60


def test_walkers_keep_to_the_ground(city):
    walkers = [i for i in city.items.values() if i.moving and CATEGORIES[i.category].startswith("human")]
    assert walkers
    heights = city.traffic.poses(5.0)[[i.body for i in walkers], 2]
    assert set(np.round(heights, 3)) <= {0.0, 0.15}


def test_every_object_can_be_described(city):
    words = [describe(city, object_id) for object_id in city.items]
    assert all(d.noun and d.colour and d.place for d in words)
    assert {d.action for d in words} >= {"driving", "parked", "walking", "standing", ""}
    with pytest.raises(KeyError, match="no object 0"):
        describe(city, 0)


@pytest.mark.parametrize("seed", [100_003, 100_001])
def test_nothing_stands_in_the_lanes_of_the_circuit(seed):
    city = City(seed)
    parts, road = city.static, city.roads[0]
    s, ways = np.arange(0, road.length, 0.25), []
    for side in (-1, 1):
        for lane in range(road.lanes):
            x, y, _ = road.at(s, np.full_like(s, side * (road.median + (lane + 0.5) * road.lane_width)))
            ways.append(np.stack([x, y], 1))
    way = cKDTree(np.concatenate(ways))
    grid = np.array(np.meshgrid(*[np.linspace(-1, 1, 5)] * 3)).reshape(3, -1).T
    points = parts.centre[:, None] + np.einsum("pij,pgj->pgi", parts.axes, grid * parts.half[:, None])
    gap = way.query(points[..., :2])[0] + np.where(points[..., 2] < 2.0, 0.0, np.inf)
    close = parts.object_id[gap.min(1) < 0.9]
    assert not len(close), {city.items[int(i)].noun for i in close}
