"""`labelgen train` from the shell: trainings, scores, predictions as runs that other commands take."""

import json
from contextlib import contextmanager

import numpy as np
import pytest

import labelgen
from labelgen.core.errors import UserError
from labelgen.core.records import NO_CAMERA, NO_REGION
from labelgen.runs import open_run
from tests.helpers.cli import Shell
from tests.helpers.training_runs import make_training_run

SMALL = [
    "--set", "backbone=waffleiron-3-12",
    "--set", "backbone_settings={cell: 1.0, low: [-16, -16, -4], high: [16, 16, 8], neighbours: 6}",
    "--set", "runtime={workers: 0, threads: 1, device: cpu, log_every: 1}",
    "--set", "optimizer={batch_size: 2, warmup: 0, learning_rate: 0.01, ema: 0}",
]  # fmt: skip


@pytest.fixture
def shell(monkeypatch, capsys):
    return Shell(monkeypatch, capsys)


def test_distillation_from_end_to_end(shell, tmp_path):
    run, out = make_training_run(tmp_path, ("a", "b"), 2), tmp_path / "out"
    done = shell(
        "train", "distill", "scalr", run, "--output", out, "--split", "b", "--rounds", 2,
        "--set", "optimizer.epochs=20", *SMALL, "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.err.count("labelling: 4/4,") == 2  # a bar each: what is left is told of the labelling alone
    training = done.json["training"]
    assert training["start"] == str(out / "pretrain")
    assert training["checkpoint"] == str(out / "train" / "round-2")
    network, labels = (training["scores"][name]["miou_all"] for name in ("network", "labels"))
    assert network > labels
    assert training["scores"]["labels"]["coverage"] < 0.9  # of the run, not of the network's own labels
    assert done.json["pretraining"]["method"] == "scalr"
    page = (out / "index.html").read_text()
    assert "held-out frames" in page
    assert "polyline" in page

    predicted = open_run(done.json["predicted"]["run"])
    assert predicted.parent is not None
    for frame_id in open_run(run).frames:
        frame = predicted.frame(frame_id)
        assert set(np.unique(frame.labels.label)) <= {0, 1, 2}  # every point, seen or not
        assert (frame.labels.region == NO_REGION).all()
        assert (frame.labels.camera == NO_CAMERA).all()
        assert np.array_equal(frame.labels.views, open_run(run).frame(frame_id).labels.views)
        assert frame.num_regions == 6  # of the run below
    folder = done.json["predicted"]["run"]
    scores = shell("evaluate", folder, "--json").json
    assert scores["coverage"] == 1.0
    assert scores["protocols"]["devkit"]["miou"] == scores["miou"]
    labelled = shell("inspect", folder, "--json").json["labelled"]
    assert labelled == scores["points"] + 4  # the truth of one point in each frame is of no class
    assert shell("verify", folder, "--json").json["ok"]
    smooth = shell("refine", folder, "--afi", "--output", tmp_path / "smooth", "--json")
    assert smooth.code == 0, smooth.err
    assert shell("evaluate", tmp_path / "smooth", "--json").json["coverage"] == 1.0
    done = shell("export", folder, "--format", "openscene", "--out", tmp_path / "files")
    assert done.code == 0, done.err
    assert len([path for path in (tmp_path / "files").rglob("*") if path.is_file()]) >= 4


def test_pretrain_probe_finetune_predict(shell, tmp_path):
    run = make_training_run(tmp_path, ("a", "b"), 2)
    one = shell("train", "pretrain", "slidr", run, "--split", "b", "--set", "optimizer.epochs=2", *SMALL)
    assert one.code == 0, one.err
    folder = tmp_path / "run-slidr"
    few = ["--split", "b", "--set", "optimizer.epochs=1", "--json", *SMALL[4:]]
    probe = shell("train", "probe", run, "--from", folder, *few)  # the checkpoint says which network it is
    assert probe.code == 0, probe.err
    assert probe.json["backbone"] == "waffleiron-3-12"
    assert probe.json["fraction"] == 100
    few += ["--output", tmp_path / "f"]
    tuned = shell("train", "finetune", run, "--fraction", 1, "--from", folder, *few)
    assert tuned.code == 0, tuned.err
    assert tuned.json["frames"] == 1
    stored = json.loads((tmp_path / "f" / "results.json").read_text())
    assert stored["scores"] == tuned.json["scores"]
    done = shell("train", "predict", run, tmp_path / "f", "--output", tmp_path / "labels", "--json")
    assert done.json["frames"] == 4
    again = shell("train", "predict", run, tmp_path / "f", "--output", tmp_path / "labels", "--json")
    assert again.json["frames"] == 0  # they were there
    other = shell("train", "predict", run, tmp_path / "f", "--afi", "--output", tmp_path / "labels")
    assert other.code == 2  # of other settings
    smooth = tmp_path / "smooth"
    done = shell("train", "predict", run, tmp_path / "f", "--afi", "--output", smooth, "--json")
    assert done.json["frames"] == 4, done.err
    assert open_run(smooth).info.config["derived"]["afi"]["weight"] == 0.3
    plain, flat = (open_run(tmp_path / name).frame("b-0").labels for name in ("labels", "smooth"))
    assert (plain.confidence != flat.confidence).any()
    assert np.array_equal(plain.label == 255, flat.label == 255)
    none = shell("train", "predict", run, folder, "--output", tmp_path / "no")
    assert none.code == 2
    assert "train a head first" in none.err
    assert not (tmp_path / "no").exists()


def test_a_frame_whose_cloud_is_gone_fails_alone_in_predictions_and_stops_a_training(shell, tmp_path):
    run = make_training_run(tmp_path, ("a", "b"), 2)
    done = shell("train", "annotation-free", run, "--set", "optimizer.max_steps=1", *SMALL)
    assert done.code == 0, done.err
    lean = make_training_run(tmp_path / "lean", ("a", "b"), 2, points=False)
    for frame_id in ("a-0", "a-1", "b-0"):
        record = open_run(run).frame(frame_id)
        raw = np.column_stack([record.xyz, record.intensity, np.zeros(record.num_points)])
        (tmp_path / "lean" / "data" / f"{frame_id}.pcd.bin").write_bytes(raw.astype("<f4").tobytes())
    output = tmp_path / "labels"
    done = shell("train", "predict", lean, tmp_path / "run-annotation-free", "--output", output, "--json")
    assert done.code == 1
    assert "25.0% of the frames failed" in done.err
    assert (done.json["frames"], done.json["failed"]) == (3, 1)
    assert "b-0" not in open_run(output).failures
    assert "no such file" in open_run(output).failures["b-1"].message
    done = shell("train", "annotation-free", lean, "--split", "a", *SMALL)
    assert done.code == 2
    assert done.err.startswith("error: frame b-1: b-1.pcd.bin: no such file")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["pretrain", "resnet", "RUN"], "unknown method"),
        (["pretrain", "vlm2scene", "RUN", "--split", "b"], "caption_feature"),
        (["probe", "RUN", "--split", "b"], "--from"),
        (["finetune", "RUN", "--fraction", "3"], "--fraction"),
        (["annotation-free", "RUN", "--from", "nowhere"], "nowhere"),
        (["annotation-free", "RUN", "--size", "huge"], "unknown size"),
        (["annotation-free", "RUN", "--split", "z"], "neither a split"),
        (["predict", "RUN", "nowhere"], "nowhere"),
        (["annotation-free", "no-run"], "is not a run"),
    ],
)
def test_what_is_wrong_is_one_line(shell, tmp_path, arguments, word):
    run = make_training_run(tmp_path)
    output = [] if arguments[0] == "predict" else ["--output", tmp_path / "out"]
    result = shell("train", *(run if part == "RUN" else part for part in arguments), *output)
    assert result.code == 2
    assert word in result.err
    assert "Traceback" not in result.err


@pytest.mark.slow
def test_two_processes_on_ray_take_each_frame_once_and_learn_the_same_network(shell, tmp_path):
    run = make_training_run(tmp_path, ("a", "b"), 4)
    done = shell(
        "train", "annotation-free", run, "--split", "b", "--output", tmp_path / "out", "--ray-workers", 2,
        "--set", "optimizer.epochs=10", *SMALL, "--set", "optimizer.batch_size=1", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["steps"] == 20  # 4 frames, one to each of two processes
    assert done.json["scores"]["network"]["miou_all"] > done.json["scores"]["labels"]["miou_all"]


def test_the_verb_is_the_command(shell, tmp_path):
    """From Python: a training that goes on where it was, told of step by step, and the same results."""
    run = make_training_run(tmp_path, ("a", "b"), 2)
    told = []

    @contextmanager
    def show(name, steps):
        yield lambda step, line: told.append((name, step, steps))

    small = [value for flag, value in zip(SMALL[::2], SMALL[1::2], strict=True) if flag == "--set"]
    done = labelgen.train(
        labelgen.open_run(run), "scalr", settings=[*small, "optimizer.epochs=2"], split="b", on_training=show
    )
    assert done.checkpoint == str(tmp_path / "run-scalr")
    assert told == [("pre-training scalr", step, 2) for step in (1, 2)]
    assert done.scores["frames"] == 2
    again = shell(
        "train", "pretrain", "scalr", run, "--split", "b", *SMALL, "--set", "optimizer.epochs=2", "--json"
    )
    assert again.json | {"seconds": 0} == done.results | {"seconds": 0}
    for wrong in ({"method": "slidr", "rounds": 2}, {"method": "probe", "classes": "all"}):
        with pytest.raises(UserError, match=wrong["method"]):
            labelgen.train(run, **wrong)
    with pytest.raises(UserError, match="method probe learns from labels"):
        labelgen.distill_run(run, "probe")
