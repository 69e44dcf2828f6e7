"""Sweeps: every point on the surface that was there when its beam was fired; what cameras truly see."""

import numpy as np
import pytest

from labelgen.demo.world import render_view, rig
from labelgen.demo.world.camera import NEAR
from labelgen.demo.world.hits import hit
from labelgen.demo.world.lidar import RANGE_NOISE, scan
from labelgen.demo.world.render import aim
from labelgen.demo.world.surface import HEIGHT, ground_hit
from labelgen.demo.world.visibility import IN_IMAGE, SAME_OBJECT, SEEN, carried, seen_by

TIME = 2.0


@pytest.fixture(scope="module")
def sweep(city):
    return scan(city, TIME)


def test_the_same_sweep_again(city, sweep):
    again = scan(city, TIME)
    assert np.array_equal(sweep.points, again.points)
    assert np.array_equal(sweep.category, again.category)
    assert np.array_equal(sweep.object_id, again.object_id)


def test_layout_is_that_of_nuscenes(sweep):
    points = sweep.points
    assert points.dtype == np.float32
    assert points.shape[1] == 5
    assert 25_000 < len(points) <= 32 * rig.AZIMUTH_STEPS
    assert set(np.unique(points[:, 4])) <= set(range(32))
    assert points[:, 3].min() >= 0
    assert points[:, 3].max() <= 255
    assert (np.diff(sweep.fired_s) >= 0).all()
    assert np.isfinite(points).all()
    # Clockwise from the left: the first beams look along -x, a quarter later along +y.
    azimuth = np.unwrap(np.arctan2(points[:, 1], points[:, 0])[points[:, 4] == 15])
    assert azimuth[0] == pytest.approx(np.pi, abs=0.1) or azimuth[0] == pytest.approx(-np.pi, abs=0.1)
    assert azimuth[-1] - azimuth[0] == pytest.approx(-2 * np.pi, abs=0.2)


def test_points_lie_on_what_stood_there_when_the_beam_was_fired(city, sweep):
    rng = np.random.default_rng(0)
    moving = np.flatnonzero(np.isin(sweep.body, city.traffic.rows))
    rows = np.concatenate(
        [rng.choice(len(sweep.points), 60, replace=False), rng.choice(moving, 30, replace=False)]
    )
    for row in rows:
        fired = float(sweep.fired_s[row])
        parts = city.parts(fired)
        start = (city.world_from_ego(fired) @ rig.LIDAR.ego_from_sensor)[:3, 3]
        ray = sweep.world[row] - start
        best, found = np.inf, 0
        unit = ray / np.linalg.norm(ray)
        off = parts.centre - start
        apart = np.linalg.norm(np.cross(off, unit), axis=1)
        for i in np.flatnonzero(apart < np.linalg.norm(parts.half, axis=1) + 0.01):
            m = parts.axes[i]
            local, towards = m.T @ (start - parts.centre[i]), m.T @ ray
            solid = (*parts.half[i], *parts.shape[i], *parts.open[i], parts.seed[i])
            t = hit(parts.kind[i], *local, *towards, *solid, 0.12 / np.linalg.norm(ray))
            if t < best:
                best, found = t, int(parts.object_id[i])
        ground = ground_hit(city.ground, HEIGHT, *start, *ray, 1e9, 0)[0]
        if sweep.body[row] < 0:
            assert ground == pytest.approx(1.0, abs=1e-6)
            assert best > ground
        else:
            # Within a slice of firings bodies move in straight lines: a fraction of a millimetre.
            assert best * np.linalg.norm(ray) == pytest.approx(np.linalg.norm(ray), abs=3e-3)
            assert found == sweep.object_id[row]


def test_compensation_takes_every_point_to_the_sweeps_own_time(city, sweep):
    pose = city.world_from_ego(TIME) @ rig.LIDAR.ego_from_sensor
    world = sweep.points[:, :3].astype(float) @ pose[:3, :3].T + pose[:3, 3]
    off = np.linalg.norm(world - sweep.world, axis=1)
    assert off.max() < 6 * RANGE_NOISE
    assert 0.5 * RANGE_NOISE < off.std() + off.mean() < 3 * RANGE_NOISE
    moved = np.linalg.norm(city.ego_pose(TIME)[0] - city.ego_pose(TIME - rig.SWEEP_SECONDS)[0])
    assert moved > 0.05, "the ego vehicle moves during the sweep, else this test says nothing"


def test_returns_fade_with_range_and_incidence(sweep):
    road = sweep.category == 24
    distance = np.linalg.norm(sweep.points[:, :3], axis=1)
    assert distance.max() < 106
    rings = sweep.points[:, 4]
    near, far = (rings == 13) & road, (rings == 20) & road
    assert sweep.points[near, 3].mean() > sweep.points[far, 3].mean()


def test_ego_returns_are_labelled(sweep):
    own = sweep.category == 31
    assert 0.1 < own.mean() < 0.35
    assert np.linalg.norm(sweep.points[own, :3], axis=1).max() < 4


@pytest.mark.parametrize("name", ["CAM_FRONT", "CAM_BACK_LEFT"])
def test_visibility_agrees_with_a_depth_picture(city, sweep, name):
    sensor = rig.camera_named(name)
    at = TIME - rig.SWEEP_SECONDS * (1 - sensor.sweep_fraction)
    size = (1600, 900)
    shot = aim(city, at, name, size)
    bits = seen_by(city, sweep, shot, at)
    view = render_view(city, at, name, size)
    lens = shot.lens
    local = (carried(city, sweep, at) - lens.place) @ lens.axes
    rows = np.flatnonzero((bits & IN_IMAGE) > 0)
    u = lens.fx * local[rows, 0] / local[rows, 2] + lens.cx
    v = lens.fy * local[rows, 1] / local[rows, 2] + lens.cy
    x, y = np.rint(u).astype(int), np.rint(v).astype(int)
    ok = (x > 1) & (x < size[0] - 2) & (y > 1) & (y < size[1] - 2) & (local[rows, 2] > NEAR)
    rows, x, y = rows[ok], x[ok], y[ok]
    around = np.stack([view.depth[y + dy, x + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)], 1)
    # Away from edges the picture's depth decides; pixels whose surroundings differ are left out.
    flat = (around.max(1) - around.min(1)) < 0.02 * around.min(1) + 0.02
    hidden_by_depth = around[flat, 4] < local[rows[flat], 2] - 0.1 - 0.03 * local[rows[flat], 2]
    shown_by_depth = np.abs(around[flat, 4] - local[rows[flat], 2]) < 0.02 + 0.004 * local[rows[flat], 2]
    seen = (bits[rows[flat]] & SEEN) > 0
    assert flat.sum() > 800
    assert not seen[hidden_by_depth].any()
    assert seen[shown_by_depth].mean() > 0.995
    still = shown_by_depth & ~np.isin(sweep.body[rows[flat]], city.traffic.rows)
    assert ((bits[rows[flat][still]] & SAME_OBJECT) > 0).mean() > 0.99
