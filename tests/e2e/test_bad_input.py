"""Each fault is a one-line error or a recorded failure that names file and frame and says what to do."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import labelgen
from labelgen.core.records import Reason
from labelgen.datasets import plan_frames
from tests.e2e.conftest import QUICK


def lidar_files(dataroot: Path) -> list[tuple[str, Path]]:
    frames, _ = plan_frames("nuscenes", dataroot)
    return [(frame.frame_id, dataroot / frame.lidar_path) for frame in frames]


def one_line_error(result, *words: str) -> None:
    assert result.code == 2
    lines = result.err.strip().splitlines()
    assert len(lines) == 1, result.err
    for word in words:
        assert word in lines[0]
    assert "Traceback" not in result.err


def test_no_dataroot_given(shell):
    one_line_error(shell("run", "--dataset", "nuscenes"), "DATAROOT=")


def test_wrong_dataroot(shell, tmp_path):
    one_line_error(shell("run", "--dataset", "nuscenes", "--dataroot", tmp_path / "nowhere"), "nowhere")


def test_wrong_version_lists_what_there_is(shell, job):
    one_line_error(shell("run", *job, "--version", "v9"), "v9", "v1.0-mini")


def test_wrong_split(shell, job):
    one_line_error(shell("run", *job, "--split", "no_such_split"), "no_such_split")


def test_unknown_dataset(shell, tmp_path):
    one_line_error(shell("run", "--dataset", "kitty", "--dataroot", tmp_path), "kitty", "nuscenes")


def test_missing_and_broken_table(shell, job, dataroot):
    table = dataroot / "v1.0-mini" / "ego_pose.json"
    text = table.read_text()
    table.write_text(text[: len(text) // 2])
    one_line_error(shell("run", *job), "ego_pose.json")
    table.unlink()
    one_line_error(shell("run", *job), "ego_pose")


def test_table_path_that_leaves_the_dataroot(shell, job, dataroot):
    table = dataroot / "v1.0-mini" / "sample_data.json"
    rows = json.loads(table.read_text())
    row = next(row for row in rows if "LIDAR_TOP" in row["filename"])
    row["filename"] = "../../etc/passwd"
    table.write_text(json.dumps(rows))
    one_line_error(shell("run", *job), "../../etc/passwd")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-7]), "truncated"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.unlink(), ""),
        (lambda path: np.full((20, 5), np.nan, "<f4").tofile(path), "finite"),
    ],
    ids=["truncated", "empty", "missing", "all NaN"],
)
def test_a_bad_cloud_fails_its_frame_and_no_other(shell, job, dataroot, tmp_path, damage, words):
    frame_id, path = lidar_files(dataroot)[2]
    damage(path)
    result = shell("run", *job, *QUICK, "--json")
    assert result.code == 1
    assert "--max-failed-fraction" in result.err
    assert (result.json["labelled"], result.json["failed"]) == (5, 1)
    (failure,) = shell("inspect", tmp_path / "run", "--json").json["failures"]
    assert failure["frame_id"] == frame_id
    assert failure["stage"] == "load"
    assert path.name in failure["message"]
    assert words in failure["message"]

    again = shell("run", *job, *QUICK, "--json")
    assert (again.code, again.json["todo"]) == (1, 0), "a known failure is not tried again, nor forgotten"
    tolerant = shell("run", *job, *QUICK, "--max-failed-fraction", "0.2")
    assert tolerant.code == 0


def test_a_mended_file_is_labelled_without_being_asked(shell, job, dataroot, tmp_path):
    frame_id, path = lidar_files(dataroot)[0]
    good = path.read_bytes()
    path.write_bytes(good[:-3])
    assert shell("run", *job, *QUICK).code == 1
    path.write_bytes(good)
    result = shell("run", *job, *QUICK, "--json")
    assert result.code == 0, result.err
    assert (result.json["todo"], result.json["labelled"]) == (1, 1)
    run = labelgen.open_run(tmp_path / "run")
    assert frame_id in run.frames
    assert not run.failures


def test_retry_failed_tries_again(shell, job, dataroot):
    _, path = lidar_files(dataroot)[0]
    path.write_bytes(b"")
    assert shell("run", *job, *QUICK).code == 1
    result = shell("run", *job, *QUICK, "--retry-failed", "--json")
    assert (result.code, result.json["todo"], result.json["failed"]) == (1, 1, 1)


def test_nan_points_keep_their_rows(shell, job, dataroot, tmp_path):
    frame_id, path = lidar_files(dataroot)[0]
    cloud = np.fromfile(path, "<f4").reshape(-1, 5)
    cloud[10:60, :3] = np.nan
    cloud[60:70, 0] = np.inf
    cloud.tofile(path)
    assert shell("run", *job, *QUICK, "--frames", "0:1").code == 0
    labels = labelgen.open_run(tmp_path / "run").frame(frame_id).labels
    assert len(labels) == len(cloud)
    assert (labels.label[10:70] == 255).all()
    assert (labels.reason[10:70] == Reason.NO_RETURN).all()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:200]),
        lambda path: path.write_bytes(b"not an image"),
        lambda path: path.unlink(),
    ],
    ids=["truncated", "garbage", "missing"],
)
def test_a_bad_image_leaves_the_other_cameras(shell, job, dataroot, tmp_path, damage):
    frames, _ = plan_frames("nuscenes", dataroot)
    camera = frames[0].cameras[1]
    damage(dataroot / camera.image_path)
    result = shell("run", *job, *QUICK, "--frames", "0:2", "--json")
    assert result.code == 0, result.err
    assert (result.json["labelled"], result.json["partial"], result.json["failed"]) == (2, 1, 0)
    record = labelgen.open_run(tmp_path / "run").frame(frames[0].frame_id).record()
    assert any(Path(camera.image_path).name in note for note in record.notes)
    assert 1 not in record.regions.camera
    assert set(record.regions.camera) == {0, 2, 3, 4, 5}
    only_there = record.labels.reason == Reason.CAMERA_MISSING
    assert only_there.any()
    assert (record.labels.label[only_there] == 255).all()


def test_a_frame_without_any_readable_image_fails(shell, job, dataroot, tmp_path):
    frames, _ = plan_frames("nuscenes", dataroot)
    for camera in frames[0].cameras:
        (dataroot / camera.image_path).write_bytes(b"")
    result = shell("run", *job, *QUICK, "--frames", "0:1", "--json")
    assert (result.code, result.json["failed"]) == (1, 1)
    (failure,) = shell("inspect", tmp_path / "run", "--json").json["failures"]
    assert "none of its images is readable" in failure["message"]


def test_an_output_with_another_fingerprint_is_refused(shell, job):
    assert shell("run", *job, *QUICK, "--frames", "0:1").code == 0
    result = shell("run", *job, *QUICK, "--set", "labels.min_margin=0.4")
    one_line_error(result.__class__(result.code, "", result.err.splitlines()[-1]), "min_margin")


def test_an_output_that_is_a_file(shell, job, tmp_path):
    (tmp_path / "run").write_text("in the way")
    result = shell("run", *job, *QUICK)
    assert result.code == 2
    assert "Traceback" not in result.err


def test_wrong_settings(shell, job):
    one_line_error(shell("run", *job, "--set", "regions.superpixel_segments=-1"), "superpixel_segments")
    one_line_error(shell("run", *job, "--config", "nothing"), "nothing", "demo")
    one_line_error(shell("run", *job, "--frames", "x"), "BEGIN:END")
    one_line_error(shell("run", *job, "--frames", "100:200"), "selects nothing")


def test_a_missing_checkpoint_is_named(shell, job):
    result = shell(
        "run", *job, "--set", "semantics.model=ViT-B-32", "--set", "semantics.checkpoint=/no/such.pt"
    )
    one_line_error(result, "/no/such.pt")


def test_an_unreachable_cluster(shell, job):
    result = shell("run", *job, "--ray-address", "127.0.0.1:1")
    assert result.code == 2
    assert "127.0.0.1:1" in result.err.splitlines()[-1]


def test_no_space_for_a_run_inside_the_dataroot_is_needed(shell, job, dataroot):
    before = sorted(path for path in dataroot.rglob("*"))
    assert shell("run", *job, *QUICK, "--frames", "0:1").code == 0
    assert sorted(path for path in dataroot.rglob("*")) == before, "the data root is never written to"
    shutil.rmtree(dataroot)
