"""What clouds tell of themselves and of each other: brightness, copies, rings, times, turns and sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelgen.core.frame import Frame
from labelgen.datasets.checks import CHECKS, FrameInput, PlanInput, check_frame, check_plan
from labelgen.datasets.info import DatasetInfo
from labelgen.datasets.loading import load_cloud
from labelgen.geometry import project
from tests.helpers.sweeps import LAYOUTS, packed, sweep

TIMED = "x:f4,y:f4,z:f4,intensity:f4,ring:f4,time:f4"


@pytest.fixture
def columns():
    """A sound sweep in the order of firing, intensities 0..1."""
    made = sweep("firing", "street", np.random.default_rng(5))
    hit = (made["x"] != 0) | (made["y"] != 0)
    made = {name: column[hit].astype(float) for name, column in made.items()}
    made["intensity"] = made["intensity"] / made["intensity"].max()
    return made


def told(folder: Path, columns, layout: str) -> dict[str, str]:
    """{check: what it found} of one frame."""
    packed(columns, layout if ":" in layout else LAYOUTS[layout]).tofile(folder / "a.bin")
    frame = Frame("f", "s", 0, 0, "a.bin", layout, np.eye(4), ())
    cloud, _ = load_cloud(folder, frame)
    data = FrameInput(frame, cloud, project(frame, cloud), root=folder)
    return {name: str(odd) for name, odd in check_frame(data) if name.startswith("cloud-")}


def test_a_sound_cloud(columns, tmp_path):
    for layout in ("kitti", TIMED, "x:f4,y:f4,z:f4,intensity:u1,ring:u2"):
        assert told(tmp_path, columns, layout) == {}
    columns["intensity"] *= 255
    assert told(tmp_path, columns, "nuscenes") == {}
    assert told(tmp_path, columns, TIMED) == {}


@pytest.mark.parametrize(
    ("layout", "change", "word"),
    [
        ("kitti", lambda i: i * 255, "0 to 1"),
        ("kitti", lambda i: i * 100, "takes any range"),
        ("nuscenes", lambda i: i, "multiply"),
        ("nuscenes", lambda i: i * 4095, "0 to 255"),
        ("kitti", lambda i: i * 2 - 1, "negative"),
        ("kitti", lambda i: i * 0 + 0.5, "all points have intensity 0.5"),
        ("kitti", lambda i: np.where(np.arange(len(i)) % 9, i, np.nan), "not a number"),
        (TIMED, lambda i: i * 1e9, "right column"),
    ],
)
def test_intensities(columns, layout, change, word, tmp_path):
    columns["intensity"] = change(columns["intensity"])
    found = told(tmp_path, columns, layout)
    assert list(found) == ["cloud-intensity"]
    assert word in found["cloud-intensity"]


@pytest.mark.parametrize(
    ("change", "check", "word"),
    [
        (lambda c: {k: np.concatenate([v, v]) for k, v in c.items()}, "cloud-copies", "50%"),
        (lambda c: {k: np.repeat(v, 3) for k, v in c.items()}, "cloud-copies", "67%"),
        (lambda c: c | {"z": np.full_like(c["z"], 1.5)}, "cloud-shape", "plane"),
        (lambda c: c | {"y": 2 * c["x"], "z": c["x"] - 1}, "cloud-shape", "line"),
        (lambda c: {k: v[:60] for k, v in c.items()}, "cloud-returns", "60 points"),
        (
            lambda c: c | {a: np.where(np.arange(len(c[a])) % 9, 0, c[a]) for a in "xyz"},
            "cloud-returns",
            "89%",
        ),
        (lambda c: c | {"ring": c["ring"] * 300}, "cloud-ring", "0 to 254"),
        (lambda c: c | {"time": c["time"] * 1e6}, "cloud-time", "microseconds"),
        (lambda c: c | {"time": c["time"] * 1e9}, "cloud-time", "nanoseconds"),
        (lambda c: c | {"time": c["time"] + 1.7e9}, "cloud-time", "1.7e+09"),
    ],
)
def test_points(columns, change, check, word, tmp_path):
    found = told(tmp_path, change(columns), TIMED)
    assert check in found
    assert word in found[check]


def drive(folder: Path, clouds, layout=TIMED, speed=0.0, dataset="manifest") -> PlanInput:
    """A plan of clouds half a second apart."""
    frames = []
    for number, columns in enumerate(clouds):
        packed(columns, layout if ":" in layout else LAYOUTS[layout]).tofile(folder / f"{number}.bin")
        pose = np.eye(4)
        pose[0, 3] = speed * number / 2
        time = 1_700_000_000_000_000 + 500_000 * number
        frames.append(Frame(f"f{number}", "s", number, time, f"{number}.bin", layout, pose, ()))
    return PlanInput(folder, frames, DatasetInfo(dataset=dataset))


def found_by(plan: PlanInput, name: str) -> list[str]:
    others = set(CHECKS) - {name}
    return [str(finding) for finding in check_plan(plan, others)]


def cut(columns, share):
    return {name: column[: int(len(column) * share)] for name, column in columns.items()}


def without_sector(columns, degrees):
    """The vehicle hides a sector, which lies anywhere in the file."""
    azimuth = np.degrees(np.arctan2(columns["y"], columns["x"]))
    return {name: column[np.abs(azimuth - 100) > degrees / 2] for name, column in columns.items()}


def test_sweeps_that_end_early_are_told_where_whole_turns_are_usual(columns, tmp_path):
    whole, short = [columns] * 3, cut(columns, 0.9)
    assert found_by(drive(tmp_path, whole), "cloud-turn") == []
    (text,) = found_by(drive(tmp_path, [columns, short, columns]), "cloud-turn")
    assert "1.bin" in text
    assert "degrees short" in text
    # A LiDAR that is told to leave out a sector does so always; nuScenes' is not.
    assert found_by(drive(tmp_path, [short] * 3), "cloud-turn") == []
    assert len(found_by(drive(tmp_path, [short], dataset="nuscenes"), "cloud-turn")) == 1
    hidden = without_sector(columns, 40)
    assert found_by(drive(tmp_path, [hidden], dataset="nuscenes"), "cloud-turn") == []
    front = {name: column[columns["x"] > abs(columns["y"])] for name, column in columns.items()}
    assert found_by(drive(tmp_path, [front], dataset="nuscenes"), "cloud-turn") == []


def test_files_that_are_cut_off_stand_out_of_those_around_them(columns, tmp_path):
    rng = np.random.default_rng(0)
    sound = [cut(columns, share) for share in 0.97 + 0.02 * rng.random(12)]
    assert found_by(drive(tmp_path, sound), "cloud-size") == []
    plan = drive(tmp_path, [*sound[:4], cut(columns, 0.7), *sound[5:]])
    (text,) = found_by(plan, "cloud-size")
    assert "4.bin" in text
    assert "cut off" in text
    double = {name: np.concatenate([column, column]) for name, column in columns.items()}
    (text,) = found_by(drive(tmp_path, [double, *sound[1:]]), "cloud-size")
    assert "0.bin" in text
    assert "two sweeps" in text
    plan = drive(tmp_path, [*sound[:4], cut(columns, 0.7), *sound[5:]])
    apart = [replace(frame, scene_id=f"s{number // 2}") for number, frame in enumerate(plan.frames)]
    (text,) = found_by(replace(plan, frames=apart), "cloud-size")  # two frames of each of many scenes
    assert "4.bin" in text
    # Into a tunnel and out of it, fewer points for a while are nothing to tell.
    tunnel = [cut(columns, 0.5)] * 5
    assert found_by(drive(tmp_path, [*sound[:6], *tunnel, *sound[6:]]), "cloud-size") == []


def bent(columns, speed):
    """As measured from a vehicle that drives: a point of time t lies where it was seen from then."""
    return columns | {"x": columns["x"] - speed * (columns["time"] - columns["time"].max())}


def test_clouds_that_are_not_deskewed_are_told(columns, tmp_path):
    (text,) = found_by(drive(tmp_path, [columns] * 2, speed=15), "cloud-skew")
    assert "15.0 m/s" in text
    assert "as they were measured" in text
    assert found_by(drive(tmp_path, [columns] * 2, speed=0.2), "cloud-skew") == []
    # Deskewed, the points of a ring no longer lie on a cone.
    assert found_by(drive(tmp_path, [bent(columns, 15)] * 2, speed=15), "cloud-skew") == []
    (text,) = found_by(drive(tmp_path, [columns] * 2, "x:f4,y:f4,z:f4,time:f4", speed=15), "cloud-skew")
    assert "is this one" in text
    still = columns | {"time": columns["time"] * 0.01}
    assert found_by(drive(tmp_path, [still] * 2, speed=15), "cloud-skew") == []
    plan = drive(tmp_path, [columns] * 2)
    turn = np.array([[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    frames = [plan.frames[0], replace(plan.frames[1], global_from_lidar=turn)]
    (text,) = found_by(replace(plan, frames=frames), "cloud-skew")
    assert "180 degrees/s" in text
