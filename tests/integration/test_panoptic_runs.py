"""Runs with a network's segments, from truth through every command to both devkits' files and back."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from labelgen.core.records import UNLABELLED, Reason
from labelgen.core.taxonomy import load_taxonomy
from labelgen.datasets.semantickitti import CATEGORIES
from labelgen.demo.world import build
from labelgen.distill.batch import NONE
from labelgen.runs import open_run
from tests.helpers.cli import Shell
from tests.helpers.panoptic_runs import labels_of, make_bare_run, make_predicted_run
from tests.unit.datasets.test_semantickitti import LEARNING_MAP, TR, K

SPLIT = "nuscenes-b12n4"
NOVEL = {"bus", "pedestrian", "motorcycle", "vegetation"}
THINGS = {
    "barrier", "bicycle", "bus", "car", "construction_vehicle", "motorcycle", "pedestrian", "traffic_cone",
    "trailer", "truck",
}  # fmt: skip


@pytest.fixture
def shell(monkeypatch, capsys):
    return Shell(monkeypatch, capsys)


@pytest.fixture(scope="module")
def city(tmp_path_factory):
    folder = tmp_path_factory.mktemp("city")
    build(folder / "root", scenes=2, frames=1, image_size=(160, 90))
    bare = make_bare_run(folder / "bare", "nuscenes", folder / "root", "nuscenes16")
    return folder / "root", bare, make_predicted_run(bare, folder / "predicted")


def test_truth_is_perfect_through_all_commands(city, shell, tmp_path):
    run = city[2]
    found = shell("evaluate", run, "--classes", SPLIT, "--json")
    assert found.code == 0, found.err
    assert found.json["split"]["name"] == SPLIT
    assert set(found.json["split"]["novel"]) == NOVEL
    for score in found.json["panoptic"].values():
        there = {name for name, one in score["classes"].items() if one["tp"]}
        assert len(there) > 8
        assert there & NOVEL & THINGS
        assert there & NOVEL - THINGS
        for name, one in score["classes"].items():
            expected = float(name in there)
            assert [one[key] for key in ("pq", "sq", "rq")] == [expected] * 3
            assert (one["fp"], one["fn"]) == (0, 0)
        for group, means in score["groups"].items():
            assert means["pq_present"] == (1.0 if means["present"] else None), group
            assert means["pq"] == pytest.approx(means["present"] / means["classes"])
        sizes = {group: means["classes"] for group, means in score["groups"].items()}
        assert sizes == {
            "all": 16, "things": 10, "stuff": 6,
            "base things": 7, "base stuff": 5, "novel things": 3, "novel stuff": 1,
        }  # fmt: skip
    table = " ".join(shell("evaluate", run, "--classes", SPLIT).out.split())
    assert "split nuscenes-b12n4: novel classes bus, motorcycle, pedestrian, vegetation" in table
    assert "novel stuff 1 of 1 1.000 1.000 1.000 1.000 1.000" in table
    plain = shell("evaluate", run, "--json").json
    assert set(plain["panoptic"]["devkit"]["groups"]) == {"all", "things", "stuff"}
    assert "split" not in plain

    frame_id = open_run(run).frames[0]
    drawn = shell("inspect", run, "--frame", frame_id, "--out", tmp_path / "a.png", "--width", 600, "--json")
    labels = open_run(run).frame(frame_id).labels
    assert sum(drawn.json["instances"].values()) == len(np.unique(labels.instance[labels.instance > 0])) > 3
    told = shell("inspect", run, "--frame", frame_id, "--out", tmp_path / "b.png", "--width", 600)
    assert (
        f"instances: {', '.join(f'{n} {name}' for name, n in drawn.json['instances'].items())}"
        in " ".join(told.err.split())
    )
    summary = shell("inspect", run, "--json").json
    assert summary["labelled"] == sum(int((one.label != UNLABELLED).sum()) for one in labels_of(run).values())
    done = shell("report", run, "--out", tmp_path / "report", "--pictures", 1, "--classes", SPLIT)
    assert done.code == 0, done.err
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Panoptic quality" in page
    assert "novel things" in page
    assert "split nuscenes-b12n4" in page
    assert shell("verify", run, "--json").json["ok"]


def test_what_the_devkit_scores_is_what_evaluate_says(city, shell, tmp_path):
    from nuscenes import NuScenes
    from nuscenes.eval.panoptic.evaluate import NuScenesPanopticEval

    root, bare, _ = city
    run = make_predicted_run(bare, tmp_path / "run", worse)
    done = shell(
        "export", run, "--format", "nuscenes-panoptic", "--split", "mini_val", "--out", tmp_path / "out"
    )
    assert done.code == 0, done.err
    devkit = NuScenes("v1.0-mini", str(root), verbose=False)
    NuScenesPanopticEval(
        devkit, str(tmp_path / "out"), "mini_val", "segmentation", 15, str(tmp_path)
    ).evaluate()
    theirs = json.loads((tmp_path / "segmentation-result.json").read_text())["segmentation"]
    ours = shell("evaluate", run, "--classes", SPLIT, "--json").json["panoptic"]["devkit"]
    assert 0.1 < ours["groups"]["all"]["pq_present"] < 0.9
    for key, name in (("pq", "PQ"), ("sq", "SQ"), ("rq", "RQ"), ("miou", "mIoU"), ("pq_dagger", "PQ_dagger")):
        assert ours[key] == pytest.approx(theirs["all"][name], abs=1e-9)
    for name, one in ours["classes"].items():
        for key in ("pq", "sq", "rq"):
            assert one[key] == pytest.approx(theirs[name][key.upper()], abs=1e-9)
        assert one["iou"] == pytest.approx(theirs[name]["IoU"], abs=1e-9)
    for group, chosen in {
        "novel things": NOVEL & THINGS,
        "novel stuff": NOVEL - THINGS,
        "base things": THINGS - NOVEL,
        "base stuff": {name for name in theirs if name not in THINGS | NOVEL | {"all", "ignore"}},
    }.items():
        assert ours["groups"][group]["pq"] == pytest.approx(
            np.mean([theirs[n]["PQ"] for n in chosen]), abs=1e-9
        )


def worse(found):
    """Segments with pieces that got another class, no class, or another object's number."""
    rng = torch.Generator().manual_seed(5)
    n = len(found.label)
    label, instance = found.label.clone(), found.instance.clone()
    piece = torch.arange(n) // 40
    draw = torch.rand(int(piece.max()) + 1, generator=rng)[piece]
    label[draw < 0.1] = 3
    instance[draw < 0.1] = 400
    label[(draw > 0.1) & (draw < 0.2)] = UNLABELLED
    instance[(draw > 0.1) & (draw < 0.2)] = 0
    swap = (draw > 0.9) & (instance > 0)
    instance[swap] = 401
    return replace(found, label=label, instance=instance)


def test_points_of_no_segment_and_of_none_at_all():
    from labelgen.distill.panoptic import Segments
    from labelgen.distill.predict import segments_as_labels

    found = Segments(
        torch.tensor([1, 255, 4]),
        torch.tensor([7, 0, 0]),
        torch.tensor([0.5, 0, 1]),
        torch.tensor([0.25, 0, 1]),
    )
    raw = np.array([2, 0, 0, NONE, 1])
    labels = segments_as_labels(found, raw, np.arange(5).astype(np.uint8))
    assert labels.label.tolist() == [4, 1, 1, 255, 255]
    assert labels.instance.tolist() == [0, 7, 7, 0, 0]
    assert labels.confidence.tolist() == [255, 128, 128, 0, 0]
    assert labels.reason.tolist() == [0, 0, 0, Reason.NO_RETURN, Reason.NO_REGION]
    assert labels.views.tolist() == [0, 1, 2, 3, 4]
    none = segments_as_labels(None, np.full(3, NONE), np.zeros(3, np.uint8))
    assert none.label.tolist() == [255] * 3


# --- SemanticKITTI ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kitti(tmp_path_factory):
    """Two scans of sequence 08: pieces with raw ids and instances, merged classes and void among them."""
    folder = tmp_path_factory.mktemp("kitti")
    rng = np.random.default_rng(1)
    sequence = folder / "root" / "sequences" / "08"
    for name in ("velodyne", "image_2", "labels"):
        (sequence / name).mkdir(parents=True)
    P2 = np.hstack([K, (K @ [0.06, 0, 0])[:, None]])
    lines = [f"P{k}: {' '.join(map(str, P2.ravel()))}" for k in (0, 2)]
    (sequence / "calib.txt").write_text(
        "\n".join([*lines, f"Tr: {' '.join(map(str, TR[:3].ravel()))}"]) + "\n"
    )
    (sequence / "poses.txt").write_text("\n".join([" ".join(map(str, np.eye(4)[:3].ravel()))] * 2) + "\n")
    (sequence / "times.txt").write_text("0.0\n0.1\n")
    ids = np.array(list(CATEGORIES.values()))
    for number in range(2):
        sizes = rng.integers(20, 150, 90)
        raw = rng.choice(ids, 90)
        thing = np.array([0 < LEARNING_MAP[int(value)] <= 8 for value in raw])
        instance = np.where(thing, rng.integers(0, 4, 90), 0)
        label = np.repeat(instance << 16 | raw, sizes).astype(np.uint32)
        rng.uniform(-40, 40, (len(label), 4)).astype(np.float32).tofile(
            sequence / f"velodyne/{number:06}.bin"
        )
        Image.new("RGB", (120, 40)).save(sequence / f"image_2/{number:06}.png")
        label.tofile(sequence / f"labels/{number:06}.label")
    bare = make_bare_run(folder / "bare", "semantickitti", folder / "root", "semantickitti19")
    return folder / "root", bare


def semantic_kitti_api(truth, prediction, least=50):
    """PQ, SQ, RQ, IoU of classes 1..19 by the rules of semantic-kitti-api, from both folders' label files.

    Class 0 of the truth is taken out; within a class, points with one number in the upper 16 bits are a
    segment, 0 included; IoU above 1/2 matches; what is not matched counts from `least` points on.
    """
    kinds = range(1, 20)
    tp, fp, fn, overlap = (dict.fromkeys(kinds, 0) for _ in range(4))
    both, ours, theirs = (dict.fromkeys(kinds, 0) for _ in range(3))
    for path in sorted(truth.glob("*.label")):
        both_files = [np.fromfile(file, np.uint32).tolist() for file in (path, prediction / path.name)]
        true, mine = {}, {}
        for row, (a, b) in enumerate(zip(*both_files, strict=True)):
            kind, answer = LEARNING_MAP[a & 0xFFFF], LEARNING_MAP[b & 0xFFFF]
            if kind == 0:
                continue
            true.setdefault((kind, a >> 16), set()).add(row)
            theirs[kind] += 1
            if answer:
                mine.setdefault((answer, b >> 16), set()).add(row)
                ours[answer] += 1
                both[kind] += kind == answer
        matched = set()
        for (kind, number), rows in true.items():
            for (answer, other), found in mine.items():
                share = len(rows & found) / len(rows | found)
                if kind == answer and share > 0.5:
                    tp[kind] += 1
                    overlap[kind] += share
                    matched |= {("true", kind, number), ("mine", answer, other)}
        for key, rows in true.items():
            fn[key[0]] += len(rows) >= least and ("true", *key) not in matched
        for key, rows in mine.items():
            fp[key[0]] += len(rows) >= least and ("mine", *key) not in matched
    sq = {c: overlap[c] / tp[c] if tp[c] else 0.0 for c in kinds}
    rq = {c: tp[c] / max(tp[c] + fp[c] / 2 + fn[c] / 2, 1e-15) for c in kinds}
    union = {c: theirs[c] + ours[c] - both[c] for c in kinds}
    iou = {c: both[c] / union[c] if union[c] else 0.0 for c in kinds}
    return {c: {"pq": sq[c] * rq[c], "sq": sq[c], "rq": rq[c], "iou": iou[c]} for c in kinds}


def test_scores_of_semantickitti_are_those_of_its_rules_on_the_exported_files(kitti, shell, tmp_path):
    root, bare = kitti
    names = load_taxonomy("semantickitti19").names
    novel = {"bicycle", "truck", "sidewalk", "building", "trunk"}
    for name, change in (("same", None), ("worse", worse)):
        run = make_predicted_run(bare, tmp_path / name, change)
        out = tmp_path / f"{name}-files"
        assert shell("export", run, "--format", "semantickitti", "--out", out).code == 0
        files = out / "sequences/08/predictions"
        expected = semantic_kitti_api(root / "sequences/08/labels", files)
        told = shell("evaluate", run, "--classes", "semantickitti-b14n5", "--json")
        assert told.code == 0, told.err
        found = told.json["panoptic"]["semantickitti"]
        for number, class_name in enumerate(names, 1):
            for key, value in expected[number].items():
                assert found["classes"][class_name][key] == pytest.approx(value, abs=1e-9), (class_name, key)
        for group, chosen in {
            "all": range(1, 20),
            "things": range(1, 9),
            "novel things": [k for k in range(1, 9) if names[k - 1] in novel],
            "novel stuff": [k for k in range(9, 20) if names[k - 1] in novel],
            "base things": [k for k in range(1, 9) if names[k - 1] not in novel],
            "base stuff": [k for k in range(9, 20) if names[k - 1] not in novel],
        }.items():
            means = found["groups"][group]
            for key, of in (("pq", "pq"), ("sq", "sq"), ("rq", "rq"), ("miou", "iou")):
                assert means[key] == pytest.approx(np.mean([expected[k][of] for k in chosen]), abs=1e-9)
            dagger = np.mean([expected[k]["pq" if k <= 8 else "iou"] for k in chosen])
            assert means["pq_dagger"] == pytest.approx(dagger, abs=1e-9)
        if change is None:
            assert found["groups"]["all"]["pq_present"] == 1.0
            assert found["groups"]["all"]["present"] == 19
        else:
            assert 0.1 < found["pq"] < 0.9


@pytest.mark.parametrize(
    ("split", "word"),
    [
        ("nuscenes-b12n4", "class 'barrier' is not a class of"),
        ("no-such", "neither a file"),
        ("mine", "both base and novel"),
    ],
)
def test_a_split_that_does_not_fit_is_one_line(kitti, shell, tmp_path, split, word):
    _, bare = kitti
    if split == "mine":
        split = tmp_path / "mine.yaml"
        split.write_text(yaml.safe_dump({"novel": ["car"], "base": load_taxonomy("semantickitti19").names}))
    for command in ("evaluate", "report"):
        done = shell(command, bare, "--classes", split)
        assert done.code == 2
        assert word in done.err
        assert "Traceback" not in done.err


def test_a_run_seen_in_rerun_has_its_instances(city, tmp_path):
    rerun = pytest.importorskip("rerun")
    from labelgen.inspection.viewer import view_run

    opened = open_run(city[2])
    assert view_run(opened, opened.frames[:1], tmp_path / "run.rrd") == []
    recording = rerun.dataframe.load_recording(tmp_path / "run.rrd")
    names = set(recording.view(index="frame", contents="world/**").select().read_all().column_names)
    assert any("ego_vehicle/instances:" in name for name in names)
