"""The BLIP-2 backend: captions, determinism, degenerate input, faulty checkpoints."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from pycocotools import mask as coco
from safetensors.torch import load_file, save_file

from labelgen.core.errors import UserError
from labelgen.core.records import Regions
from labelgen.models.info import file_hash
from labelgen.semantics.blip2 import load_blip2
from labelgen.semantics.registry import describe_captioner, make_captioner
from labelgen.semantics.settings import CaptionSettings
from tests.helpers.blip2_folder import write_blip2_folder

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_blip2_folder(tmp_path_factory.mktemp("blip2"))


@pytest.fixture(scope="module")
def captioner(folder):
    return make_captioner(
        CaptionSettings(caption_checkpoint=str(folder), caption_batch_size=4, caption_tokens=6), "cpu"
    )


@pytest.fixture(scope="module")
def scene():
    """Two images and a missing one, with rectangular regions."""
    images = [np.random.default_rng(k).integers(0, 255, (40, 60, 3), np.uint8) for k in range(3)]
    boxes = [(0, 5, 5, 20, 30), (0, 0, 0, 60, 40), (0, 59, 39, 60, 40)]
    boxes += [(2, x, 3, x + 9, 17) for x in range(0, 20, 5)]
    table, codes = np.asarray(boxes, np.float32), []
    for _, x0, y0, x1, y1 in boxes:
        mask = np.zeros((40, 60), np.uint8, order="F")
        mask[y0:y1, x0:x1] = 1
        codes.append(coco.encode(mask)["counts"])
    regions = Regions(
        camera=table[:, 0].astype(np.uint8),
        box_xyxy=table[:, 1:].copy(),
        area=((table[:, 3] - table[:, 1]) * (table[:, 4] - table[:, 2])).astype(np.int32),
        score=np.ones(len(table), np.float16),
        stability=np.ones(len(table), np.float16),
        rle=tuple(codes),
    )
    return SimpleNamespace(images=[images[0], None, images[2]], regions=regions)


def test_captions_are_greedy(captioner, scene):
    """Against a decoder of a few lines that knows no cache and no batch."""
    got = captioner.caption(scene.images, scene.regions)
    assert len(got) == len(scene.regions)
    model, tokenizer = captioner.network, captioner.processor.tokenizer
    seen = []
    captioner._caption_batch, own = (
        (lambda batch: seen.extend(batch) or [""] * len(batch)),
        captioner._caption_batch,
    )
    captioner.caption(scene.images, scene.regions)
    captioner._caption_batch = own
    for crop, text in zip(seen, got, strict=True):
        pixels = torch.from_numpy((crop / 255.0 - 0.45) / 0.25).permute(2, 0, 1)[None].float()
        ids = [model.config.image_token_index] * model.config.num_query_tokens + [tokenizer.bos_token_id]
        begin = len(ids)
        with torch.no_grad():
            while len(ids) - begin < 6:
                following = int(model(pixels, torch.tensor([ids])).logits[0, -1].argmax())
                ids.append(following)
                if following == tokenizer.eos_token_id:
                    break
        assert text == tokenizer.decode(ids[begin:], skip_special_tokens=True).strip()


def test_some_rows_only(captioner, scene):
    everything = captioner.caption(scene.images, scene.regions)
    rows = np.array([1, 4, 6])
    some = captioner.caption(scene.images, scene.regions, rows)
    assert [some[row] for row in rows] == [everything[row] for row in rows]
    assert all(some[row] == "" for row in (0, 2, 3, 5))


def test_the_same_again_and_in_other_batches(folder, captioner, scene):
    other = make_captioner(
        CaptionSettings(caption_checkpoint=str(folder), caption_batch_size=1, caption_tokens=6), "cpu"
    )
    first = captioner.caption(scene.images, scene.regions)
    assert first == captioner.caption(scene.images, scene.regions)
    assert first == other.caption(scene.images, scene.regions)


def test_no_regions(captioner):
    assert captioner.caption([None, None], Regions.empty()) == ()


def test_a_region_without_its_image_is_an_error(captioner, scene):
    with pytest.raises(ValueError, match="camera 2, which has no image"):
        captioner.caption([scene.images[0], None, None], scene.regions)


def test_what_is_recorded(folder):
    info = describe_captioner(CaptionSettings(caption_checkpoint=str(folder)))
    assert info == load_blip2("demo", str(folder), torch.device("cpu"))[2]
    assert info.name == "blip2:demo"
    assert info.weights == file_hash(folder / WEIGHTS)
    assert info.licence.startswith("see the publisher")
    (folder / "training.json").write_text('{"revision": "demo 3 steps"}')
    assert describe_captioner(CaptionSettings(caption_checkpoint=str(folder))).revision == "demo 3 steps"
    (folder / "training.json").unlink()


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


class TestCheckpoints:
    """Each is refused with one line that names the folder."""

    @pytest.fixture
    def copy(self, folder, tmp_path):
        for path in folder.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        return tmp_path

    def refused(self, copy, match):
        with pytest.raises(UserError, match=match) as caught:
            load_blip2("demo", str(copy), torch.device("cpu"))
        assert str(copy) in str(caught.value)

    def test_no_folder(self, tmp_path):
        self.refused(tmp_path / "nowhere", "is not a folder")

    def test_no_weights(self, copy):
        (copy / WEIGHTS).rename(copy / "pytorch_model.bin")
        self.refused(copy, r"holds no model\.safetensors")

    @pytest.mark.parametrize("keep", [0, 7, 5000, -999])
    def test_truncated(self, copy, keep):
        content = (copy / WEIGHTS).read_bytes()
        (copy / WEIGHTS).write_bytes(content[:keep])
        self.refused(copy, "cannot be loaded" if keep else "is empty")

    def test_another_model(self, copy):
        edit(copy / "config.json", model_type="blip")
        self.refused(copy, "type 'blip', not blip-2")

    @pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000])
    def test_broken_configuration(self, copy, text):
        (copy / "config.json").write_text(text)
        self.refused(copy, "not valid JSON|not blip-2")

    def test_a_weight_is_missing(self, copy):
        state = load_file(copy / WEIGHTS)
        del state["language_projection.weight"]
        save_file(state, copy / WEIGHTS, metadata={"format": "pt"})
        self.refused(copy, "1 weights are missing from .*language_projection.weight")

    @pytest.mark.parametrize(
        ("layers", "match"), [(3, "more than config.json has room for"), (5, "missing from")]
    )
    def test_other_depth(self, copy, layers, match):
        vision = json.loads((copy / "config.json").read_text())["vision_config"]
        edit(copy / "config.json", vision_config=vision | {"num_hidden_layers": layers})
        self.refused(copy, match)

    def test_other_width(self, copy):
        vision = json.loads((copy / "config.json").read_text())["vision_config"]
        edit(copy / "config.json", vision_config=vision | {"intermediate_size": 96})
        self.refused(copy, "cannot be loaded")

    def test_no_processor(self, copy):
        for path in copy.glob("*processor*.json"):
            path.unlink()
        self.refused(copy, "cannot be loaded")

    def test_no_tokenizer(self, copy):
        for path in copy.glob("tokenizer*.json"):
            path.unlink()
        self.refused(copy, "the tokenizer is not the model's")

    def test_images_of_another_size(self, copy):
        path = copy / "processor_config.json"
        content = json.loads(path.read_text())
        content["image_processor"]["size"] = {"height": 32, "width": 32}
        path.write_text(json.dumps(content))
        self.refused(copy, "the processor's images are")

    def test_a_model_that_cannot_be_fetched(self, monkeypatch):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(UserError, match=r"model 'no/such' .*set semantics\.caption_checkpoint"):
            load_blip2("no/such", None, torch.device("cpu"))
