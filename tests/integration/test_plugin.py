"""The example package labels a data set of its own with backends of its own, and exports the labels."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

import labelgen
from labelgen import testing
from labelgen.core.errors import UserError
from labelgen.core.taxonomy import load_taxonomy
from labelgen.datasets import plan_frames
from labelgen.distill.config import load_train_config
from labelgen.distill.needs import info_of
from labelgen.distill.predict import load_predictor
from labelgen.distill.state import read_model, save_model
from labelgen.engine.relabel import plan_relabel
from tests.helpers.cli import Shell
from tests.helpers.nuscenes_root import make_dataroot
from tests.helpers.plugins import install_example, installed
from tests.helpers.training_runs import make_training_run


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    install_example(folder)
    with installed(folder):
        yield folder


@contextmanager
def without(example: Path) -> Iterator[None]:
    """As on a machine where the example is not installed."""
    path = list(sys.path)
    sys.path[:] = [entry for entry in path if entry != str(example)]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path
        importlib.invalidate_caches()


@pytest.fixture(scope="module")
def dataroot(tmp_path_factory) -> Path:
    """The files of a nuScenes data root, laid out as the example's data set has them."""
    folder = tmp_path_factory.mktemp("rig")
    source = make_dataroot(folder, scenes=1, samples=2, points=400)
    frames, _ = plan_frames("nuscenes", source)
    scene = folder / "data" / "street"
    scene.mkdir(parents=True)
    poses = {}
    for frame in frames:
        name = f"{frame.index:06d}"
        cloud = np.fromfile(source / frame.lidar_path, np.float32).reshape(-1, 5)
        cloud[:, :4].tofile(scene / f"{name}.bin")
        for camera in frame.cameras:
            shutil.copy(source / camera.image_path, scene / f"{name}.{camera.name}.jpg")
        pose = frame.global_from_lidar.tolist()
        poses[name] = {"timestamp_us": frame.timestamp_us, "global_from_lidar": pose}
    (scene / "poses.json").write_text(json.dumps(poses))
    cameras = {
        camera.name: {
            "intrinsics": camera.intrinsics.tolist(),
            "camera_from_lidar": camera.camera_from_lidar.tolist(),
        }
        for camera in frames[0].cameras
    }
    (scene.parent / "rig.json").write_text(json.dumps({"cameras": cameras}))
    return scene.parent


def test_the_parts_hold_their_contracts(example, dataroot):
    frames, info = testing.check_dataset("rig", dataroot)
    assert [frame.frame_id for frame in frames] == ["street_000000", "street_000001"]
    assert info.taxonomy == "nuscenes16"
    assert len(testing.check_regions({"backend": "patches"})) == 4
    testing.check_semantics({"backend": "colour"})
    with pytest.raises(UserError, match="no scene nowhere; there are street"):
        plan_frames("rig", dataroot, split="nowhere")


def test_a_run_of_nothing_but_plug_ins(example, dataroot, tmp_path, monkeypatch, capsys):
    shell, run = Shell(monkeypatch, capsys), tmp_path / "run"
    sets = ["--set", "regions.backend=patches", "--set", "semantics.backend=colour"]
    asked = ["--dataset", "rig", "--dataroot", dataroot, "--output", run, *sets]
    done = shell("run", *asked, "--runner", "sequential", "--no-report", "--set", "fusion.enabled=false")
    assert done.code == 0, done.err
    opened = labelgen.open_run(run)
    assert len(opened.frames) == 2
    assert opened.settings.regions.backend == "patches"
    models = [(model["name"], model["package"]) for model in opened.info.models]
    assert models == [("patches", "labelgen-example 0.1.0"), ("colour", "labelgen-example 0.1.0")]

    # Known truth: a label is the class of the palette's colour at the point's pixels.
    names = opened.taxonomy.names
    frame = opened.frame(opened.frames[0])
    labels = frame.labels.label
    assert {names[label] for label in np.unique(labels[labels != 255])} >= {"driveable_surface", "manmade"}
    images = {n: frame.image(camera.name) for n, camera in enumerate(opened.plan[frame.frame_id].cameras)}
    views = frame.views
    checked = 0
    for point, camera, uv in zip(views.point, views.camera, views.uv, strict=True):
        if labels[point] == names.index("driveable_surface") and frame.labels.camera[point] == camera:
            x, y = np.round(uv).astype(int)
            checked += 1
            assert np.abs(images[camera][y, x].astype(int) - (105, 105, 110)).max() < 80
    assert checked

    exported = shell("export", run, "--format", "npz", "--out", tmp_path / "npz", "--json")
    assert exported.json["files"] == 3
    with np.load(tmp_path / "npz" / f"{opened.frames[0]}.npz") as stored:
        assert np.array_equal(stored["label"], labels)
    assert json.loads((tmp_path / "npz" / "classes.json").read_text()) == list(names)

    again = shell("run", *asked, "--runner", "sequential", "--no-report", "--set", "fusion.enabled=false")
    assert again.code == 0
    assert shell("plan", *asked, "--json").json["todo"] == 0
    other = shell("plan", *asked, "--set", "regions.steps=5", "--json").json
    assert other["fingerprint"] != opened.info.fingerprint
    assert shell("verify", run).code == 0
    assert shell("inspect", run).code == 0
    with pytest.raises(UserError, match="holds no region features of a text encoder"):
        plan_relabel(opened, load_taxonomy("semantickitti19"))
    with without(example):
        assert labelgen.open_run(run).frame(opened.frames[0]).labels.label.size  # arrays need no backend
        with pytest.raises(UserError) as caught:
            _ = labelgen.open_run(run).settings
    assert str(caught.value) == (
        f"{run}/run.json: config.regions.backend: region proposer 'patches' is of labelgen-example 0.1.0, "
        "which is not installed here; install it with pip"
    )


NETWORK = [
    "backbone=mlp",
    "backbone_settings={width: 16}",
    "runtime={workers: 0, threads: 1, device: cpu}",
    "optimizer={batch_size: 2, max_steps: 2}",
]


def test_a_network_is_trained_and_labels(example, tmp_path, monkeypatch, capsys):
    shell, run, net = Shell(monkeypatch, capsys), make_training_run(tmp_path), tmp_path / "net"
    sets = [word for text in NETWORK for word in ("--set", text)]
    done = shell("train", "pretrain", "plain", run, "--output", net, "--split", "b", *sets, "--json")
    assert done.code == 0, done.err
    assert (done.json["steps"], done.json["backbone"], done.json["scores"]["frames"]) == (2, "mlp", 2)
    labelled = tmp_path / "labelled"
    done = shell("train", "predict", run, net, "--output", labelled, "--device", "cpu", "--threads", "1")
    assert done.code == 0, done.err
    source, opened = labelgen.open_run(run), labelgen.open_run(labelled)
    assert opened.frames == source.frames

    # Known truth: all layers and the head by hand, then the text with the largest cosine.
    weights = {name: value.double().numpy() for name, value in read_model(net)[0].items()}
    frame = opened.frames[0]
    (batch,) = load_predictor(net, info_of(source), torch.device("cpu")).data(source, [frame])
    inputs, answering = batch["points/inputs"].astype(np.float64), batch["raw/point"]
    features = inputs
    for layer in range(3):
        linear, norm = f"backbone.steps.{layer}.0", f"backbone.steps.{layer}.1"
        out = features @ weights[f"{linear}.weight"].T + weights[f"{linear}.bias"]
        out = (out - out.mean(1, keepdims=True)) / np.sqrt(out.var(1, keepdims=True) + 1e-5)
        features = np.maximum(out * weights[f"{norm}.weight"] + weights[f"{norm}.bias"], 0)
    head = features @ weights["method.head.weight"].T + weights["method.head.bias"]
    cosine = head / np.linalg.norm(head, axis=1, keepdims=True) @ info_of(source).text_embeddings.T
    ranked = np.sort(cosine, axis=1)
    sure = ((ranked[:, -1] - ranked[:, -2]) > 1e-4)[answering]
    assert sure.sum() > 0.9 * len(sure)
    assert np.array_equal(opened.frame(frame).labels.label[sure], cosine.argmax(axis=1)[answering][sure])

    missing = "is of labelgen-example 0.1.0, which is not installed here; install it with pip"
    asked = ("train", "predict", run, net, "--output", tmp_path / "again", "--device", "cpu")
    with without(example):
        done = shell(*asked)
        assert (done.code, done.err) == (2, f"error: {net}/model.safetensors: backbone 'mlp' {missing}\n")
    config = load_train_config("plain", None, None, ["backbone=waffleiron-1-4"])
    ours = tmp_path / "ours" / "model.safetensors"
    ours.parent.mkdir()
    save_model(ours, {"backbone.x": torch.zeros(1)}, config, source.taxonomy.names)
    with without(example):
        assert read_model(ours)[1] == config  # its backbone can be started from
        with pytest.raises(UserError, match=f"^{ours}: method 'plain' {missing}$"):
            load_predictor(ours, info_of(source), torch.device("cpu"))


def test_settings_of_a_training_are_checked_like_ours(example):
    config = load_train_config("plain", "demo", None, NETWORK)
    assert config.optimizer.learning_rate == 0.002
    assert config.backbone_settings == {"width": 16}  # the size's are of the other network
    assert (
        config.digest() != load_train_config("plain", "demo", None, [*NETWORK, "settings.power=3"]).digest()
    )
    for override, words in (
        ("settings.powr=1", "settings.powr: there is no such setting; did you mean power?"),
        ("settings.power=9", "settings.power: a number from 1 to 4 is expected, not 9"),
        ("backbone_settings.layers=0", "backbone_settings.layers: a whole number from 1 to 64 is expected"),
        ("backbone=mpl", "unknown backbone 'mpl'; did you mean mlp?"),
    ):
        with pytest.raises(UserError, match=re.escape(words)):
            load_train_config("plain", None, None, [*NETWORK, override])
    with pytest.raises(UserError, match="unknown method 'plan'; did you mean plain"):
        load_train_config("plan")


def test_names_of_trainings_need_no_torch(example):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from labelgen.distill.config import load_train_config\n"
        "from labelgen.distill.registry import METHODS, NETWORKS\n"
        "assert 'plain' in METHODS.names() and 'mlp' in NETWORKS.names()\n"
        "assert not [name for name in sys.modules if name.startswith('labelgen_example')]\n"
        "load_train_config('plain', None, None, ['backbone=mlp'])\n"
        "assert 'labelgen_example' in sys.modules and 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(example)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_commands_list_what_is_found(example, dataroot, monkeypatch, capsys):
    shell = Shell(monkeypatch, capsys)
    assert "labelgen-example 0.1.0" in shell("datasets", "list").out
    checked = shell("datasets", "check", "--dataset", "rig", "--dataroot", dataroot, "--json")
    assert checked.json["problems"] == []
    sets = ["--set", "regions.backend=patches", "--set", "semantics.backend=colour"]
    looked = shell("doctor", "--dataset", "rig", "--dataroot", dataroot, *sets, "--json")
    found = {one["detail"] for one in looked.json["findings"] if one["check"] == "plug-ins"}
    assert found == {
        f"{name} of labelgen-example 0.1.0 in labelgen.{group}"
        for name, group in (
            ("rig", "datasets"),
            ("patches", "regions"),
            ("colour", "semantics"),
            ("npz", "exports"),
            ("plain", "methods"),
            ("mlp", "networks"),
        )
    }
    (versions,) = (one for one in looked.json["findings"] if one["check"] == "versions")
    assert "labelgen-example 0.1.0" in versions["detail"]
