"""Pictures: exact against testing every part, equal for any number of threads, true to the objects."""

import numpy as np
import pytest

from labelgen.core.errors import UserError
from labelgen.demo.world import CAMERA_NAMES, SKY, TRAIN_SEEDS, render, render_view, sample_views
from labelgen.demo.world.camera import FAR, first_along, part_hit
from labelgen.demo.world.rig import CAMERAS

SIZE = (320, 180)


@pytest.fixture(scope="module")
def view(city):
    return render_view(city, 2.0, "CAM_FRONT_LEFT", SIZE)


def test_tiles_miss_no_part(city):
    for name in ("CAM_FRONT", "CAM_BACK"):
        shot = render.aim(city, 2.0, name, SIZE)
        rng = np.random.default_rng(0)
        u, v = rng.uniform(0, SIZE[0] - 1, 200), rng.uniform(0, SIZE[1] - 1, 200)
        depth, row = first_along(shot.prims, shot.bins, city.ground, shot.lens, u, v, np.full(200, FAR))
        drawn = np.flatnonzero(np.isfinite(shot.bins.near))
        for k in range(200):
            best = min(
                (part_hit(shot.prims, shot.bins.rays, i, u[k], v[k], 0.05) for i in drawn), default=np.inf
            )
            if row[k] >= 0:
                assert depth[k] == pytest.approx(best, rel=1e-12)
            elif np.isfinite(depth[k]):
                assert best >= depth[k] - 1e-9
            else:
                assert best > FAR


def test_parts_left_out_of_view_are_out_of_view(city):
    shot = render.aim(city, 2.0, "CAM_BACK", SIZE)
    lens = shot.lens
    left_out = np.flatnonzero(~np.isfinite(shot.bins.near))
    local = (shot.prims.centre[left_out] - lens.place) @ lens.axes
    ahead = local[:, 2] > 0.1
    u = lens.fx * local[ahead, 0] / local[ahead, 2] + lens.cx
    v = lens.fy * local[ahead, 1] / local[ahead, 2] + lens.cy
    size = np.linalg.norm(shot.prims.half[left_out][ahead], axis=1) * lens.fx / local[ahead, 2]
    within = (u > 0) & (u < SIZE[0] - 1) & (v > 0) & (v < SIZE[1] - 1)
    assert (size[within] < 0.5).all()


def test_threads_do_not_change_a_byte(city, view, monkeypatch):
    for threads in (1, 3):
        monkeypatch.setattr(render, "thread_count", lambda n=threads: n)
        render._pool.cache_clear()
        other = render_view(city, 2.0, "CAM_FRONT_LEFT", SIZE)
        for name in ("rgb", "category", "object_id", "depth"):
            assert np.array_equal(getattr(view, name), getattr(other, name)), name
    render._pool.cache_clear()


def test_truth_maps_agree_with_the_list_of_objects(city):
    for name in CAMERA_NAMES:
        view = render_view(city, 1.0, name, SIZE)
        assert view.rgb.shape == (SIZE[1], SIZE[0], 3)
        assert view.rgb.dtype == np.uint8
        for object_id in np.unique(view.object_id):
            mine = view.object_id == object_id
            if object_id == 0:
                assert (view.category[mine] == SKY).all()
                assert np.isinf(view.depth[mine]).all()
            else:
                assert (view.category[mine] == city.items[int(object_id)].category).all()
                assert np.isfinite(view.depth[mine]).all()
        assert 25 < view.rgb.mean() < 230, "exposed neither black nor white"


def test_a_smaller_picture_shows_the_same_scene(city, view):
    large = render_view(city, 2.0, "CAM_FRONT_LEFT", (960, 540))
    # The centre of a pixel of the small picture is the centre of the middle one of 3 x 3 of the large one.
    middle = large.object_id[1::3, 1::3]
    assert np.array_equal(middle, view.object_id)
    np.testing.assert_allclose(large.depth[1::3, 1::3], view.depth, rtol=1e-5)


def test_focal_lengths_are_nuscenes_and_scale_with_the_picture():
    front, back = CAMERAS[0], CAMERAS[3]
    assert front.intrinsics((1600, 900))[0, 0] == pytest.approx(1266.417)
    assert back.intrinsics((800, 450))[0, 0] == pytest.approx(809.221 / 2)
    assert [c.name for c in CAMERAS] == list(CAMERA_NAMES)
    order = sorted(CAMERAS, key=lambda c: c.sweep_fraction)
    assert [c.name for c in order] == [
        "CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT",
    ]  # fmt: skip


@pytest.mark.parametrize("size", [(0, 10), (-5, 100), (16, 16), (9000, 900), (4000, 40)])
def test_impossible_sizes_are_refused(city, size):
    with pytest.raises(UserError, match="impossible"):
        render_view(city, 0.0, "CAM_FRONT", size)
    with pytest.raises(UserError, match="impossible"):
        next(sample_views(TRAIN_SEEDS, 1, size, 0))


def test_unknown_camera(city):
    with pytest.raises(KeyError, match="CAM_TOP"):
        render_view(city, 0.0, "CAM_TOP", SIZE)


def test_sampled_views_repeat():
    first = [view.rgb for _, view in sample_views(TRAIN_SEEDS, 2, (96, 54), 3)]
    again = [view.rgb for _, view in sample_views(TRAIN_SEEDS, 2, (96, 54), 3)]
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], first[1])
