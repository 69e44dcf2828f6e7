"""The open_clip backend against open_clip itself; determinism; degenerate input; faulty checkpoints."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from pycocotools import mask as coco

from labelgen.core.errors import UserError
from labelgen.core.records import Regions
from labelgen.core.taxonomy import load_taxonomy
from labelgen.models.info import file_hash
from labelgen.semantics.clip_weights import DIRECTORY_WEIGHTS
from labelgen.semantics.openclip import load_open_clip
from labelgen.semantics.registry import make_encoder
from labelgen.semantics.settings import OpenClipSettings
from tests.helpers.clip_folder import write_clip_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def encoder(folder):
    return make_encoder(OpenClipSettings(mode="crop", checkpoint=str(folder), batch_size=8), device="cpu")


@pytest.fixture(scope="module")
def taxonomy():
    return load_taxonomy("nuscenes16")


def some_regions(boxes):
    """Rectangular regions from (camera, x0, y0, x1, y1) in 40 x 60 images."""
    codes = []
    for _, x0, y0, x1, y1 in boxes:
        mask = np.zeros((40, 60), np.uint8, order="F")
        mask[y0:y1, x0:x1] = 1
        codes.append(coco.encode(mask)["counts"])
    table = np.asarray(boxes, np.float32).reshape(-1, 5)
    return Regions(
        camera=table[:, 0].astype(np.uint8),
        box_xyxy=table[:, 1:].copy(),
        area=((table[:, 3] - table[:, 1]) * (table[:, 4] - table[:, 2])).astype(np.int32),
        score=np.ones(len(table), np.float16),
        stability=np.ones(len(table), np.float16),
        rle=tuple(codes),
    )


@pytest.fixture(scope="module")
def scene():
    images = [np.random.default_rng(k).integers(0, 255, (40, 60, 3), np.uint8) for k in range(3)]
    boxes = [(0, 5, 5, 20, 30), (0, 0, 0, 60, 40), (0, 59, 39, 60, 40)]  # the last: one pixel in the corner
    boxes += [(2, x, 3, x + 9, 17) for x in range(0, 50, 5)]
    return SimpleNamespace(images=[images[0], None, images[2]], regions=some_regions(boxes))


def test_features_are_open_clips_own(folder, encoder, taxonomy, scene):
    got = encoder.encode(scene.images, scene.regions, taxonomy)
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    crops = np.stack(list(encoder.crops(scene.images, scene.regions)))
    mean, std = np.array(model.visual.image_mean), np.array(model.visual.image_std)
    pixels = torch.from_numpy(((crops / 255.0 - mean) / std).transpose(0, 3, 1, 2)).float()
    with torch.no_grad():
        want = model.encode_image(pixels, normalize=True).numpy()
    np.testing.assert_allclose(encoder.encode_crops(iter(crops)), want, atol=1e-5)
    np.testing.assert_array_equal(got.feature, encoder.encode_crops(iter(crops)).astype(np.float16))
    np.testing.assert_allclose(got.feature, want, atol=2e-3)


def test_narrow_regions_are_looked_at_twice(folder, encoder, scene):
    """Features of both crops are averaged; regions that fill their crop keep the one they have."""
    twice = make_encoder(OpenClipSettings(mode="crop", checkpoint=str(folder), context=40), device="cpu")
    once = encoder.features(scene.images, scene.regions)
    got = twice.features(scene.images, scene.regions)
    box = scene.regions.box_xyxy
    narrow = (box[:, 2:] - box[:, :2]).max(axis=1) * 1.5 < 40
    assert narrow.any()
    assert not narrow.all()
    np.testing.assert_allclose(got[~narrow], once[~narrow], atol=1e-6)
    rows = np.flatnonzero(narrow)
    both = once[rows] + encoder.encode_crops(encoder.crops(scene.images, scene.regions, 40, rows))
    np.testing.assert_allclose(got[rows], both / np.linalg.norm(both, axis=1, keepdims=True), atol=1e-5)
    assert np.abs(got[rows] - once[rows]).max() > 1e-3


def test_text_is_open_clips_own(folder, encoder):
    texts = ["a car on the road", "the sky", "", "a very long text " * 40, "日本語"]
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}", bpe_path=str(folder / "bpe.txt.gz"))
    with torch.no_grad():
        want = model.encode_text(tokenizer(texts), normalize=True).numpy()
    np.testing.assert_allclose(encoder.embed(texts), want, atol=1e-5)
    assert encoder.embed([]).shape == (0, 24)


def test_scores_come_from_the_stored_features(encoder, taxonomy, scene):
    got = encoder.encode(scene.images, scene.regions, taxonomy)
    scores, label = encoder.vocabulary(taxonomy).score(got.feature, encoder.temperature)
    np.testing.assert_array_equal(got.class_scores, scores)
    np.testing.assert_array_equal(got.label, label)
    assert encoder.class_embedding(taxonomy).shape == (16, 24)


def test_the_models_temperature_is_the_default(folder, encoder):
    assert encoder.temperature == pytest.approx(0.07, rel=1e-4)  # open_clip's start value
    assert (
        make_encoder(
            OpenClipSettings(mode="crop", checkpoint=str(folder), temperature=0.5), "cpu"
        ).temperature
        == 0.5
    )


def test_batches_change_nothing_but_rounding(folder, encoder, taxonomy, scene):
    other = make_encoder(OpenClipSettings(mode="crop", checkpoint=str(folder), batch_size=1), device="cpu")
    crops = list(encoder.crops(scene.images, scene.regions))
    np.testing.assert_allclose(encoder.encode_crops(iter(crops)), other.encode_crops(iter(crops)), atol=1e-5)


def test_no_regions(encoder, taxonomy):
    got = encoder.encode([None, None], Regions.empty(), taxonomy)
    assert got.class_scores.shape == (0, 16)
    assert got.feature.shape == (0, 24)


def test_greyscale_is_three_equal_channels(encoder, taxonomy):
    grey = np.random.default_rng(1).integers(0, 255, (40, 60), np.uint8)
    regions = some_regions([(0, 5, 5, 20, 30)])
    one = encoder.encode([grey], regions, taxonomy)
    three = encoder.encode([np.stack([grey] * 3, axis=-1)], regions, taxonomy)
    np.testing.assert_array_equal(one.feature, three.feature)


def test_a_region_without_its_image_is_an_error(encoder, taxonomy):
    with pytest.raises(ValueError, match="camera 1, which has no image"):
        encoder.encode([None, None], some_regions([(1, 5, 5, 20, 30)]), taxonomy)


PROGRAM = """
import sys, numpy as np
from labelgen.semantics import make_encoder
from labelgen.semantics.settings import OpenClipSettings
encoder = make_encoder(OpenClipSettings(mode="crop", checkpoint=sys.argv[1]), device="cpu", threads=2)
crops = np.random.default_rng(0).integers(0, 255, (70, 32, 32, 3), np.uint8)
sys.stdout.buffer.write(encoder.encode_crops(iter(crops)).tobytes() + encoder.embed(["a car"]).tobytes())
"""


def test_two_processes_give_the_same_bytes(folder):
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    outputs = [process.communicate()[0] for process in processes]
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) == 71 * 24 * 4


class TestCheckpoints:
    def test_unknown_architecture(self):
        with pytest.raises(UserError, match=r"'ViT-Z'.*open_clip"):
            load_open_clip("ViT-Z", "somewhere")

    def test_no_checkpoint_names_the_tags(self):
        with pytest.raises(UserError, match=r"needs semantics.checkpoint.*laion2b"):
            load_open_clip("ViT-B-16", None)

    def test_neither_tag_nor_file(self):
        with pytest.raises(UserError, match=r"nowhere.pt is neither a file nor a tag"):
            load_open_clip("ViT-B-16", "nowhere.pt")

    def test_weights_of_another_activation(self):
        with pytest.raises(UserError, match=r"semantics\.model=ViT-L-14-quickgelu"):
            load_open_clip("ViT-L-14", "openai")

    @pytest.mark.parametrize("fault", ["truncated", "empty", "absent", "other"])
    def test_faulty_folder(self, tmp_path, fault):
        folder = write_clip_folder(tmp_path / "clip")
        weights = folder / DIRECTORY_WEIGHTS
        if fault == "truncated":
            weights.write_bytes(weights.read_bytes()[:-999])
        elif fault == "empty":
            weights.write_bytes(b"")
        elif fault == "absent":
            weights.unlink()
        else:
            config = folder / "open_clip_config.json"
            config.write_text(config.read_text().replace('"layers": 2', '"layers": 3'))
        with pytest.raises(UserError, match="clip"):
            load_open_clip("demo", str(folder))

    def test_the_hash_is_of_the_file(self, folder):
        info = load_open_clip("demo", str(folder))[2]
        assert info.weights == file_hash(folder / DIRECTORY_WEIGHTS)


@pytest.mark.slow
def test_real_architecture(tmp_path, taxonomy, scene):
    """ViT-B-16 with random weights, through a checkpoint file."""
    path = tmp_path / "vit.pt"
    torch.save(open_clip.create_model("ViT-B-16").state_dict(), path)
    encoder = make_encoder(
        OpenClipSettings(model="ViT-B-16", mode="crop", checkpoint=str(path), pretrained="laion2b_s34b_b88k"),
        device="cpu",
    )
    got = encoder.encode(scene.images, scene.regions, taxonomy)
    assert got.feature.shape == (len(scene.regions), 512)
    np.testing.assert_allclose(np.linalg.norm(got.feature.astype(np.float32), axis=1), 1, atol=1e-2)
