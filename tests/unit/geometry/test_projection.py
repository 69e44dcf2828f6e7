"""Projection against the real keyframe's reference, nuscenes-devkit, OpenCV and hand-made cases."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.core.errors import FrameError
from labelgen.geometry import ProjectionSettings, project, project_points, projection
from labelgen.geometry.cameras import fold_over
from tests.helpers.geometry import CHANNELS, keyframe, looking_forward, make_camera, make_cloud, make_frame


def literal(xyz, cameras, min_depth=1.0, border=1.0):
    """The devkit's rule in plain numpy, float64."""
    out = []
    for c, camera in enumerate(cameras):
        local = xyz.astype(np.float64) @ camera.camera_from_lidar[:3, :3].T + camera.camera_from_lidar[:3, 3]
        with np.errstate(all="ignore"):
            pixel = local @ camera.intrinsics.T
            u, v = pixel[:, 0] / pixel[:, 2], pixel[:, 1] / pixel[:, 2]
            keep = (local[:, 2] > min_depth) & (u > border) & (u < camera.width - border)
            keep &= (v > border) & (v < camera.height - border)
        out += [(c, i, u[i], v[i], local[i, 2]) for i in np.flatnonzero(keep)]
    return np.array(out).reshape(-1, 5)


def assert_equals_literal(found, expected, tolerance=1e-3):
    np.testing.assert_array_equal(found.camera, expected[:, 0])
    np.testing.assert_array_equal(found.point, expected[:, 1])
    np.testing.assert_allclose(found.uv, expected[:, 2:4], atol=tolerance)
    np.testing.assert_allclose(found.depth, expected[:, 4], rtol=1e-6)


@pytest.mark.parametrize("c", range(6), ids=CHANNELS)
def test_equals_the_reference_of_the_real_keyframe(nuscenes_keyframe, c):
    frame, cloud = keyframe(nuscenes_keyframe)
    found = project_points(cloud.xyz, frame.cameras)
    mine = found.camera == c
    with np.load(nuscenes_keyframe / "reference" / f"{CHANNELS[c]}.npz", allow_pickle=False) as reference:
        np.testing.assert_array_equal(found.point[mine], reference["index"])
        np.testing.assert_array_equal(found.point[mine], reference["index_float64"])
        assert np.abs(found.uv[mine] - reference["uv_float64"]).max() < 1e-3
        assert np.abs(found.depth[mine] - reference["depth_float64"]).max() < 1e-5
        assert np.abs(found.uv[mine] - reference["uv"]).max() < 0.04  # the devkit itself, float32


def test_equals_nuscenes_devkit(nuscenes_keyframe):
    nuscenes = pytest.importorskip("nuscenes")
    devkit = nuscenes.NuScenes("v1.0-mini", str(nuscenes_keyframe), verbose=False)
    frame, cloud = keyframe(nuscenes_keyframe)
    found = project_points(cloud.xyz, frame.cameras)
    for c, channel in enumerate(CHANNELS):
        data = devkit.sample[0]["data"]
        points, depths, _ = devkit.explorer.map_pointcloud_to_image(data["LIDAR_TOP"], data[channel])
        mine = found.camera == c
        assert np.abs(found.uv[mine] - points[:2].T).max() < 0.04
        np.testing.assert_allclose(found.depth[mine], depths, atol=1e-3)


def test_equals_the_reference_of_the_kitti_frame(kitti_frame):
    with np.load(kitti_frame / "reference" / "image_2.npz", allow_pickle=False) as reference:
        P, Tr = reference["P2"], np.vstack([reference["Tr"], [0, 0, 0, 1]])
        expected = reference["uv"]
        inside = reference["inside"]
    K = P[:, :3]
    shift = np.eye(4)
    shift[:3, 3] = np.linalg.solve(K, P[:, 3])
    camera = make_camera(width=1242, height=375, pose=shift @ Tr)
    object.__setattr__(camera, "intrinsics", K)
    xyz = np.fromfile(kitti_frame / "sequences/08/velodyne/000000.bin", np.float32).reshape(-1, 4)[:, :3]
    found = project_points(xyz, [camera], ProjectionSettings(min_depth=0, border=0))
    assert np.all(inside)
    assert len(found.point) > 0.99 * len(xyz)  # the reference also keeps half a pixel around the image
    assert np.abs(found.uv - expected[found.point]).max() < 1e-3


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 5, 255, 256, 257, 1500]), st.integers(0, 4))
def test_equals_plain_numpy_on_random_rigs(seed, points, cameras):
    rng = np.random.default_rng(seed)
    rig = []
    for _ in range(cameras):
        q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        pose = np.eye(4)
        pose[:3, :3] = q * np.sign(np.linalg.det(q))
        pose[:3, 3] = rng.normal(size=3) * 2
        width, height = rng.integers(1, 300, 2).tolist()
        rig.append(make_camera(width, height, focal=float(rng.uniform(10, 300)), pose=pose))
    scale = 10 ** rng.uniform(-1, 5)
    xyz = (rng.normal(size=(points, 3)) * scale).astype(np.float32)
    rule = {"min_depth": float(rng.choice([0, 1.0, 3])), "border": float(rng.choice([0, 1, 4.5]))}
    found = project_points(xyz, rig, ProjectionSettings(**rule))
    assert_equals_literal(found, literal(xyz, rig, **rule))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.sampled_from([0.0, 5.0, np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-40]), min_size=3, max_size=60
    )
)
def test_points_that_are_not_finite_project_nowhere(values):
    xyz = np.array(values[: len(values) // 3 * 3], np.float32).reshape(-1, 3)
    rig = [
        make_camera(),
        make_camera(pose=looking_forward()),
        make_camera(distortion=np.array([-0.1, 0.01, 0, 0])),
    ]
    found = project_points(xyz, rig)
    assert np.isfinite(xyz[found.point]).all()
    assert np.isfinite(found.uv).all()


def test_point_exactly_on_the_border_is_out_and_one_inside_is_in():
    camera = make_camera(width=101, height=81, focal=64.0, center=(50.0, 40.0))
    at = np.array(
        [[1, 40], [100, 40], [50, 1], [50, 80], [1.125, 40], [99.875, 40], [50, 1.125], [50, 79.875]]
    )
    xyz = np.column_stack([(at[:, 0] - 50) / 64 * 2, (at[:, 1] - 40) / 64 * 2, np.full(8, 2.0)])
    assert project_points(xyz.astype(np.float32), [camera]).point.tolist() == [4, 5, 6, 7]


def test_depth_equal_to_the_least_is_out():
    xyz = np.array([[0, 0, 1.0], [0, 0, np.nextafter(np.float32(1), np.float32(2))]], np.float32)
    assert project_points(xyz, [make_camera()]).point.tolist() == [1]


def test_points_behind_the_camera_are_out():
    xyz = np.array([[0, 0, -5], [0.1, 0.1, -2], [0, 0, 5]], np.float32)
    assert project_points(xyz, [make_camera()], ProjectionSettings(min_depth=0)).point.tolist() == [2]


def test_a_one_pixel_image_keeps_nothing_within_its_border():
    camera = make_camera(width=1, height=1)
    xyz = np.array([[0, 0, 5.0]], np.float32)
    assert len(project_points(xyz, [camera]).point) == 0
    whole = ProjectionSettings().model_copy(update={"border": -1.0})
    assert len(project_points(xyz, [camera], whole).point) == 1


def test_empty_cloud_and_no_cameras():
    none = np.zeros((0, 3), np.float32)
    for xyz, cameras in ((none, [make_camera()]), (none, []), (np.ones((4, 3), np.float32), [])):
        found = project_points(xyz, cameras)
        assert found.uv.shape == (0, 2)
        assert len(found.point) == len(found.camera) == len(found.depth) == 0
    views = project(make_frame([]), make_cloud(none))
    assert len(views) == 0


def test_rows_of_a_wider_array_are_projected_alike():
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(500, 5)).astype(np.float32) * 10
    strided = project_points(wide[:, :3], [make_camera()])
    packed = project_points(wide[:, :3].copy(), [make_camera()])
    assert len(packed.point) > 10
    for a, b in zip(strided, packed, strict=True):
        np.testing.assert_array_equal(a, b)


LENSES = {
    "radial": [-0.12, 0.03, 0, 0],
    "tangential": [-0.1, 0.01, 0.003, -0.002],
    "five": [-0.2, 0.08, 0.001, 0.0005, -0.01],
    "rational": [0.3, -0.05, 0.0003, -0.0002, 0.001, 0.5, 0.02, 0.001],
    "prism": [-0.1, 0.02, 0.001, 0.001, 0, 0, 0, 0, 0.002, -0.001, 0.0015, 0.0005],
    "tilt": [-0.1, 0.02, 0.001, 0.001, 0, 0, 0, 0, 0.001, 0, 0, 0.001, 0.02, -0.03],
}


@pytest.mark.parametrize("lens", LENSES)
def test_distortion_equals_opencv(lens):
    rng = np.random.default_rng(1)
    distortion = np.array(LENSES[lens])
    camera = make_camera(640, 480, 400.0, looking_forward(0.2, 0.1, -0.3, 0.4), distortion=distortion)
    xyz = (rng.normal(size=(4000, 3)) * [8, 8, 4]).astype(np.float32)
    found = project_points(xyz, [camera])
    pose = camera.camera_from_lidar
    expected, _ = cv2.projectPoints(
        xyz[found.point].astype(np.float64),
        cv2.Rodrigues(pose[:3, :3])[0],
        pose[:3, 3],
        camera.intrinsics,
        distortion,
    )
    assert len(found.point) > 200
    np.testing.assert_allclose(found.uv, expected[:, 0], atol=1e-3)

    everything, _ = cv2.projectPoints(
        xyz.astype(np.float64), cv2.Rodrigues(pose[:3, :3])[0], pose[:3, 3], camera.intrinsics, distortion
    )
    u, v = everything[:, 0].T
    local = xyz @ pose[:3, :3].T + pose[:3, 3]
    radius = (local[:, :2] ** 2).sum(1) / local[:, 2] ** 2
    inside = (local[:, 2] > 1) & (u > 1) & (u < 639) & (v > 1) & (v < 479)
    coefficients = np.zeros(12)
    coefficients[: min(12, len(distortion))] = distortion[:12]
    missed = np.setdiff1d(np.flatnonzero(inside), found.point)
    assert np.all(radius[missed] >= fold_over(coefficients))


def test_what_a_lens_folds_back_into_the_image_is_dropped():
    camera = make_camera(640, 480, 300.0, distortion=np.array([-0.3, 0.0, 0, 0]))
    angles = np.radians([0, 10, 30, 45, 60, 70])  # r = tan; r - 0.3 r^3 turns round at r = 1.054
    xyz = np.column_stack([np.tan(angles), np.zeros(6), np.ones(6)]) * 5
    found = project_points(xyz.astype(np.float32), [camera])
    assert found.point.tolist() == [0, 1, 2, 3]
    folded, _ = cv2.projectPoints(
        xyz, np.zeros(3), np.zeros(3), camera.intrinsics, np.array([-0.3, 0, 0, 0, 0.0])
    )
    assert 1 < folded[4, 0, 0] < 639  # OpenCV puts the point at 60 degrees into the image


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=6, max_size=6))
def test_fold_over_is_where_the_radius_stops_to_grow(k):
    lens = np.zeros(12)
    lens[[0, 1, 4, 5, 6, 7]] = k
    limit = fold_over(lens)
    r = np.linspace(0, min(np.sqrt(limit), 3) * (1 - 1e-6), 2000)
    s = r * r
    distorted = r * (1 + s * (k[0] + s * (k[1] + s * k[2]))) / (1 + s * (k[3] + s * (k[4] + s * k[5])))
    assert np.all(np.diff(distorted) > -1e-9)


def test_pinhole_and_distorted_cameras_share_a_rig():
    rng = np.random.default_rng(2)
    xyz = (rng.normal(size=(2000, 3)) * 5).astype(np.float32)
    plain, lens = make_camera(), make_camera(distortion=np.array([-0.1, 0.01, 0, 0]))
    both = project_points(xyz, [lens, plain])
    alone = project_points(xyz, [plain])
    mine = both.camera == 1
    np.testing.assert_array_equal(both.uv[mine], alone.uv)
    assert (both.camera == 0).sum() > 50
    zero = project_points(xyz, [make_camera(distortion=np.zeros(5))])
    np.testing.assert_array_equal(zero.uv, alone.uv)


@pytest.mark.parametrize(
    "change",
    [{"distortion": np.zeros(3) + 0.1}, {"distortion": np.array([np.nan, 0, 0, 0])}, {"focal": 0.0}],
    ids=["length", "nan", "focal"],
)
def test_unusable_cameras_fail_the_frame_and_are_named(change):
    with pytest.raises(FrameError, match=r"frame frame\b.*camera broken"):
        project(make_frame([make_camera(name="broken", **change)]), make_cloud([[0, 0, 5]]))


def test_more_than_a_frame_may_hold(monkeypatch):
    frame, cloud = make_frame([make_camera()] * 3), make_cloud(np.tile([0.0, 0.0, 5.0], (10, 1)))
    assert len(project(frame, cloud)) == 30
    monkeypatch.setattr(projection, "MOST_VIEWS", 29)
    with pytest.raises(FrameError, match="10 points may be seen 30 times by 3 cameras; the maximum is 29"):
        project(frame, cloud)
    monkeypatch.setattr(projection, "MOST_TESTS", 29)
    with pytest.raises(FrameError, match="10 points in 3 cameras are too many"):
        project(frame, cloud)
