"""A run with features, captions and dense maps by tiny models: other classes from what it holds."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace

import numpy as np
import pytest
import yaml

from labelgen.config import RunConfig
from labelgen.core.taxonomy import load_taxonomy
from labelgen.data import LabelDataset, collate
from labelgen.engine.recipe import label_frames, split
from labelgen.engine.reclass import Relabel
from labelgen.engine.relabel import plan_relabel
from labelgen.engine.task import FrameTask
from labelgen.exports import import_labels
from labelgen.geometry import rle
from labelgen.runs import open_run
from labelgen.shards import read_plan
from tests.helpers.blip2_folder import write_blip2_folder
from tests.helpers.cli import Shell
from tests.helpers.clip_folder import write_clip_folder
from tests.helpers.labelled_runs import Tiles, label
from tests.helpers.nuscenes_root import make_dataroot

POINTS, SIZE = 400, (96, 54)
LABELS = ("label", "confidence", "margin", "instance", "region", "camera", "views", "reason")


@dataclass
class Boxed(Tiles):
    """Tiles with the boxes that crops need; the features are somebody else's."""

    def __call__(self, task: FrameTask) -> None:
        super().__call__(task)
        regions = task.regions
        camera = task.frame.cameras[0]
        _, box = rle.area_and_box(regions.rle, camera.height, camera.width)
        task.regions, task.semantics = replace(regions, box_xyxy=box), None


def words(folder, **changes):
    """The shipped taxonomy with the first of its words, and with others for some classes."""
    content = load_taxonomy("nuscenes16").to_dict()
    content["templates"] = content["templates"][:1]
    for entry in content["classes"]:
        entry["words"] = changes.get(entry["name"], list(entry["words"])[:1])
    path = folder / "other.yaml"
    path.write_text(yaml.safe_dump(content | {"name": "other", "void": list(content["void"])}))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("relabel")
    root = make_dataroot(folder, scenes=2, samples=1, points=POINTS, image_size=SIZE)
    config = RunConfig.model_validate(
        {
            "semantics": {
                "checkpoint": str(write_clip_folder(folder / "clip")),
                "mode": "crop",
                "captions": "blip2",
                "caption_checkpoint": str(write_blip2_folder(folder / "blip2")),
                "caption_regions": 2,
                "caption_tokens": 4,
                "dense_features": {"grid": [4, 6], "dtype": "int8"},
            },
            "shards": {"store_points": True},
        }
    )
    taxonomy = load_taxonomy("nuscenes16")
    models = split(label_frames(root, config, taxonomy))[1][1:]
    assert [stage.name for stage in models] == ["semantics", "captions"]
    for stage in models:
        stage.setup()
    return folder, root, label("nuscenes", root, folder / "run", config, stages=[Boxed(16), *models])


@pytest.fixture
def shell(monkeypatch, capsys):
    return Shell(monkeypatch, capsys)


def to(taxonomy, output):
    """Options of a relabelling."""
    return "--taxonomy", taxonomy, "--output", output


def assert_same_labels(one, two, names=LABELS):
    assert one.frames == two.frames
    for frame_id in one.frames:
        a, b = one.frame(frame_id), two.frame(frame_id)
        for name in names:
            assert getattr(a.labels, name).tobytes() == getattr(b.labels, name).tobytes(), name
        assert a.semantics.class_scores.tobytes() == b.semantics.class_scores.tobytes()
        assert a.semantics.label.tobytes() == b.semantics.label.tobytes()


def test_captions_and_dense_maps_are_stored(made):
    run = open_run(made[2])
    assert not run.failures
    for frame_id in run.frames:
        frame = run.frame(frame_id)
        semantics, K = frame.semantics, len(frame.regions)
        told = semantics.caption_feature.any(axis=1)
        assert [bool(text) for text in semantics.caption] == told.tolist()
        per_image = np.bincount(frame.regions.camera[told], minlength=6)
        assert (per_image <= 2).all()
        length = np.linalg.norm(semantics.caption_feature[told].astype(np.float64), axis=1)
        np.testing.assert_allclose(length, 1, atol=2e-3)
        assert frame.dense.values.shape == (6, 4, 6, 24)
        assert frame.dense.size.tolist() == [list(SIZE)] * 6
        seen = np.unique(frame.views.point[frame.views.visible])
        dense = frame.point_features("dense")
        assert dense[seen].any(axis=1).all()
        assert not dense[np.setdiff1d(np.arange(len(dense)), seen)].any()
        assert K == 96


def test_the_same_taxonomy_gives_the_same_labels(made, shell, tmp_path):
    _, _, path = made
    found = shell(
        "taxonomy", "relabel", path, "--taxonomy", "nuscenes16", "--output", tmp_path / "o", "--json"
    )
    assert found.code == 0, found.err
    assert (found.json["frames"], found.json["failed"]) == (2, 0)
    assert_same_labels(open_run(path), open_run(tmp_path / "o"))


def test_and_so_do_its_words_read_anew(made):
    """The way of another taxonomy, taken with the same words."""
    run = open_run(made[2])
    operation, _ = plan_relabel(run, replace(load_taxonomy("nuscenes16"), name="renamed"))
    assert isinstance(operation, Relabel)
    assert operation.vocabulary is not None
    for frame_id in run.frames:
        stored = run.frame(frame_id).semantics
        found = operation.classify(stored)
        assert found.class_scores.tobytes() == stored.class_scores.tobytes()
        assert found.label.tobytes() == stored.label.tobytes()


def test_another_taxonomy_without_images(made, shell, tmp_path):
    _, root, path = made
    other = words(tmp_path, car=["tall thing"], vegetation=["a car on the road"])
    hidden = root.with_name("hidden")
    root.rename(hidden)
    try:
        found = shell(
            "taxonomy", "relabel", path, "--taxonomy", other, "--output", tmp_path / "out", "--json"
        )
    finally:
        hidden.rename(root)
    assert found.code == 0, found.err
    before, after = open_run(path), open_run(tmp_path / "out")
    assert after.info.taxonomy["name"] == "other"
    frame = after.frame(after.frames[0])
    assert frame.attributes["class_names"] == load_taxonomy("nuscenes16").names
    stored = before.frame(after.frames[0])
    assert frame.attributes["text_embeddings"] != stored.attributes["text_embeddings"]
    assert frame.semantics.class_scores.tobytes() != stored.semantics.class_scores.tobytes()
    assert frame.semantics.feature.tobytes() == stored.semantics.feature.tobytes()
    assert frame.semantics.caption == stored.semantics.caption
    assert shell("verify", tmp_path / "out", "--deep").code == 0
    again = shell(
        "taxonomy", "relabel", tmp_path / "out", "--taxonomy", "nuscenes16", "--output", tmp_path / "b"
    )
    assert again.code == 0, again.err
    # What was a thing of another class meanwhile has lost its number.
    assert_same_labels(before, open_run(tmp_path / "b"), [name for name in LABELS if name != "instance"])


def test_fewer_classes(made, shell, tmp_path):
    path = tmp_path / "few.yaml"
    entry = {"color": [1, 2, 3], "thing": True}
    classes = [
        {"name": "car", "words": ["car"], "source": ["vehicle.car"], **entry},
        {"name": "rest", "words": ["tree", "the sky"], "source": ["static.vegetation"], **entry},
    ]
    path.write_text(yaml.safe_dump({"name": "few", "classes": classes}))
    assert shell("taxonomy", "relabel", made[2], "--taxonomy", path, "--output", tmp_path / "few").code == 0
    run = open_run(tmp_path / "few")
    frame = run.frame(run.frames[0])
    assert frame.semantics.class_scores.shape == (96, 2)
    assert set(np.unique(frame.labels.label)) <= {0, 1, 255}
    assert shell("evaluate", tmp_path / "few", "--json").code == 0
    assert shell("compact", tmp_path / "few", tmp_path / "whole").code == 0
    assert open_run(tmp_path / "whole").frame(run.frames[0]).semantics.class_scores.shape == (96, 2)


def test_another_text_encoder_is_refused(made, shell, tmp_path):
    folder, _, path = made
    other = tmp_path / "clip"
    shutil.copytree(folder / "clip", other)
    from safetensors.torch import load_file, save_file

    weights = other / "open_clip_model.safetensors"
    state = load_file(weights)
    state["logit_scale"] += 1
    save_file(state, weights)
    taxonomy = words(tmp_path, car=["tree top"])
    found = shell(
        "taxonomy", "relabel", path, "--taxonomy", taxonomy, "--checkpoint", other, "--output", tmp_path / "x"
    )
    assert found.code == 2
    assert "its texts cannot be compared" in found.err
    assert not (tmp_path / "x").exists()


def test_what_became_of_derived_runs(made, shell, tmp_path):
    _, _, path = made
    taxonomy = words(tmp_path, car=["tall thing"])

    def relabel(run, name):
        return shell("taxonomy", "relabel", run, "--taxonomy", taxonomy, "--output", tmp_path / name)

    assert shell("revote", path, "--min-margin", "0.2", "--output", tmp_path / "revoted").code == 0
    assert relabel(tmp_path / "revoted", "a").code == 0
    assert relabel(path, "b").code == 0
    strict, loose = open_run(tmp_path / "a"), open_run(tmp_path / "b")
    labelled = [sum((r.frame(f).labels.label < 255).sum() for f in r.frames) for r in (strict, loose)]
    assert labelled[0] < labelled[1]  # the revoted run's margin

    shell("refine", path, "--afi", "--output", tmp_path / "afi")
    assert "relabel" in relabel(tmp_path / "afi", "c").err
    assert str(path) in relabel(tmp_path / "afi", "c").err
    shell("fuse", path, "--output", tmp_path / "fused")
    assert "made by `fused`" in relabel(tmp_path / "fused", "c").err
    shell("evaluate", path, "--calibrate", tmp_path / "table.json")
    shell("refine", path, "--calibration", tmp_path / "table.json", "--output", tmp_path / "calibrated")
    assert "made by `calibrated`" in relabel(tmp_path / "calibrated", "c").err
    assert not (tmp_path / "c").exists()
    assert shell("refine", tmp_path / "b", "--afi", "--output", tmp_path / "d").code == 0
    assert open_run(tmp_path / "d").info.taxonomy["name"] == "other"


def test_retrieval_is_a_run_of_its_own(made, shell, tmp_path):
    _, _, path = made
    found = shell("refine", path, "--retrieval", "--neighbours", 5, "--output", tmp_path / "r", "--json")
    assert found.code == 0, found.err
    assert (found.json["frames"], found.json["failed"]) == (2, 0)
    before, after = open_run(path), open_run(tmp_path / "r")
    assert any(
        before.frame(f).semantics.class_scores.tobytes() != after.frame(f).semantics.class_scores.tobytes()
        for f in before.frames
    )
    none = ("--weight", 0, "--output", tmp_path / "none")
    assert shell("refine", path, "--retrieval", *none).code == 0
    assert_same_labels(before, open_run(tmp_path / "none"))
    again = shell("refine", path, "--retrieval", "--neighbours", 5, "--output", tmp_path / "r", "--json")
    assert again.json["skipped"] == 2
    assert "another" in shell("refine", path, "--retrieval", "--output", tmp_path / "r").err
    bank = next((tmp_path / "r").glob("bank-*.npz"))
    bank.write_bytes(bank.read_bytes()[:500])
    shutil.rmtree(tmp_path / "r" / "manifests")
    healed = shell("refine", path, "--retrieval", "--neighbours", 5, "--output", tmp_path / "r", "--json")
    assert (healed.code, healed.json["failed"]) == (0, 0), healed.err
    assert_same_labels(after, open_run(tmp_path / "r"))
    taxonomy = words(tmp_path, car=["tall thing"])
    refused = shell("taxonomy", "relabel", tmp_path / "none", "--taxonomy", taxonomy)
    assert "refined by retrieval" in refused.err


def test_labels_of_another_tool_hold_nothing_to_relabel(made, shell, tmp_path):
    frames, info = read_plan(open_run(made[2]).store)
    labels = tmp_path / "labels"
    labels.mkdir()
    for frame in frames:
        np.zeros(POINTS, np.uint8).tofile(labels / f"{frame.frame_id}_lidarseg.bin")
    import_labels(labels, tmp_path / "imported", frames, info, load_taxonomy("nuscenes16"), ids="dataset")
    found = shell(
        "taxonomy", "relabel", tmp_path / "imported", "--taxonomy", words(tmp_path, car=["tall thing"])
    )
    assert found.code == 2
    assert "come from another tool" in found.err


def test_fields_for_trainers(made):
    _, _, path = made
    fields = ("points/feature", "points/dense_feature", "regions/caption", "regions/text_feature")
    items = LabelDataset(path, fields)
    sample = items[0]
    frame = items.run.frame(items.frames[0])
    assert sample["points/feature"].shape == (frame.num_points, 24)
    assert sample["points/dense_feature"].shape == (frame.num_points, 24)
    assert sample["regions/caption"] == list(frame.semantics.caption)
    assert sample["regions/text_feature"].shape == (96, 24)
    batch = collate([items[0], items[1]])
    assert len(batch["regions/caption"]) == 192
    assert batch["regions/offsets"].tolist() == [0, 96, 192]


def test_linting_with_a_runs_text_encoder(made, shell, tmp_path):
    taxonomy = words(tmp_path, car=["a car on the road", "x" * 300])
    found = shell("taxonomy", "lint", taxonomy, "--run", made[2], "--json")
    assert found.code == 0, found.err
    kinds = {finding["kind"] for finding in found.json["findings"]}
    assert "unread" in kinds
    assert found.json["ok"]
    broken = tmp_path / "broken.yaml"
    broken.write_text(taxonomy.read_text().replace("name: bus\n", "name: car\n"))
    found = shell("taxonomy", "lint", broken)
    assert found.code == 1
    assert "two classes have the same name" in found.out


def test_listing_and_showing(shell):
    names = [row["name"] for row in shell("taxonomy", "list", "--json").json["taxonomies"]]
    assert names == ["nuscenes16", "nuscenes16-uov", "semantickitti19"]
    shown = shell("taxonomy", "show", "nuscenes16-uov", "--json").json
    assert shown["classes"][3]["words"][0] == "car"
    assert "sedan" in shell("taxonomy", "show", "nuscenes16").out
