import numpy as np
import pytest

from labelgen.core.records import UNLABELLED
from labelgen.core.taxonomy import load_taxonomy
from labelgen.inspection import drawing
from labelgen.inspection.camera import draw_camera
from tests.unit.inspection.scenes import HEIGHT, WIDTH, camera, labels, record

COLORS = load_taxonomy("nuscenes16").colors()
CAR, ROAD, CONE = 3, 10, 7
GREY = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)


def draw(rec, image=GREY, xyz=None, scale=2, number=0):
    size = {"width": WIDTH * scale, "height": HEIGHT * scale}
    return draw_camera(camera("CAM_FRONT", 0), number, image, rec, COLORS, xyz=xyz, **size)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_point_has_its_class_colour_at_its_pixel(scale):
    rows = [(0, 0, 100, 90, 5, True), (1, 0, 200.5, 120.25, 5, True)]
    picture = draw(record(labels([CAR, CONE]), rows), scale=scale)
    # The centre of pixel (u, v) lies at (u + 0.5, v + 0.5) from the corner, in the picture scale times that.
    assert tuple(picture[int(90.5 * scale), int(100.5 * scale)]) == tuple(COLORS[CAR])
    assert tuple(picture[int(120.75 * scale), int(201.0 * scale)]) == tuple(COLORS[CONE])


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_dot_is_centred_on_its_pixel_to_a_fraction(scale):
    picture = draw(record(labels([CAR]), [(0, 0, 100, 90.25, 5, True)]), scale=scale)
    weight = np.clip(picture[..., 0].astype(float) - 128, 0, None)  # red against grey, without the dark rim
    weight[: 30 * scale] = 0  # the name
    y, x = (np.arange(size) for size in weight.shape)
    centre = (weight.sum(0) @ x / weight.sum(), weight.sum(1) @ y / weight.sum())
    assert np.allclose(centre, np.array([100.5, 90.75]) * scale - 0.5, atol=0.2)


def test_all_else_is_the_image():
    noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    picture = draw(record(labels([CAR]), [(0, 0, 100, 90, 5, True)]), noise, scale=1)
    picture[84:97, 94:107] = noise[84:97, 94:107]  # around the dot
    picture[:20] = noise[:20]  # the name
    assert (picture == noise).all()


def test_hidden_points_and_those_of_other_cameras_are_not_drawn():
    rows = [(0, 0, 100, 90, 5, False), (0, 1, 200, 90, 5, True)]
    picture = draw(record(labels([CAR]), rows))
    assert (picture[40:] == 128).all()


def test_unlabelled_points_are_small_and_below():
    rows = [(0, 0, 100, 90, 5, True), (1, 0, 100, 90, 2, True), (2, 0, 200, 90, 5, True)]
    picture = draw(record(labels([CAR, UNLABELLED, UNLABELLED]), rows))
    assert tuple(picture[181, 201]) == tuple(COLORS[CAR])

    def touched(x):
        return (picture[160:200, x - 20 : x + 20] != 128).any(axis=2).sum()

    assert 0 < touched(401) < touched(201) / 2


@pytest.mark.parametrize("stored", [True, False])
def test_near_points_cover_far_ones_though_shards_store_no_depth(stored):
    """A shard's depths are NaN; the cloud tells them."""
    depths = (np.nan, np.nan) if stored else (30, 3)
    rows = [(0, 0, 160, 90, depths[0], True), (1, 0, 160, 90, depths[1], True)]
    xyz = np.array([[0, 30, 0], [0, 3, 0]], np.float32)
    for order in (1, -1):
        rec = record(
            labels([ROAD, CAR][::order]),
            [(r[0], *r[1:4], d[4], True) for r, d in zip(rows, rows[::order], strict=True)],
        )
        picture = draw(rec, xyz=xyz[::order] if stored else None)
        assert tuple(picture[181, 321]) == tuple(COLORS[CAR])


def box(left, top, right, bottom):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def test_regions_tint_their_area_and_outline_it():
    picture = draw(record(labels([]), masks=[(0, box(50, 60, 150, 160), CAR)]), scale=1).astype(int)
    inside, rim, outside = picture[110, 100], picture[110, 50], picture[110, 48]
    toward = COLORS[CAR].astype(int) - 128
    assert (np.sign(inside - 128) == np.sign(toward)).all(), "tinted with the class's colour"
    assert (np.abs(inside - 128) < np.abs(toward) * 0.4).all(), "the image stays visible"
    assert (np.abs(rim - 128) > np.abs(inside - 128)).all()
    assert (outside == 128).all()


def test_the_smaller_of_two_regions_is_on_top():
    masks = [(0, box(90, 90, 110, 110), ROAD), (0, box(50, 60, 150, 160), CAR)]
    picture = draw(record(labels([]), masks=masks), scale=1).astype(int)
    alone = draw(record(labels([]), masks=masks[:1]), scale=1).astype(int)
    assert (picture[100, 100] == alone[100, 100]).all()
    assert (picture[100, 70] != alone[100, 70]).any()


def test_regions_of_other_cameras_and_void_regions_leave_the_area_alone():
    masks = [(0, box(50, 60, 150, 160), UNLABELLED), (1, box(200, 60, 250, 160), CAR)]
    picture = draw(record(labels([]), masks=masks), scale=1)
    assert (picture[110, 100] == 128).all()
    assert (picture[110, 50] != 128).any(), "void regions have an outline"
    assert (picture[40:, 190:] == 128).all()


def test_a_missing_image_is_a_grey_panel_that_says_why():
    silent = draw(record(labels([])), None)
    told = draw(record(labels([]), notes=("CAM_FRONT_LEFT: other", "CAM_FRONT: truncated")), None)
    other = draw(record(labels([]), notes=("CAM_FRONT_LEFT: other",)), None)
    assert (silent[50:120] == drawing.GREY_PANEL).all()
    middle = slice(HEIGHT - 15, HEIGHT + 15)
    assert (silent[middle] != drawing.GREY_PANEL).any()
    assert (silent[middle] != told[middle]).any()
    assert (silent == other).all(), "another camera's note is not this one's"


def test_a_missing_image_still_shows_the_points():
    picture = draw(record(labels([CAR]), [(0, 0, 100, 120, 5, True)]), None)
    assert tuple(picture[241, 201]) == tuple(COLORS[CAR])
