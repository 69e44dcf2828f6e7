"""Layouts that do not fit are found from the bytes alone, and no sound cloud is held for one."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from labelgen.core.errors import FrameError
from labelgen.core.frame import Frame, parse_layout
from labelgen.datasets import plan_frames
from labelgen.datasets.checks import CHECKS, FrameInput, PlanInput, survey
from labelgen.datasets.layouts import guess
from labelgen.datasets.loading import load_cloud
from labelgen.geometry import project
from tests.helpers.sweeps import LAYOUTS, ORDERS, SCENES, packed, sweep


def sight_of(folder: Path, data: bytes, layout: str) -> FrameInput:
    (folder / "a.bin").write_bytes(data)
    frame = Frame("f", "s", 0, 0, "a.bin", layout, np.eye(4), ())
    cloud, _ = load_cloud(folder, frame)
    return FrameInput(frame, cloud, project(frame, cloud), root=folder)


def told(data: FrameInput, *names: str) -> list[str]:
    names = names or ("cloud-layout", "cloud-units")
    return [str(odd) for name in names for odd in CHECKS[name].function(data)]


def place(layout: str) -> tuple:
    record = parse_layout(layout).record
    return (record.itemsize, *(record.fields[axis][:2] for axis in "xyz"))


def sweeps(order):
    for number, scene in enumerate(SCENES):
        rng = np.random.default_rng([ORDERS.index(order), number])
        yield scene, sweep(order, scene, rng)


@pytest.mark.parametrize("order", ORDERS)
def test_sound_clouds_of_all_layouts_are_told_nothing_about(order, tmp_path):
    for scene, columns in sweeps(order):
        for name, layout in LAYOUTS.items():
            data = sight_of(tmp_path, packed(columns, layout).tobytes(), layout)
            assert told(data) == [], (scene, name)


@pytest.mark.parametrize("turn", [0, np.pi])
def test_ranges_and_angles_are_told(turn, tmp_path):
    """Azimuths from -pi to pi, or from 0 to 2 pi."""
    for _, columns in sweeps("firing"):
        x, y, z = (columns[axis].astype(float) for axis in "xyz")
        polar = {
            "x": np.sqrt(x**2 + y**2 + z**2),
            "y": np.arctan2(y, x) + turn,
            "z": np.arctan2(z, np.hypot(x, y)),
        }
        (odd,) = told(
            sight_of(tmp_path, packed(columns | polar, LAYOUTS["kitti"]).tobytes(), "kitti"), "cloud-units"
        )
        assert "range, azimuth and elevation" in odd


def test_files_read_in_another_layout_are_found_and_the_right_one_is_named(tmp_path):
    found, hinted, missed = 0, 0, Counter()
    for number, order in enumerate(ORDERS):
        for scene, columns in list(sweeps(order))[number % 3 :][:1]:
            for name, layout in LAYOUTS.items():
                data = packed(columns, layout).tobytes()
                for other, wrong in LAYOUTS.items():
                    if place(wrong) == place(layout):
                        continue
                    size = parse_layout(wrong).record.itemsize
                    try:
                        said = told(sight_of(tmp_path, data[: len(data) // size * size], wrong))
                    except FrameError:  # nothing finite
                        continue
                    found += bool(said)
                    missed[name, other, order, scene] += not said
                    right = [text for text in said if " would fit" in text]
                    hinted += bool(right) and place(right[0].split()[-3]) == place(layout)
    total = sum(1 for _ in missed.elements()) + found
    assert found >= 0.99 * total, list(missed.elements())
    assert hinted >= 0.9 * total


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("big-endian", "big-endian"),
        ("columns", "all x"),
        ("millimetres", "millimetres as int32"),
        ("half", "x:f2"),
    ],
)
def test_other_types_and_orders_are_named(order, kind, word, tmp_path):
    for _, columns in sweeps(order):
        layout = LAYOUTS["kitti"]
        rows = packed(columns, layout).view("<f4").reshape(-1, 4)
        data = {
            "big-endian": lambda rows=rows: rows.astype(">f4"),
            "columns": lambda rows=rows: rows.T.copy(),
            "millimetres": lambda rows=rows: np.rint(rows * 1000.0).astype("<i4"),
            "half": lambda rows=rows: rows[: len(rows) // 2 * 2].astype("<f2"),
        }[kind]().tobytes()
        (text,) = told(sight_of(tmp_path, data, "kitti"), "cloud-layout")
        assert word in text


def test_a_column_before_the_coordinates_is_found(tmp_path):
    columns = sweep("random", "street", np.random.default_rng(0))
    rows = np.stack([np.arange(len(columns["x"])) % 32, *(columns[axis] for axis in "xyz")], 1).astype("<f4")
    (text,) = told(sight_of(tmp_path, rows.tobytes(), "kitti"))
    assert "x holds whole numbers only; lidar_layout a:u4,x:f4,y:f4,z:f4 would fit" in text


def test_surfaces_one_after_another_in_the_file_change_nothing(tmp_path):
    """The ground first, then walls: as simulators and tests write points."""
    columns = sweep("random", "street", np.random.default_rng(1))
    order = np.argsort(columns["z"])
    columns = {name: column[order] for name, column in columns.items()}
    columns["z"] = np.where(np.arange(len(order)) < 0.7 * len(order), columns["z"].min(), columns["z"])
    for name, layout in LAYOUTS.items():
        data = packed(columns, layout).tobytes()
        assert told(sight_of(tmp_path, data, layout)) == [], name
        for other in ("kitti", "nuscenes", "xyz"):
            if place(LAYOUTS[other]) != place(layout):
                size = parse_layout(LAYOUTS[other]).record.itemsize
                assert told(sight_of(tmp_path, data[: len(data) // size * size], LAYOUTS[other])), (
                    name,
                    other,
                )


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda xyz: xyz * 1000, "millimetres"),
        (lambda xyz: xyz * 100, "centimetres"),
        (lambda xyz: xyz / 1000, "kilometres"),
        (lambda xyz: xyz / np.abs(xyz).max(), "scaled to 1"),
        (lambda xyz: xyz + np.array([411_300.0, 1_180_900.0, 5.0]), "map"),
        (lambda xyz: xyz + np.array([-1200.0, 650.0, 40.0]), "map"),
        (lambda xyz: xyz + np.array([0, 130.0, 0]), "nearest points lie"),
    ],
)
@pytest.mark.parametrize("order", ["firing", "random"])
def test_units_and_frames_of_coordinates_are_told(change, word, order, tmp_path):
    columns = sweep(order, "street", np.random.default_rng(3))
    xyz = np.stack([columns[axis] for axis in "xyz"], 1)
    xyz = change(xyz[(xyz != 0).any(1)])
    rows = np.c_[xyz, np.linspace(0, 1, len(xyz))].astype("<f4")
    (text,) = told(sight_of(tmp_path, rows.tobytes(), "kitti"))
    assert word in text
    assert "metres" in text or "lidar's frame" in text.lower()


def test_a_file_of_parts_of_records_is_told_what_would_fit(tmp_path):
    data = packed(sweep("firing", "street", np.random.default_rng(0)), LAYOUTS["six"]).tobytes()
    (tmp_path / "a.bin").write_bytes(data[: len(data) // 16 * 16 + 8])
    with pytest.raises(FrameError, match=r"truncated.*x:f4,y:f4,z:f4,intensity:f4,ring:f4,\w+:f4 would fit"):
        load_cloud(tmp_path, Frame("f", "s", 0, 0, "a.bin", "kitti", np.eye(4), ()))


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 64, b"\x7f" * 700, bytes(range(256)) * 8, b"\0\0\xc0\x7f" * 500]
)
def test_no_bytes_are_too_odd_to_look_at(data):
    assert guess(data) == "" or isinstance(guess(data, "kitti"), str)


@pytest.mark.parametrize("name", ["nuscenes-keyframe", "kitti-frame", "sustech-frames"])
def test_real_clouds_are_told_nothing_about(shared_data, name):
    dataset = {"nuscenes-keyframe": "nuscenes", "kitti-frame": "semantickitti"}.get(name, "manifest")
    frames, info = plan_frames(dataset, shared_data / name)
    plan = PlanInput(Path(info.dataroot), frames, info)
    found = [finding for finding in survey(plan) if finding.check.startswith("cloud-")]
    assert found == []
