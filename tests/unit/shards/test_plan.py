"""A run's plan over several calls: nothing is lost, what changed is brought up to date."""

import dataclasses

import pytest

from labelgen.core.errors import UserError
from labelgen.datasets import DatasetInfo, plan_frames, read_frames
from labelgen.shards import merge_plan, read_plan
from tests.helpers.nuscenes_root import make_dataroot


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    return plan_frames("nuscenes", make_dataroot(tmp_path_factory.mktemp("root"), points=20))


def ids(path):
    return [frame.frame_id for frame in read_frames(path)[0]]


def test_splits_add_up(planned, tmp_path):
    frames, info = planned
    path = tmp_path / "frames.parquet"
    merge_plan(tmp_path, frames[:3], info)
    merge_plan(tmp_path, frames[3:], info)
    assert ids(path) == [frame.frame_id for frame in frames]


def test_the_same_plan_leaves_the_file_alone(planned, tmp_path):
    frames, info = planned
    path = tmp_path / "frames.parquet"
    merge_plan(tmp_path, frames, info)
    before = path.stat().st_ino
    merge_plan(tmp_path, frames, info)
    assert path.stat().st_ino == before


def test_a_changed_source_replaces_its_row(planned, tmp_path):
    frames, info = planned
    path = tmp_path / "frames.parquet"
    merge_plan(tmp_path, frames, info)
    changed = dataclasses.replace(frames[2], source_id="other")
    merge_plan(tmp_path, [changed], info)
    stored = {frame.frame_id: frame.source_id for frame in read_frames(path)[0]}
    assert len(stored) == len(frames)
    assert stored[changed.frame_id] == "other"


def test_another_data_set_is_refused(planned, tmp_path):
    frames, info = planned
    merge_plan(tmp_path, frames, info)
    with pytest.raises(UserError, match="another data set"):
        merge_plan(
            tmp_path, frames, DatasetInfo(dataset="other", dataroot=info.dataroot, categories={"x": 1})
        )


def test_a_run_without_a_plan(tmp_path):
    with pytest.raises(UserError, match=r"no file .*frames\.parquet; running the same job"):
        read_plan(tmp_path)
