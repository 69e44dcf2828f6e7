"""Plans by name, and the door for a frames.parquet of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelgen.core.errors import UserError
from labelgen.datasets import DatasetInfo, plan_frames, read_frames, write_frames

from .frames import make_frame


@pytest.fixture
def own(tmp_path) -> Path:
    """A data root with five frames in two scenes, its files, and a frames.parquet that records no root."""
    rng = np.random.default_rng(0)
    frames = [make_frame(rng, number) for number in range(5)]
    for frame in frames:
        for path in (frame.lidar_path, *(camera.image_path for camera in frame.cameras)):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(b"x")
    object.__setattr__(frames[0], "source_id", "")
    write_frames(tmp_path / "frames.parquet", frames, DatasetInfo("mine"))
    return tmp_path


def test_by_folder_and_by_file(own, tmp_path_factory):
    by_folder, info = plan_frames("manifest", own)
    assert info.dataroot == str(own)
    assert info.dataset == "manifest"
    assert info.missing_files == 0
    assert plan_frames("manifest", own / "frames.parquet")[1].dataroot == str(own)
    assert by_folder[0].source_id  # where there was none
    assert [frame.source_id for frame in by_folder[1:]] == [f"source-{k}" for k in range(1, 5)]

    frames, info = read_frames(own / "frames.parquet")
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "plan.parquet"
    write_frames(elsewhere, frames, DatasetInfo("mine", dataroot=str(own)))
    assert plan_frames("manifest", elsewhere)[1].dataroot == str(own)


def test_a_folder_overrules_the_recorded_root(own):
    frames, _ = read_frames(own / "frames.parquet")
    write_frames(own / "frames.parquet", frames, DatasetInfo("mine", dataroot="/where/it/was/once"))
    assert plan_frames("manifest", own)[1].dataroot == str(own)
    with pytest.raises(UserError, match="/where/it/was/once holds none of the 5 LiDAR files"):
        plan_frames("manifest", own / "frames.parquet")


def test_scenes_are_chosen_by_name(own):
    frames, info = plan_frames("manifest", own, "", "scene-1")
    assert [frame.frame_id for frame in frames] == ["frame-3", "frame-4"]
    assert info.split == "scene-1"
    with pytest.raises(UserError, match="no scene scene-7"):
        plan_frames("manifest", own, "", "scene-1,scene-7")
    with pytest.raises(UserError, match="no versions"):
        plan_frames("manifest", own, "v1.0")


def test_no_manifest(tmp_path):
    with pytest.raises(UserError, match=r"no file .*frames\.parquet"):
        plan_frames("manifest", tmp_path)
