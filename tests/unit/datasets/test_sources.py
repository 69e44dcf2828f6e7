"""A frame's source id changes with what it is labelled from, and with nothing else."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from labelgen.datasets.sources import with_source_ids

from .frames import make_frame


@pytest.fixture
def drive(tmp_path):
    """A data root and three frames whose files are all there."""
    rng = np.random.default_rng(0)
    frames = [replace(make_frame(rng, number), source_id="") for number in range(3)]
    for frame in frames:
        for path in (frame.lidar_path, *(camera.image_path for camera in frame.cameras)):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(path.encode())
    return tmp_path, frames


def ids(root, frames) -> list[str]:
    return [frame.source_id for frame in with_source_ids(root, frames)[0]]


def test_ids_are_distinct_and_repeatable(drive):
    root, frames = drive
    first = ids(root, frames)
    assert len(set(first)) == 3
    assert ids(root, frames) == first
    assert ids(root, frames[::-1]) == first[::-1]
    assert ids(str(root) + "/.", frames) == first


def change_bytes(root, frame):
    (root / frame.cameras[1].image_path).write_bytes(b"longer than it was before" * 9)


def change_size_only(root, frame):
    path = root / frame.cameras[1].image_path
    time = path.stat().st_mtime_ns
    path.write_bytes(b"")
    os.utime(path, ns=(time, time))


def touch(root, frame):
    os.utime(root / frame.lidar_path, ns=(1, 1))


def remove(root, frame):
    (root / frame.cameras[0].image_path).unlink()


@pytest.mark.parametrize("change", [change_bytes, change_size_only, touch, remove])
def test_a_changed_file_changes_its_frame_only(drive, change):
    root, frames = drive
    before = ids(root, frames)
    change(root, frames[1])
    after = ids(root, frames)
    assert [one != other for one, other in zip(before, after, strict=True)] == [False, True, False]


def test_a_changed_calibration_changes_its_frame_only(drive):
    root, frames = drive
    before = ids(root, frames)
    moved = frames[1].cameras[0].camera_from_lidar.copy()
    moved[0, 3] += 1e-3
    camera = replace(frames[1].cameras[0], camera_from_lidar=moved)
    changed = [frames[0], replace(frames[1], cameras=(camera, *frames[1].cameras[1:])), frames[2]]
    assert [a != b for a, b in zip(before, ids(root, changed), strict=True)] == [False, True, False]
    moved[0, 3] -= 1e-3 + 1e-13  # what another machine may round otherwise is no change
    camera = replace(camera, camera_from_lidar=moved)
    same = [frames[0], replace(frames[1], cameras=(camera, *frames[1].cameras[1:])), frames[2]]
    assert ids(root, same) == before


def test_truth_is_no_source(drive):
    root, frames = drive
    before = ids(root, frames)
    assert ids(root, [replace(frame, label_path="other.bin") for frame in frames]) == before


def test_a_given_id_is_kept_and_missing_files_are_counted(drive):
    root, frames = drive
    remove(root, frames[0])
    remove(root, frames[2])
    given = [frames[0], replace(frames[1], source_id="mine"), frames[2]]
    found, missing = with_source_ids(root, given)
    assert missing == 2
    assert found[1].source_id == "mine"
