import numpy as np
import pytest

from labelgen.core.frame import PointCloud
from labelgen.core.records import UNLABELLED, FrameStatus
from labelgen.core.taxonomy import load_taxonomy
from labelgen.inspection import drawing, overlay
from labelgen.inspection.birdseye import birdseye_pixels, draw_birdseye
from labelgen.inspection.layout import place_cameras
from labelgen.inspection.legend import draw_legend
from labelgen.inspection.overlay import draw_frame
from tests.unit.inspection.scenes import HEIGHT, WIDTH, camera, frame, labels, record

TAXONOMY = load_taxonomy("nuscenes16")
COLORS = TAXONOMY.colors()
CAR, ROAD = 3, 10
FORWARD = np.array([0.0, 1.0])


def cloud(xyz):
    xyz = np.array(xyz, np.float32).reshape(-1, 3)
    return PointCloud(xyz, np.zeros(len(xyz), np.float32))


def rig(count):
    return tuple(camera(f"CAM_{k}", 360 * k / count) for k in range(count))


def image(shade):
    return np.full((HEIGHT, WIDTH, 3), shade, np.uint8)


def has(picture, color):
    return bool((picture == color).all(axis=-1).any())


@pytest.mark.parametrize("count", [0, 1, 2, 5, 6, 7])
def test_every_camera_has_its_place_in_the_picture(count):
    shades = [40 + 20 * k for k in range(count)]
    picture = draw_frame(
        frame(rig(count)), cloud([]), [image(s) for s in shades], record(labels([])), TAXONOMY, width=1200
    )
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (1200, 3)
    gap = 4
    panels, _ = place_cameras(rig(count), 1200 - 2 * gap, gap)
    head = 1200 // 28
    for panel in panels:
        y, x = head + panel.y + panel.height - 3, gap + panel.x + panel.width - 3
        assert tuple(picture[y, x]) == (shades[panel.camera],) * 3


def test_a_labelled_point_is_in_its_camera_and_in_the_birds_eye_view():
    rows = [(0, 0, 100, 120, 5, True)]
    rec = record(labels([CAR]), rows)
    picture = draw_frame(frame(rig(1)), cloud([[10, 20, 0]]), [image(128)], rec, TAXONOMY, width=1200)
    panel = place_cameras(rig(1), 1192, 4)[0][0]
    scale = panel.width / WIDTH
    at = 1200 // 28 + panel.y + int(120.5 * scale), 4 + panel.x + int(100.5 * scale)
    assert tuple(picture[at]) == tuple(COLORS[CAR])

    size = 394  # of the lower panels, a gap above the end; 50 m from the middle to the edge
    birdseye = picture[-398:-4, 4 : 4 + size]
    row, column = (size - 1) / 2 - 20 * size / 100, (size - 1) / 2 + 10 * size / 100
    assert tuple(birdseye[round(row), round(column)]) == tuple(COLORS[CAR])


@pytest.mark.parametrize(
    ("forward", "point", "expected"),
    [((0, 1), (10, 20), (10, -20)), ((1, 0), (20, -10), (10, -20)), ((-1, 0), (-20, 10), (10, -20))],
)
def test_the_driving_direction_points_up(forward, point, expected):
    """nuScenes: x right, y ahead. KITTI: x ahead, y left."""
    xyz = np.array([[*point, 1]], np.float32)
    xy = birdseye_pixels(xyz, np.array(forward, float), width=100, height=200, reach=50)
    assert np.allclose(xy - (49.5, 99.5), [expected])


def test_high_points_cover_the_ground_in_the_birds_eye_view():
    xyz = np.array([[10, 10, 1], [10, 10, -2]], np.float32)
    colors = COLORS[[CAR, ROAD]]
    for order in ([0, 1], [1, 0]):
        view = draw_birdseye(
            xyz[order], colors[order], np.zeros(2, bool), FORWARD, title="", width=401, height=401
        )
        assert tuple(view[160, 240]) == tuple(COLORS[CAR])


def test_points_that_are_not_finite_or_far_away_are_left_out():
    xyz = [[np.nan, 0, 0], [0, np.inf, 0], [1, 1, -np.inf], [1e30, 0, 0], [3.4e38, -3.4e38, 0]]
    none = draw_frame(frame(), cloud([[1e30, 0, 0]] * 5), [], record(labels([CAR] * 5)), TAXONOMY, width=600)
    bad = draw_frame(frame(), cloud(xyz), [], record(labels([CAR] * 5)), TAXONOMY, width=600)
    assert (none == bad).all()


def test_no_points_at_all():
    picture = draw_frame(frame(rig(2)), cloud([]), [None, None], record(labels([])), TAXONOMY, width=600)
    assert not has(picture, COLORS[CAR])


def test_truth_stands_beside_the_labels():
    rec = record(labels([CAR, UNLABELLED]))
    points = cloud([[10, 20, 0], [-10, -20, 0]])
    truth = np.array([ROAD, ROAD], np.uint8)
    with_truth = draw_frame(frame(), points, [], rec, TAXONOMY, truth=truth, width=1200)
    without = draw_frame(frame(), points, [], rec, TAXONOMY, width=1200)
    left, right = (slice(-398, -4), slice(4, 398)), (slice(-398, -4), slice(402, 796))
    assert has(with_truth[left], COLORS[CAR])
    assert not has(with_truth[left], COLORS[ROAD])
    assert has(with_truth[right], COLORS[ROAD])
    assert not has(with_truth[right], COLORS[CAR])
    assert not has(without[right], COLORS[ROAD])
    assert (with_truth[left] == without[left]).all()


def test_without_a_cloud_the_stored_points_or_a_remark_are_drawn():
    rec = record(labels([CAR]))
    bare = draw_frame(frame(), None, [], rec, TAXONOMY, width=1200)
    assert not has(bare[-398:-4, 4:398], COLORS[CAR])
    assert has(bare[-398:-4, 4:398], drawing.WARNING)
    object.__setattr__(rec, "xyz", np.array([[5, 5, 0]], np.float32))
    stored = draw_frame(frame(), None, [], rec, TAXONOMY, width=1200)
    assert has(stored[-398:-4, 4:398], COLORS[CAR])


@pytest.mark.parametrize(
    "wrong",
    [
        {"cloud": cloud([[0, 0, 0]] * 3)},
        {"truth": np.zeros(3, np.uint8)},
        {"images": [None]},
        {"width": 100},
    ],
)
def test_arrays_of_another_frame_are_refused(wrong):
    given = {"cloud": cloud([[0, 0, 0]] * 2), "images": [], "width": 600} | wrong
    with pytest.raises(ValueError, match=r"points|images|pixels"):
        draw_frame(frame(), record=record(labels([CAR, CAR])), taxonomy=TAXONOMY, **given)


def written(monkeypatch, draw):
    """Draw, and gather the texts that are written."""
    texts = []
    original = drawing.draw_text

    def spy(canvas, items, **more):
        texts.extend(item[2] for item in items)
        original(canvas, items, **more)

    monkeypatch.setattr(drawing, "draw_text", spy)
    draw()
    return texts


def test_the_header_names_the_frame_and_what_went_wrong(monkeypatch):
    rec = record(
        labels([CAR, UNLABELLED, UNLABELLED]), notes=("CAM_BACK is truncated",), status=FrameStatus.PARTIAL
    )
    texts = written(
        monkeypatch,
        lambda: draw_frame(frame(), cloud([[0, 0, 0]] * 3), [], rec, TAXONOMY, width=2400),
    )
    assert "frame f0" in texts
    assert "scene s0, number 3" in texts
    assert "2017-07-14 02:40:00.000000 UTC" in texts
    assert "3 points, 33.3% labelled" in texts
    assert "partial" in texts
    assert "notes: CAM_BACK is truncated" in texts


@pytest.mark.parametrize("time", [-(2**62), 2**62])
def test_impossible_times_are_written_as_numbers(time):
    draw_frame(frame(timestamp_us=time), cloud([]), [], record(labels([])), TAXONOMY, width=480)


def test_hostile_texts_are_one_printable_line(monkeypatch):
    evil = "x\x1b[31m\n" * 2000
    rec = record(labels([]), notes=(evil, "<script>"))
    cameras = (camera("CAM\n\x00<b>" + "y" * 500, 0),)
    texts = written(
        monkeypatch, lambda: draw_frame(frame(cameras), cloud([]), [None], rec, TAXONOMY, width=480)
    )
    assert all(text.isprintable() and len(text) < 300 for text in texts)


def test_the_legend_counts_every_class_and_reason(monkeypatch):
    label = labels([CAR] * 1234 + [ROAD] * 5 + [UNLABELLED] * 2)
    truth = np.array([ROAD] * 1241, np.uint8)
    texts = written(monkeypatch, lambda: draw_legend(label, TAXONOMY, truth, width=700, height=700))
    pairs = [texts[k : k + 3] for k in range(len(texts))]
    assert ["car", "1,234", "0"] in pairs
    assert ["driveable_surface", "5", "1,241"] in pairs
    assert ["not labelled", "2", "0"] in pairs
    assert any(pair[:2] == ["in no region 0.2%", "2"] for pair in pairs)
    assert "bus" not in texts


def test_a_long_legend_sums_up_its_end(monkeypatch):
    spec = TAXONOMY.to_dict()
    spec["classes"] = [
        {"name": f"c{k}", "color": [k, k, k], "thing": True, "words": [f"w{k}"]} for k in range(200)
    ]
    long = type(TAXONOMY).from_dict(spec)
    label = labels([k for k in range(200) for _ in range(201 - k)])
    texts = written(monkeypatch, lambda: draw_legend(label, long, None, width=700, height=700))
    more = next(k for k, text in enumerate(texts) if text.endswith("more classes"))
    shown = [text for text in texts if text.startswith("c") and text != "classes"]
    assert shown[:2] == ["c0", "c1"]
    hidden = 200 - len(shown)
    assert texts[more] == f"{hidden} more classes"
    assert texts[more + 1] == f"{sum(201 - k for k in range(len(shown), 200)):,}"


def test_confidence_runs_from_red_to_blue():
    low, high = labels([CAR], confidence=10), labels([CAR], confidence=250)
    red = overlay._confidence_colors(record(low))[0].astype(int)
    blue = overlay._confidence_colors(record(high))[0].astype(int)
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert tuple(overlay._confidence_colors(record(labels([UNLABELLED])))[0]) == drawing.BARE
