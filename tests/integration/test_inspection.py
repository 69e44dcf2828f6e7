"""labelgen inspect, evaluate and report on a run over a small nuScenes data root."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections import Counter

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from labelgen.cli.inspect import evaluate, inspect, report
from labelgen.config import RunConfig
from labelgen.core.errors import UserError
from labelgen.core.records import UNLABELLED, Failure, FrameStatus, Reason, Views
from labelgen.core.taxonomy import load_taxonomy
from labelgen.datasets import load_cloud, load_truth, plan_frames, write_frames
from labelgen.geometry import rle
from labelgen.inspection.choose import find_frame
from labelgen.inspection.layout import place_cameras
from labelgen.inspection.summary import summarise_run
from labelgen.runs import open_run
from labelgen.shards import create_run, write_shard
from tests.helpers.nuscenes_root import VERSION, make_dataroot
from tests.helpers.records import identity_of, make_record

TAXONOMY = load_taxonomy("nuscenes16")
MARK = "0" * 32
EVIL = "<script>alert(1)</script>[red]\x1b[31m"

app = typer.Typer(pretty_exceptions_enable=False)
for command in (inspect, evaluate, report):
    app.command()(command)


def call(*arguments, fails=False):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)
    if fails:
        assert isinstance(result.exception, UserError), result.output
        assert "\n" not in str(result.exception)
        return str(result.exception)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def call_json(*arguments):
    output = call(*arguments, "--json")
    assert output.count("\n") == 1, "one document and nothing else"
    return json.loads(output)


def seen(frame, cloud):
    """All (point, camera) pairs, by the pinhole formula."""
    rows = []
    for number, camera in enumerate(frame.cameras):
        xyz1 = np.c_[cloud.xyz, np.ones(len(cloud))].astype(np.float64)
        xyz = xyz1 @ camera.camera_from_lidar[:3].T
        with np.errstate(invalid="ignore", divide="ignore"):
            uv = (xyz @ camera.intrinsics.T)[:, :2] / xyz[:, 2:]
            inside = (xyz[:, 2] > 1) & (uv > 1).all(1) & (uv < (camera.width - 2, camera.height - 2)).all(1)
        rows += [(point, number, *uv[point], xyz[point, 2]) for point in np.flatnonzero(inside)]
    point, number, u, v, depth = map(np.array, zip(*rows, strict=True))
    return Views(
        point=point.astype(np.int32),
        camera=number.astype(np.uint8),
        uv=np.stack([u, v], axis=1).astype(np.float32),
        depth=depth.astype(np.float32),
        depth_residual=np.zeros(len(point), np.float32),
        visible=np.ones(len(point), bool),
    )


def labelled(frame, root, info, rng, **more):
    """What a perfect labeller gives: the truth of every point that a camera sees."""
    cloud, _ = load_cloud(root, frame)
    views = seen(frame, cloud)
    truth = load_truth(root, frame, TAXONOMY.train_id_table(info.categories), len(cloud))
    known = np.isin(np.arange(len(cloud)), views.point) & (truth != UNLABELLED)
    base = make_record(rng, points=len(cloud), cameras=6, regions=4, views=0, classes=16)
    mask = np.zeros((frame.cameras[0].height, frame.cameras[0].width), bool)
    mask[10:40, 20:60] = True
    return dataclasses.replace(
        base,
        **identity_of(frame),
        views=views,
        view_region=np.zeros(len(views), np.uint16),
        regions=dataclasses.replace(base.regions, rle=(rle.encode(mask),) * 4),
        labels=dataclasses.replace(
            base.labels,
            label=np.where(known, truth, UNLABELLED).astype(np.uint8),
            reason=np.where(known, Reason.LABELLED, Reason.NO_CAMERA).astype(np.uint8),
            region=np.zeros(len(cloud), np.uint16),
        ),
        **more,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of six frames in two shards: one partial, one failed; and its records."""
    folder = tmp_path_factory.mktemp("inspection")
    root = make_dataroot(folder, scenes=2, samples=3, points=400, image_size=(320, 180))
    frames, info = plan_frames("nuscenes", root, VERSION)
    rng = np.random.default_rng(1)
    records = [labelled(frame, root, info, rng) for frame in frames[:5]]
    records[1] = dataclasses.replace(records[1], status=FrameStatus.PARTIAL, notes=(f"CAM_BACK: {EVIL}",))
    failure = Failure(frames[5].frame_id, frames[5].source_id, "load", "FrameError", f"torn {EVIL}", "")
    run = folder / "run"
    create_run(
        run,
        fingerprint=MARK,
        config=RunConfig().model_dump(mode="json"),
        taxonomy=TAXONOMY.to_dict(),
        models=[
            {"name": "sam:demo", "revision": "1", "licence": "MIT", "weights": "a", "note": "a small model"}
        ],
    )
    write_frames(run / "frames.parquet", frames, info)
    write_shard(run, records[:3], [], fingerprint=MARK)
    write_shard(run, records[3:], [failure], fingerprint=MARK)
    return run, root, frames, records


def test_the_summary_is_a_literal_recount(made):
    run, _, _, records = made
    result = summarise_run(open_run(run))
    assert (result["frames"], result["partial"], result["failed"], result["scenes"]) == (5, 1, 1, 2)
    labels = np.concatenate([record.labels.label for record in records])
    counts = Counter(labels[labels != UNLABELLED].tolist())
    assert result["points"] == 5 * 400
    assert result["labelled"] == sum(counts.values())
    for number, name in enumerate(TAXONOMY.names):
        assert result["labels"][name]["points"] == counts[number]
    confidence = np.concatenate([record.labels.confidence for record in records]) / 255
    car = TAXONOMY.names.index("car")
    assert result["labels"]["car"]["mean_confidence"] == pytest.approx(confidence[labels == car].mean())
    assert sum(result["reasons"].values()) == 2000
    assert result["reasons"]["labelled"] == result["labelled"]
    assert result["regions"] == 20
    stored = sum(path.stat().st_size for path in (run / "shards").rglob("*") if path.is_file())
    assert result["bytes"] == stored
    assert result["seconds"]["regions"] == {"mean": 1.5, "total": 7.5}
    assert [failure["stage"] for failure in result["failures"]] == ["load"]
    assert [note["frame_id"] for note in result["notes"]] == [records[1].frame_id]
    assert call_json("inspect", run) == result


def test_inspect_prints_tables(made):
    run, _, frames, _ = made
    text = call("inspect", run)
    assert "5, 1 of them partial" in text
    assert frames[5].frame_id[:8] in text
    assert "\x1b[31m" not in text


def test_every_way_to_name_a_frame(made):
    run = open_run(made[0])
    first = run.frames[0]
    assert find_frame(run, first) == first
    assert find_frame(run, "0") == first
    assert find_frame(run, "4") == run.frames[4]
    assert find_frame(run, first[:8]) == first
    failed = next(iter(run.failures))
    for name in (failed, failed[:8]):
        with pytest.raises(UserError, match="failed in load"):
            find_frame(run, name)
    for name in ("no-such", "", "99999999", "-1", "½"):
        with pytest.raises(UserError, match="has no frame"):
            find_frame(run, name)


def test_an_ambiguous_beginning_is_refused(tmp_path):
    create_run(tmp_path, fingerprint=MARK, config={}, taxonomy=TAXONOMY.to_dict(), models=[])
    rng = np.random.default_rng(0)
    records = [make_record(rng, frame_id=name) for name in ("abc1", "abc2", "abc", "1")]
    write_shard(tmp_path, records, [], fingerprint=MARK)
    run = open_run(tmp_path)
    assert find_frame(run, "abc") == "abc", "an id wins over a beginning"
    assert find_frame(run, "1") == "1", "an id wins over a number"
    assert find_frame(run, "2") == run.frames[2]
    with pytest.raises(UserError, match="3 frames begin with 'ab'"):
        find_frame(run, "ab")


def test_the_nearest_point_has_its_classs_colour_where_it_is_in_the_image(made, tmp_path):
    run, _, frames, records = made
    out = tmp_path / "sub" / "a.png"
    assert call("inspect", run, "--frame", frames[0].frame_id, "--out", out, "--width", 2400).strip() == str(
        out
    )
    picture = np.asarray(Image.open(out))
    gap, head = 8, 2400 // 28
    checked = 0
    for panel in place_cameras(frames[0].cameras, 2400 - 2 * gap, gap)[0]:
        rows = records[0].views.camera_slice(panel.camera)
        point, depth = records[0].views.point[rows], records[0].views.depth[rows]
        label = records[0].labels.label[point]
        if not len(point) or label[np.argmin(depth)] == UNLABELLED:
            continue
        u, v = records[0].views.uv[rows][np.argmin(depth)]
        scale = panel.width / frames[0].cameras[panel.camera].width
        at = head + panel.y + (v + 0.5) * scale - 0.5, gap + panel.x + (u + 0.5) * scale - 0.5
        assert tuple(picture[round(at[0]), round(at[1])]) == TAXONOMY.classes[label[np.argmin(depth)]].color
        checked += 1
    assert checked >= 3


def test_the_pictures_default_place(made):
    run = made[0]
    result = call_json("inspect", run, "--frame", "0")
    labels = open_run(run).frame(open_run(run).frames[0]).labels
    cars = set(labels.instance[labels.label == TAXONOMY.names.index("car")].tolist()) - {0}
    assert result == {
        "frame_id": open_run(run).frames[0],
        "picture": str(run / "report" / f"{open_run(run).frames[0]}.png"),
        "missing": [],
        "instances": {"car": len(cars)},
        "captions": [],
    }
    assert Image.open(result["picture"]).size[0] == 2400


def test_raw_files_that_are_gone_are_left_out(made, tmp_path):
    run, root, frames, _ = made
    copy = tmp_path / "elsewhere"
    shutil.copytree(root, copy)
    (copy / frames[0].cameras[2].image_path).unlink()
    (copy / frames[0].cameras[3].image_path).write_bytes(b"not an image")
    whole = (copy / frames[0].lidar_path).read_bytes()
    (copy / frames[0].lidar_path).write_bytes(whole[:-20])
    arguments = ("inspect", run, "--frame", frames[0].frame_id, "--out", tmp_path / "a.png", "--width", 600)
    missing = call_json(*arguments, "--dataroot", copy)["missing"]
    assert len(missing) == 3
    assert all(path in " ".join(missing) for path in (frames[0].cameras[2].image_path, frames[0].lidar_path))
    assert "399 points, but 400 were labelled" in missing[-1]

    only = tmp_path / "only" / frames[1].lidar_path
    only.parent.mkdir(parents=True)
    shutil.copy(root / frames[1].lidar_path, only)
    missing = call_json(*arguments, "--dataroot", tmp_path / "only")["missing"]
    assert len(missing) == 3, "one line for all images, one for this cloud, one for the truth"
    for line, what in zip(missing, ("CAM_", frames[0].lidar_path, "lidarseg"), strict=True):
        assert what in line
        assert str(tmp_path / "only") in line


def test_a_data_root_that_moved_is_said_once(made, tmp_path):
    run, root, frames, _ = made
    moved = tmp_path / "run"
    shutil.copytree(run, moved)
    _, info = plan_frames("nuscenes", root, VERSION)
    write_frames(moved / "frames.parquet", frames, dataclasses.replace(info, dataroot="/gone/away"))
    missing = call_json("report", moved, "--pictures", 2)["missing"]
    gone = "the data root /gone/away is not a folder that exists; give the right one with --dataroot"
    assert set(missing) == {gone, f"scores: {gone}"}
    assert "--dataroot" in call("evaluate", moved, fails=True)
    assert call_json("evaluate", moved, "--dataroot", root)["miou"] > 0


def test_evaluate_counts_the_failed_frame(made):
    run, _, frames, records = made
    result = call_json("evaluate", run)
    truth = [open_run(run).frame(frame.frame_id).truth for frame in frames[:5]]
    assert (result["frames"], result["frames_without_labels"]) == (6, 1)
    # The labels are the truth wherever there is a label: each class's IoU is its share of labelled points.
    label = np.concatenate([record.labels.label for record in records])
    known = np.concatenate(truth) != UNLABELLED
    assert result["coverage"] == pytest.approx((label[known] != UNLABELLED).sum() / result["points"])
    assert result["miou"] == 1.0
    car = TAXONOMY.names.index("car")
    assert result["iou_all"]["car"] == pytest.approx((label == car).sum() / result["truth_points"]["car"])
    assert f"{result['miou']:.3f}" in call("evaluate", run)


def test_frames_that_are_still_to_do_do_not_count(made, tmp_path):
    """A run that is half done is scored on what is done."""
    run, _, _, records = made
    half = tmp_path / "half"
    create_run(half, fingerprint=MARK, config={}, taxonomy=TAXONOMY.to_dict(), models=[])
    shutil.copy(run / "frames.parquet", half / "frames.parquet")
    write_shard(half, records[:2], [], fingerprint=MARK)
    result = call_json("evaluate", half)
    assert (result["frames"], result["frames_without_labels"]) == (2, 0)


def test_evaluate_without_truth_says_so(made, tmp_path):
    run, root, frames, _ = made
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    _, info = plan_frames("nuscenes", root, VERSION)
    bare = [dataclasses.replace(frame, label_path=None) for frame in frames]
    write_frames(copy / "frames.parquet", bare, info)
    assert "no truth" in call("evaluate", copy, fails=True)
    page = call_json("report", copy, "--pictures", 0)
    assert page["missing"] == []


def test_the_report_is_complete_in_itself(made, tmp_path):
    run, *_ = made
    result = call_json("report", run, "--out", tmp_path / "r", "--pictures", 3)
    assert result == {"report": str(tmp_path / "r" / "index.html"), "missing": []}
    text = (tmp_path / "r" / "index.html").read_text()
    assert not re.search(r"https?:", text)
    assert text.count("<script") == 1
    assert "<script>\nconst canvas" in text
    assert text.count("data:image/webp;base64,") == 3
    evaluation = call_json("evaluate", run)
    for fact in (f"{evaluation['miou']:.3f}", f"{evaluation['iou']['car']:.3f}", "a small model", "2,000"):
        assert fact in text, fact
    assert "&lt;script&gt;alert(1)" in text
    for found in call_json("inspect", run, "--worst", 3):
        assert found["frame_id"] in text
    assert len(text) < 4_500_000


def test_a_run_without_frames(made, tmp_path):
    create_run(tmp_path, fingerprint=MARK, config={}, taxonomy=TAXONOMY.to_dict(), models=[])
    shutil.copy(made[0] / "frames.parquet", tmp_path / "frames.parquet")
    assert call_json("inspect", tmp_path)["points"] == 0
    assert "it has none" in call("inspect", tmp_path, "--frame", "0", fails=True)
    assert call_json("report", tmp_path)["missing"] == []


def test_errors_are_one_line(made, tmp_path):
    run = made[0]
    assert "not a run" in call("inspect", tmp_path, fails=True)
    assert "--out needs --frame" in call("inspect", run, "--out", "x.png", fails=True)
    assert "not a folder" in call("evaluate", run, "--dataroot", tmp_path / "none", fails=True)
    (tmp_path / "file").write_text("")
    blocked = tmp_path / "file" / "a.png"
    assert str(blocked) in call("inspect", run, "--frame", "0", "--out", blocked, fails=True)
    assert "cannot write the report" in call("report", run, "--out", tmp_path / "file", fails=True)
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "frames.parquet").unlink()
    assert "frames.parquet" in call("inspect", copy, "--frame", "0", fails=True)
    assert call_json("inspect", copy)["frames"] == 5, "numbers need the shards alone"


def test_a_frame_that_the_plan_no_longer_names(made, tmp_path):
    run, root, frames, _ = made
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    _, info = plan_frames("nuscenes", root, VERSION)
    write_frames(copy / "frames.parquet", frames[1:], info)
    assert "running the same job again" in call("inspect", copy, "--frame", frames[0].frame_id, fails=True)


def test_a_shard_with_a_broken_mask_is_an_error_of_one_line(made, tmp_path):
    run, _, frames, records = made
    create_run(tmp_path, fingerprint=MARK, config={}, taxonomy=TAXONOMY.to_dict(), models=[])
    shutil.copy(run / "frames.parquet", tmp_path / "frames.parquet")
    broken = dataclasses.replace(records[0].regions, rle=(b"\x01\x02",) * 4)
    write_shard(tmp_path, [dataclasses.replace(records[0], regions=broken)], [], fingerprint=MARK)
    assert "cannot be drawn" in call("inspect", tmp_path, "--frame", frames[0].frame_id, fails=True)


@pytest.mark.parametrize("command", ["inspect", "evaluate", "report"])
def test_help_has_an_example(command):
    assert f"labelgen {command} runs/" in " ".join(call(command, "--help").split())
