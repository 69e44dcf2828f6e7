"""Classes that another model wrote: the same as counted pixel by pixel, and what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelgen.core.errors import FrameError, UserError
from labelgen.core.records import UNLABELLED, Regions
from labelgen.core.taxonomy import load_taxonomy
from labelgen.geometry import rle
from labelgen.semantics import describe_encoder, make_encoder
from labelgen.semantics.base import FrameImages
from labelgen.semantics.given import read_scores
from labelgen.semantics.settings import GivenSettings
from labelgen.semantics.source_classes import load_source_classes

TAXONOMY = load_taxonomy("nuscenes16")
CAR, TRUCK = (TAXONOMY.names.index(name) for name in ("car", "truck"))
SIZE = (12, 20)


def regions_of(masks, camera=0) -> Regions:
    K = len(masks)
    return Regions(
        camera=np.full(K, camera, np.uint8),
        box_xyxy=np.zeros((K, 4), np.float32),
        area=np.array([mask.sum() for mask in masks], np.int32),
        score=np.ones(K, np.float16),
        stability=np.ones(K, np.float16),
        rle=tuple(rle.encode(mask) for mask in masks),
    )


def images(count=1) -> FrameImages:
    """Black ones, named as nuScenes names its own."""
    paths = [f"samples/CAM_{number}/{number}__x.jpg" for number in range(count)]
    return FrameImages(
        [np.zeros((*SIZE, 3), np.uint8)] * count, paths, [f"CAM_{n}" for n in range(count)], "f"
    )


def save(folder: Path, ids, name="0__x", mode=None) -> Path:
    picture = Image.fromarray(np.asarray(ids).astype(np.uint8 if mode != "I;16" else np.uint16))
    if mode == "P":
        picture.putpalette([255 - k // 3 for k in range(768)])
    picture.save(folder / f"{name}.png")
    return folder / f"{name}.png"


def source(folder: Path, **more):
    return make_encoder(GivenSettings(folder=str(folder), **more))


@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_scores_are_the_shares_of_a_region_s_pixels(tmp_path_factory, data, seed):
    folder, rng = tmp_path_factory.mktemp("maps"), np.random.default_rng(seed)
    ids = rng.integers(0, 19, SIZE)
    ids[rng.random(SIZE) < 0.1] = 255
    save(folder, ids, mode=data.draw(st.sampled_from([None, "P", "I;16"])))
    masks = [rng.random(SIZE) < share for share in (0.02, 0.3, 0.9)]
    found = source(folder).encode(images(), regions_of(masks), TAXONOMY)
    theirs = load_source_classes("cityscapes")
    ours = np.append(theirs.translate(TAXONOMY), [len(TAXONOMY)] * 256)[ids]
    for row, mask in enumerate(masks):
        shares = np.bincount(ours[mask], minlength=len(TAXONOMY) + 1) / max(1, mask.sum())
        np.testing.assert_allclose(found.class_scores[row], shares[:-1], atol=1e-3)
        if mask.any():
            best = shares.argmax()
            assert found.label[row] == (UNLABELLED if best == len(TAXONOMY) else best)
    assert found.feature.shape == (3, 0)


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 30), columns=st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_scores_of_any_resolution_are_averaged_over_pixels(tmp_path_factory, seed, rows, columns):
    folder, rng = tmp_path_factory.mktemp("scores"), np.random.default_rng(seed)
    probability = rng.dirichlet(np.full(19, 0.3), (rows, columns)).transpose(2, 0, 1)
    np.savez(folder / "0__x.npz", probabilities=np.round(probability * 255).astype(np.uint8))
    mask = rng.random(SIZE) < 0.5
    found = source(folder).encode(images(), regions_of([mask]), TAXONOMY)
    v, u = np.nonzero(mask)
    mean = probability[:, v * rows // SIZE[0], u * columns // SIZE[1]].mean(axis=1)
    ours = np.zeros(len(TAXONOMY) + 1)
    np.add.at(ours, load_source_classes("cityscapes").translate(TAXONOMY)[:19], mean)
    np.testing.assert_allclose(found.class_scores[0], ours[:-1], atol=0.02)


def test_region_tables_name_the_class_of_an_id(tmp_path):
    ids = np.zeros(SIZE, np.uint16)
    ids[:, :5], ids[:, 5:9] = 1, 300
    save(tmp_path, ids, mode="I;16")
    categories = [{"category_id": 13}] + [{"category_id": 0}] * 298 + [{"category_id": 14}]
    (tmp_path / "0__x.json").write_text(json.dumps(categories))
    masks = [ids == 1, ids == 300, ids == 0]
    found = source(tmp_path).encode(images(), regions_of(masks), TAXONOMY)
    assert found.label.tolist() == [CAR, TRUCK, UNLABELLED]
    assert found.class_scores[2].sum() == 0


def test_the_majority_takes_all(tmp_path):
    ids = np.full(SIZE, 13)
    ids[:, 15:] = 14
    save(tmp_path, ids)
    everything = regions_of([np.ones(SIZE, bool)])
    shared = source(tmp_path).encode(images(), everything, TAXONOMY)
    alone = source(tmp_path, assignment="majority").encode(images(), everything, TAXONOMY)
    assert shared.class_scores[0, [CAR, TRUCK]].tolist() == [0.75, 0.25]
    assert alone.class_scores[0, [CAR, TRUCK]].tolist() == [1, 0]
    assert shared.label[0] == alone.label[0] == CAR


@pytest.mark.parametrize("name", ["0__x", "samples_CAM_0_0__x", "samples/CAM_0/0__x", "token"])
def test_files_are_found_by_name_path_or_token(tmp_path, name):
    (tmp_path / "samples" / "CAM_0").mkdir(parents=True)
    save(tmp_path, np.full(SIZE, 13), name=name)
    more = {}
    if name == "token":
        table = tmp_path / "sample_data.json"
        table.write_text(json.dumps([{"filename": images().paths[0], "token": "token"}]))
        more = {"names": str(table)}
    found = source(tmp_path, **more).encode(images(), regions_of([np.ones(SIZE, bool)]), TAXONOMY)
    assert found.label.tolist() == [CAR]


def test_an_image_without_a_file_has_no_class_and_a_note(tmp_path):
    save(tmp_path, np.full(SIZE, 13))
    both, everything = images(2), np.ones(SIZE, bool)
    parts = [regions_of([everything], camera) for camera in (0, 1)]
    joined = Regions(**{
        name: getattr(parts[0], name) + getattr(parts[1], name)
        if name == "rle"
        else np.concatenate([getattr(part, name) for part in parts])
        for name in ("camera", "box_xyxy", "area", "score", "stability", "rle")
    })  # fmt: skip
    found = source(tmp_path).encode(both, joined, TAXONOMY)
    assert found.label.tolist() == [CAR, UNLABELLED]
    (note,) = both.notes
    assert "1__x.png: there are no classes for image samples/CAM_1/1__x.jpg" in note


BAD = {
    "another size": (lambda f: save(f, np.zeros((6, 10))), "10 x 6, its image 20 x 12"),
    "an id beyond": (lambda f: save(f, np.full(SIZE, 40)), "class 40 is not in the vocabulary cityscapes"),
    "three channels": (lambda f: Image.new("RGB", SIZE[::-1]).save(f / "0__x.png"), "'RGB'"),
    "no picture": (lambda f: (f / "0__x.png").write_bytes(b"\x89PNG\r\n\x1a\nrest"), "cannot be read"),
    "NaN": (lambda f: np.save(f / "0__x.npy", np.full((19, 3, 5), np.nan)), "not all are numbers"),
    "logits": (lambda f: np.save(f / "0__x.npy", np.full((19, 3, 5), 7.0)), "not in 0..1"),
    "too many": (lambda f: np.save(f / "0__x.npy", np.zeros((150, 3, 5))), "scores of 150 classes"),
    "two axes": (lambda f: np.save(f / "0__x.npy", np.zeros((19, 5))), "classes x rows x columns"),
    "another array": (lambda f: np.savez(f / "0__x.npz", logits=np.zeros(3)), "cannot be read"),
    "objects": (lambda f: np.save(f / "0__x.npy", np.array([{}, None])), "cannot be read"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_a_file_cannot_be_is_named_with_the_file(tmp_path, kind):
    spoil, message = BAD[kind]
    spoil(tmp_path)
    with pytest.raises(FrameError, match=message) as caught:
        source(tmp_path).encode(images(), regions_of([np.ones(SIZE, bool)]), TAXONOMY)
    assert "0__x" in str(caught.value)


def test_a_bomb_of_scores_is_not_unpacked(tmp_path):
    np.savez_compressed(tmp_path / "big.npz", probabilities=np.zeros((19, 1, 1), np.uint8))
    content = (tmp_path / "big.npz").read_bytes()
    assert read_scores(tmp_path / "big.npz").shape == (19, 1, 1)
    np.savez_compressed(tmp_path / "big.npz", probabilities=np.zeros((2000, 1000, 600), np.uint8))
    assert (tmp_path / "big.npz").stat().st_size < 3_000_000 > len(content)
    with pytest.raises(FrameError, match="bytes"):
        read_scores(tmp_path / "big.npz")


VOCABULARY = """
name: mine
ids: [road, sky, car]
to:
  nuscenes16: {road: driveable_surface, sky: null}
"""
WRONG = {
    "a class of ours with a typo": (
        VOCABULARY.replace("driveable_s", "drivable_s"),
        "did you mean driveable_surface",
    ),
    "a class of theirs with a typo": (VOCABULARY.replace("sky: null", "skye: null"), "did you mean sky"),
    "what is none of ours": (VOCABULARY.replace("car]", "car, moose]"), r"moose \(1 of 4 classes\)"),
    "a field with a typo": (VOCABULARY.replace("ids:", "idss:"), r"mine.yaml:3: idss: .*did you mean ids"),
    "an id beyond": (VOCABULARY.replace("[road, sky, car]", "{'70000': car}"), "0 to 65535"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_a_vocabulary_cannot_be_is_named(tmp_path, kind):
    content, message = WRONG[kind]
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(UserError, match=message):
        load_source_classes(str(tmp_path / "mine.yaml")).translate(TAXONOMY)


def test_a_vocabulary_of_ones_own(tmp_path):
    (tmp_path / "mine.yaml").write_text(VOCABULARY.replace("car]", "car, moose]"))
    theirs = load_source_classes(str(tmp_path / "mine.yaml"))
    surface = TAXONOMY.names.index("driveable_surface")
    assert theirs.translate(TAXONOMY, "void").tolist() == [surface, 16, CAR, 16]


@pytest.mark.parametrize("vocabulary", ["cityscapes", "cityscapes-ids"])
@pytest.mark.parametrize("taxonomy", ["nuscenes16", "semantickitti19"])
def test_shipped_vocabularies_know_what_all_their_classes_are(vocabulary, taxonomy):
    table = load_source_classes(vocabulary).translate(load_taxonomy(taxonomy))
    assert (table[: 19 if vocabulary == "cityscapes" else 34] >= 0).all()


def test_what_is_not_there_is_said_before_a_run(tmp_path):
    for settings_, message in (
        (GivenSettings(), "semantics.folder is missing"),
        (GivenSettings(folder=str(tmp_path / "none")), "is not a folder"),
        (GivenSettings(folder=str(tmp_path)), r"holds no \*.npz"),
        (GivenSettings(folder=str(tmp_path), vocabulary="cityscape"), "did you mean cityscapes"),
    ):
        with pytest.raises(UserError, match=message):
            describe_encoder(settings_)
    before = [describe_encoder(GivenSettings(folder=str(save(tmp_path, np.zeros(SIZE)).parent)))]
    before.append(describe_encoder(GivenSettings(folder=str(tmp_path), vocabulary="cityscapes-ids")))
    save(tmp_path, np.zeros((100, 100)))
    before.append(describe_encoder(GivenSettings(folder=str(tmp_path))))
    assert len({info.weights for info in before}) == 3, "files and vocabulary are in the fingerprint"
