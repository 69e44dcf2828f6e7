"""Sweeps between keyframes: what was a keyframe is found again when the tables call it a sweep."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from labelgen.core.errors import UserError
from labelgen.datasets import plan_frames
from tests.helpers.nuscenes_root import VERSION, edit_table, make_dataroot


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """A data root of one scene with five keyframes, and one where the second and third are mere sweeps."""
    folder = tmp_path_factory.mktemp("sweeps")
    root = make_dataroot(folder, scenes=1, samples=5, points=60)
    other = folder / "sweeps"
    shutil.copytree(root, other)
    samples: list[dict] = []

    def without_samples(rows):
        samples.extend(sorted(rows, key=lambda row: row["timestamp"]))
        return [row for row in samples if row not in samples[1:3]]

    edit_table(other, "sample", without_samples)
    tokens = [row["token"] for row in samples]

    def as_sweeps(rows):
        rows = [row for row in rows if row["is_key_frame"]]
        for row in rows:
            if row["sample_token"] in tokens[1:3]:
                row |= {"is_key_frame": False, "sample_token": tokens[3]}
        return rows[::-1]  # the tables' order says nothing

    edit_table(other, "sample_data", as_sweeps)
    return root, other


def test_none_unless_asked_for(roots):
    frames, _ = plan_frames("nuscenes", roots[1], VERSION)
    assert len(frames) == 3
    assert all(frame.label_path for frame in frames)


def test_sweeps_are_the_frames_that_they_were_as_keyframes(roots):
    expected, _ = plan_frames("nuscenes", roots[0], VERSION)
    frames, _ = plan_frames("nuscenes", roots[1], VERSION, sweeps=2)
    assert [frame.frame_id for frame in frames] == [frame.frame_id for frame in expected]
    assert [frame.index for frame in frames] == list(range(5))
    for frame, other in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(frame.global_from_lidar, other.global_from_lidar)
        assert [camera.image_path for camera in frame.cameras] == [c.image_path for c in other.cameras]
        for camera, again in zip(frame.cameras, other.cameras, strict=True):
            np.testing.assert_array_equal(camera.camera_from_lidar, again.camera_from_lidar)


def test_fewer_are_spread_and_more_than_there_are_are_all(roots):
    ids = [frame.frame_id for frame in plan_frames("nuscenes", roots[0], VERSION)[0]]
    (one,) = set(ids) & {f.frame_id for f in plan_frames("nuscenes", roots[1], VERSION, sweeps=1)[0]} - {
        ids[0], ids[3], ids[4],
    }  # fmt: skip
    assert one in ids[1:3]
    assert len(plan_frames("nuscenes", roots[1], VERSION, sweeps=20)[0]) == 5


def test_images_taken_at_another_time_are_left_out(roots, tmp_path):
    root = tmp_path / "late"
    shutil.copytree(roots[1], root)
    frames, _ = plan_frames("nuscenes", root, VERSION, sweeps=2)
    late = frames[1].cameras[0]

    def delay(rows):
        for row in rows:
            if row["filename"] == late.image_path:
                row["timestamp"] += 150_000
        return rows

    edit_table(root, "sample_data", delay)
    names = [camera.name for camera in plan_frames("nuscenes", root, VERSION, sweeps=2)[0][1].cameras]
    assert late.name not in names
    assert len(names) == len(frames[1].cameras) - 1


def test_other_data_sets_have_none(tmp_path):
    with pytest.raises(UserError, match="no sweeps between"):
        plan_frames("manifest", tmp_path, sweeps=1)
