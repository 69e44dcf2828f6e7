"""What hides what: small scenes with exact truth, and the wall behind the truck of the real keyframe."""

import numpy as np
import pytest
from scipy.spatial import Delaunay

from labelgen.core.frame import LIDAR_LAYOUTS
from labelgen.core.records import Semantics
from labelgen.geometry import ProjectionSettings, project, region_hits, rle
from labelgen.geometry.occlusion import BEAM_SPACING_DEG
from labelgen.labels.settings import VoteSettings
from labelgen.labels.vote import vote
from tests.helpers.geometry import (
    keyframe,
    looking_forward,
    make_camera,
    make_cloud,
    make_frame,
    make_regions,
)
from tests.helpers.scenes import GROUND, hidden, sweep

WALL = (-30, 25, -3, 30, 26, 12)
CAR = (-1.2, 9, GROUND, 0.8, 13, GROUND + 1.5)
VAN = (2.0, 8, GROUND, 4.0, 12, GROUND + 2.2)
POLE = (-2.6, 7, GROUND, -2.4, 7.2, 6)


def camera_at(x=0.0, y=0.75, z=-0.33):
    """A nuScenes-like camera; by default where CAM_FRONT is."""
    return make_camera(1600, 900, 1266.0, looking_forward(x, y, z)), np.array([x, y, z])


def views_of(points, camera, **settings):
    return project(make_frame([camera]), make_cloud(points), ProjectionSettings(**settings))


@pytest.mark.parametrize(
    ("height", "slope"),
    [(0.0, 0), (-0.33, -0.06), (-0.33, 0), (-0.33, 0.06), (-0.6, -0.06), (-0.6, 0), (-0.9, 0)],
)
def test_bare_ground_hides_nothing(height, slope):
    points, _ = sweep([], slope=slope)
    camera, _ = camera_at(z=height)
    views = views_of(points, camera)
    assert len(views) > 1500
    assert views.visible.all()


def test_scan_lines_that_run_twice_hide_nothing():
    points, _ = sweep([WALL])
    turn = np.radians(0.4)
    tilt = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    again = points @ tilt.T.astype(np.float32) + np.float32([0.02, 0.0, -0.05])
    camera, _ = camera_at()
    views = views_of(np.concatenate([points, again]), camera)
    assert (~views.visible).mean() < 0.002


@pytest.mark.parametrize("offset", [-0.5, 0.0, 0.5])
def test_finds_what_boxes_hide(offset):
    boxes = [WALL, CAR, VAN]
    points, on = sweep(boxes)
    camera, centre = camera_at(x=offset)
    views = views_of(points, camera)
    truth = hidden(points, on, centre, boxes)[views.point]
    assert truth.sum() > 40
    assert (~views.visible)[truth].mean() > 0.85
    assert views.visible[~truth].mean() > 0.97
    in_front = (on[views.point] > 0) & ~truth
    assert views.visible[in_front].mean() > 0.99


def test_residual_is_the_distance_to_what_hides():
    boxes = [WALL, VAN]
    points, on = sweep(boxes)
    camera, centre = camera_at(x=-0.8)
    views = views_of(points, camera)
    behind = hidden(points, on, centre, boxes)[views.point] & (on[views.point] == 0) & ~views.visible
    assert behind.sum() > 20
    np.testing.assert_allclose(views.depth_residual[behind], 25 - 8, atol=4.1)  # the van is 4 m long
    assert views.depth_residual[(on[views.point] == 1) & views.visible].max() <= 0.5


def test_a_thin_pole_counts():
    boxes = [WALL, POLE]
    points, on = sweep(boxes)
    camera, centre = camera_at(x=0.5)
    views = views_of(points, camera)
    truth = hidden(points, on, centre, boxes)[views.point]
    assert (on == 1).sum() > 10
    assert truth.sum() > 20
    assert (~views.visible)[truth].mean() > 0.8
    assert views.visible[on[views.point] == 1].all()


def test_a_kerb_does_not_hide_the_road_behind_it():
    kerb = (-20, 7, GROUND, 20, 9, GROUND + 0.15)
    points, on = sweep([kerb])
    camera, centre = camera_at()
    views = views_of(points, camera)
    truth = hidden(points, on, centre, [kerb])[views.point]
    assert (~views.visible & ~truth).mean() < 0.01


def test_switched_off_everything_is_visible():
    boxes = [WALL, VAN]
    points, _ = sweep(boxes)
    camera, _ = camera_at(x=-0.8)
    views = views_of(points, camera, occlusion=False)
    assert views.visible.all()
    assert not views.depth_residual.any()


def test_thresholds_decide_visibility_from_the_stored_residual():
    points, _ = sweep([WALL, VAN])
    camera, _ = camera_at(x=-0.8)
    strict = views_of(points, camera, max_residual=0.2, max_residual_relative=0)
    loose = views_of(points, camera, max_residual=1000)
    np.testing.assert_array_equal(strict.depth_residual, loose.depth_residual)
    np.testing.assert_array_equal(strict.visible, strict.depth_residual <= np.float32(0.2))
    assert loose.visible.all()


def test_order_of_points_and_cameras_does_not_matter():
    points, _ = sweep([WALL, CAR, VAN, POLE], azimuth=(-20, 20))
    rig = [camera_at(x=-0.5)[0], camera_at(x=0.5)[0]]
    order = np.random.default_rng(0).permutation(len(points))
    straight = project(make_frame(rig), make_cloud(points))
    mixed = project(make_frame(rig[::-1]), make_cloud(points[order]))

    def by_pair(views, cameras, rows):
        table = np.full((2, len(points)), -1, np.float32)
        table[cameras[views.camera], rows[views.point]] = views.depth_residual
        return table

    expected = by_pair(straight, np.array([0, 1]), np.arange(len(points)))
    np.testing.assert_array_equal(by_pair(mixed, np.array([1, 0]), order), expected)


@pytest.mark.parametrize(
    "points", [np.zeros((0, 3)), [[0, 10, 0]], [[0, 10, 0]] * 500, [[0, 3e38, 0], [0, 10, 0]]]
)
def test_odd_clouds(points):
    camera, _ = camera_at()
    views = views_of(np.asarray(points), camera)
    assert views.visible.all()


def test_points_very_near_the_camera():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (300, 3)) * [0.2, 0.1, 0.1] + [0, 1.0, -0.33]
    camera, _ = camera_at()
    views = views_of(points, camera, min_depth=0.0)
    assert len(views) > 10
    assert np.isfinite(views.depth_residual).all()


def test_wall_behind_the_truck_of_the_real_keyframe(nuscenes_keyframe):
    frame, cloud = keyframe(nuscenes_keyframe)
    with np.load(nuscenes_keyframe / "things_from_boxes.npz", allow_pickle=False) as boxes:
        label, box = boxes["label"], boxes["box_index"]
    views = project(frame, cloud)
    front = views.camera == 0
    point, uv, depth, seen = views.point[front], views.uv[front], views.depth[front], views.visible[front]
    truck = label[point] == 10
    near = box[point] == np.bincount(box[point][truck]).argmax()
    rear = near & (depth < depth[near].min() + 0.5)  # its rear door
    assert rear.sum() > 150
    outline = Delaunay(uv[rear])
    wall = (box[point] < 0) & (depth > depth[near].max() + 1) & (outline.find_simplex(uv) >= 0)
    assert wall.sum() > 50
    assert (~seen[wall]).mean() > 0.8  # some at the door's edge are in plain sight
    assert seen[rear].all()


def test_the_wall_does_not_take_the_trucks_region_in_the_real_keyframe(nuscenes_keyframe):
    frame, cloud = keyframe(nuscenes_keyframe)
    with np.load(nuscenes_keyframe / "things_from_boxes.npz", allow_pickle=False) as boxes:
        label, box = boxes["label"], boxes["box_index"]
    tested, blind = (project(frame, cloud, ProjectionSettings(occlusion=on)) for on in (True, False))
    front = tested.camera == 0
    point, uv, depth = tested.point[front], tested.uv[front], tested.depth[front]
    truck = box[point] == np.bincount(box[point][label[point] == 10]).argmax()
    # The truck's region is the outline of all its points.
    outline = Delaunay(uv[truck])
    y, x = np.mgrid[:900, :1600]
    mask = (outline.find_simplex(np.column_stack([x.ravel(), y.ravel()])) >= 0).reshape(900, 1600)
    regions = make_regions([0, 0], [rle.encode(mask), rle.encode(~mask)], [mask.sum(), (~mask).sum()])
    scores = np.zeros((2, 16), np.float16)
    scores[0, 9], scores[1, 14] = 1, 1  # truck, and manmade all around
    meaning = Semantics(scores, np.array([9, 14], np.uint8), np.ones((2, 1), np.float16))
    ok, ego = np.ones(len(frame.cameras), bool), np.zeros(len(cloud), bool)

    def labels(views):
        hits = region_hits(views, regions, frame.cameras)
        return vote(len(cloud), views, hits, regions, meaning, VoteSettings(), ok, ego).label

    with_test, without = labels(tested), labels(blind)
    covered = outline.find_simplex(uv) >= 0
    wall = point[(box[point] < 0) & (depth > depth[truck].max() + 1) & covered]
    assert len(wall) > 50
    assert (without[wall] == 9).all()
    assert (with_test[wall] == 9).mean() < 0.2  # some at the truck's edge are in plain sight
    # The truck's own side that the camera sees keeps its label.
    seen = point[truck & (depth < depth[truck].min() + 0.5)]
    assert (without[seen] == 9).mean() > 0.9  # pixels of points on the outline fall to either side
    assert (with_test[seen] == without[seen]).all()


def test_things_in_front_are_not_lost_in_the_real_keyframe(nuscenes_keyframe):
    frame, cloud = keyframe(nuscenes_keyframe)
    with np.load(nuscenes_keyframe / "things_from_boxes.npz", allow_pickle=False) as boxes:
        box = boxes["box_index"]
    views = project(frame, cloud)
    lost = total = 0
    for c in range(6):
        mine = views.camera == c
        owner, depth, seen = box[views.point[mine]], views.depth[mine], views.visible[mine]
        for k in np.unique(owner[owner >= 0]):
            nearest = depth[owner == k].min()
            if nearest < 15:  # beyond, people and cars stand behind barriers
                face = (owner == k) & (depth < nearest + 0.5)
                lost, total = lost + (~seen[face]).sum(), total + face.sum()
    assert total > 400
    assert lost / total < 0.01
    ground = cloud.xyz[views.point, 2] < -1.5
    assert (~views.visible[ground]).mean() < 0.035  # some of it lies behind cars


def test_every_layout_has_a_beam_spacing():
    assert set(BEAM_SPACING_DEG) == set(LIDAR_LAYOUTS)
