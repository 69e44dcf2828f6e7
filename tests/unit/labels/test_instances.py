"""Instances on boxes seen by a LiDAR: one number for each, whatever the regions and cameras."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from labelgen.core.records import NO_REGION, PointLabels, RegionHits, Semantics
from labelgen.labels import instances
from labelgen.labels.instances import find_instances
from labelgen.labels.settings import InstanceSettings
from tests.helpers.geometry import make_regions, make_views
from tests.helpers.scenes import sweep

CAR_A, CAR_B, FAR = (-4, 8, -1.8, -2, 12, -0.2), (0.5, 8, -1.8, 2.5, 12, -0.2), (14, 25, -1.8, 16, 29, 0.5)
THINGS = [True, True, False]


def frame(boxes, region_of, cameras, classes=None):
    """Points of boxes (class 0) and ground (class 2); ``region_of[box]`` per point row, -1 for none.

    Args:
        boxes: of the scene.
        region_of: function of (points, box of each) to (N, n) regions under each point.
        cameras: of each region.
        classes: of each region, 0 by default.
    """
    xyz, on = sweep(boxes)
    N = len(xyz)
    label = np.where(on >= 0, 0, 2).astype(np.uint8)
    lists = region_of(xyz, on)
    pairs = [(c, i) for c in sorted(set(cameras)) for i in range(N)]
    rows, offsets = [], [0]
    for c, i in pairs:
        mine = [r for r in lists[i] if r >= 0 and cameras[r] == c]
        rows += mine
        offsets.append(len(rows))
    views = make_views([i for _, i in pairs], [c for c, _ in pairs], np.zeros((len(pairs), 2)))
    K = len(cameras)
    area = [100 * (k + 1) for k in range(K)]
    regions = make_regions(cameras, [b"0"] * K, area)
    meaning = np.array(classes or [0] * K, np.uint8)
    semantics = Semantics(np.zeros((K, 3), np.float16), meaning, np.zeros((K, 1), np.float16))
    decider = np.array([mine[0] if mine[0] >= 0 else 65535 for mine in lists], np.uint16)
    zeros = np.zeros(N, np.uint8)
    labels = PointLabels(label, zeros, zeros, np.zeros(N, np.uint16), decider, zeros, zeros, zeros)
    hits = RegionHits(np.array(offsets, np.int64), np.array(rows, np.int32))
    return xyz, on, labels, views, hits, regions, semantics


def numbers(parts, settings=None):
    xyz, on, *rest = parts
    found = find_instances(xyz, *rest, THINGS, settings)
    assert found.dtype == np.uint16
    assert (found[on < 0] == 0).all()
    return found, on


def share(found, on, box):
    """The commonest number of a box's points, and how many have it."""
    mine = found[on == box]
    number = np.bincount(mine).argmax()
    return int(number), float((mine == number).mean())


def test_boxes_apart_are_two_even_in_one_region():
    found, on = numbers(frame([CAR_A, CAR_B, FAR], lambda xyz, on: [[0]] * len(xyz), [0]))
    picked = [share(found, on, box) for box in range(3)]
    assert len({number for number, _ in picked}) == 3
    assert all(number > 0 and part > 0.97 for number, part in picked)
    assert found.max() == 3


def test_touching_boxes_are_told_apart_by_their_regions():
    touching = [CAR_A, (-2, 8, -1.8, 0, 12, -0.2)]
    apart, on = numbers(frame(touching, lambda xyz, on: [[max(k, 0)] for k in on], [0, 0]))
    one, _ = numbers(frame(touching, lambda xyz, on: [[0]] * len(xyz), [0]))
    assert share(apart, on, 0)[0] != share(apart, on, 1)[0]
    assert share(one, on, 0)[0] == share(one, on, 1)[0]


def test_a_thing_in_two_cameras_is_one():
    """The left half lies in a region of one camera, the right half in one of another."""
    found, on = numbers(frame([CAR_A], lambda xyz, on: [[int(x > -3)] for x in xyz[:, 0]], [0, 1]))
    assert share(found, on, 0) == (1, pytest.approx(1.0, abs=0.02))
    same_camera, on = numbers(frame([CAR_A], lambda xyz, on: [[int(x > -3)] for x in xyz[:, 0]], [0, 0]))
    assert same_camera.max() == 2


def test_parts_belong_to_the_whole():
    """Each point lies in a small part and in the whole; only a whole of the same class counts."""

    def parts_and_whole(xyz, on):
        return [[int(x > -3), 2] for x in xyz[:, 0]]

    found, on = numbers(frame([CAR_A], parts_and_whole, [0, 0, 0]))
    assert found.max() == 1
    of_another_class, on = numbers(frame([CAR_A], parts_and_whole, [0, 0, 0], [0, 0, 1]))
    assert of_another_class.max() == 2
    assert share(found, on, 0)[1] > 0.97


def test_a_range_jump_splits():
    """Points of the car's region that lie on the wall behind it are another instance."""
    wall = (-6, 20, -1.8, 6, 20.5, 3)
    found, on = numbers(frame([CAR_A, wall], lambda xyz, on: [[0]] * len(xyz), [0]))
    assert share(found, on, 0)[0] != share(found, on, 1)[0]


def test_small_things_and_nothing():
    parts = frame([FAR], lambda xyz, on: [[0]] * len(xyz), [0])
    count = int((parts[1] == 0).sum())
    assert numbers(parts, InstanceSettings(min_points=count + 1))[0].max() == 0
    assert numbers(parts, InstanceSettings(min_points=1))[0].max() >= 1
    none = frame([], lambda xyz, on: [[0]] * len(xyz), [0])
    assert numbers(none)[0].max() == 0
    empty = [np.zeros((0, 3), np.float32), *none[2:]]
    zeros = np.zeros(0, np.uint8)
    labels = PointLabels(*[zeros] * 3, np.zeros(0, np.uint16), np.zeros(0, np.uint16), *[zeros] * 3)
    views = make_views([], [], np.zeros((0, 2)))
    hits = RegionHits(np.zeros(1, np.int64), np.zeros(0, np.int32))
    assert len(find_instances(empty[0], labels, views, hits, none[5], none[6], THINGS)) == 0


def test_points_that_are_not_finite_have_no_number():
    xyz, _, labels, views, hits, regions, semantics = frame([CAR_A], lambda xyz, on: [[0]] * len(xyz), [0])
    rows = np.flatnonzero(labels.label == 0)[:3]
    xyz[rows] = np.nan
    found = find_instances(xyz, labels, views, hits, regions, semantics, THINGS)
    assert (found[rows] == 0).all()
    assert found.max() == 1


def by_pairs(xyz, labels, views, hits, regions, semantics, settings):
    """Instances from a list of all pairs of neighbours: what `find_instances` stands for, the long way."""
    rows = np.flatnonzero(np.isin(labels.label, np.flatnonzero(THINGS)))
    points, label = xyz[rows].astype(np.float64), labels.label[rows]
    largest = np.full(len(xyz), -1)
    for v, i in enumerate(views.point):
        for r in hits.region[hits.offsets[v] : hits.offsets[v + 1]]:
            same = views.visible[v] and semantics.label[r] == labels.label[i]
            if same and (largest[i] < 0 or regions.area[r] > regions.area[largest[i]]):
                largest[i] = r
    decider = np.where(labels.region == NO_REGION, -1, labels.region.astype(int))
    owner = np.where(largest < 0, decider, largest)[rows]
    camera = np.where(owner < 0, -1, regions.camera[owner])
    across, along = np.radians(settings.spacing_deg) * settings.reach
    turn = np.arctan2(points[:, 1], points[:, 0])
    rise = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))
    look = np.column_stack([np.cos(turn), np.sin(turn), rise * across / along])
    a, b = cKDTree(look).query_pairs(across, output_type="ndarray").T
    away = np.linalg.norm(points, axis=1)
    limit = settings.gap + settings.gap_relative * away
    joined = np.linalg.norm(points[a] - points[b], axis=1) <= np.minimum(limit[a], limit[b])
    joined &= (label[a] == label[b]) & ((owner[a] == owner[b]) | (camera[a] != camera[b]))
    graph = coo_array((joined, (a, b)), shape=(len(rows), len(rows)))
    graph.eliminate_zeros()
    part = connected_components(graph, directed=False)[1]
    size = np.bincount(part)[part]
    adopted = part.copy()
    for fragment in np.unique(part[size < settings.fragment]):
        mine = np.flatnonzero(part == fragment)
        of_one = (label == label[mine[0]]) & (owner == owner[mine[0]]) & (size >= settings.fragment)
        apart = np.linalg.norm(points[mine][:, None] - points[of_one], axis=2)
        apart[apart > settings.fragment_gaps * limit[mine][:, None]] = np.inf
        if apart.size and np.isfinite(apart.min()):
            adopted[mine] = part[of_one][np.unravel_index(apart.argmin(), apart.shape)[1]]
    found = np.zeros(len(xyz), np.uint16)
    number = 0
    for one in adopted[np.sort(np.unique(adopted, return_index=True)[1])]:
        if (adopted == one).sum() >= settings.min_points:
            number += 1
            found[rows[adopted == one]] = number
    return found


def halves(xyz, on):
    return [[int(x > -3) + 2 * (z > -1), 4] for x, z in xyz[:, ::2]]


@pytest.mark.parametrize(
    ("boxes", "region_of", "cameras", "classes"),
    [
        ([CAR_A, CAR_B, FAR], lambda xyz, on: [[0]] * len(xyz), [0], None),
        ([CAR_A, CAR_B, FAR], halves, [0, 0, 1, 1, 2], [0, 0, 0, 0, 2]),
        ([CAR_A, CAR_B, FAR], halves, [0, 0, 0, 1, 1], [0, 1, 0, 1, 2]),
        (
            [(-6, 20, -1.8, 6, 20.5, 3), CAR_A],
            lambda xyz, on: [[i % 7] for i in range(len(xyz))],
            [0] * 7,
            None,
        ),
    ],
)
def test_equal_to_what_a_list_of_all_pairs_gives(boxes, region_of, cameras, classes):
    xyz, _, *rest = frame(boxes, region_of, cameras, classes)
    rng = np.random.default_rng(0)  # without ties
    xyz = (xyz + rng.normal(0, 0.02, xyz.shape)).astype(np.float32)
    expected = by_pairs(xyz, *rest, InstanceSettings())
    assert expected.max() > 1
    np.testing.assert_array_equal(find_instances(xyz, *rest, THINGS), expected)


def test_more_things_than_numbers(monkeypatch):
    monkeypatch.setattr(instances, "MOST_INSTANCES", 2)
    with pytest.raises(ValueError, match="3 things in one frame; the maximum is 2"):
        numbers(frame([CAR_A, CAR_B, FAR], lambda xyz, on: [[0]] * len(xyz), [0]))
