"""Weights in a file get the pixels and the activation of their training, or it is asked which that is."""

import json

import numpy as np
import open_clip
import pytest
import torch
from open_clip.factory import add_model_config

from labelgen.config import RunConfig, fingerprint
from labelgen.core.errors import UserError
from labelgen.semantics import settle_semantics
from labelgen.semantics.clip_training import OPENAI_ENTRIES, training_of_file, trainings
from labelgen.semantics.clip_weights import describe_open_clip
from labelgen.semantics.openclip import OpenClipEncoder, load_open_clip
from labelgen.semantics.settings import OpenClipSettings

OPENAI = (0.48145466, 0.4578275, 0.40821073)
HALF = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """ViT-L-14, either activation, in a size for tests; the tags are those of the public one."""
    folder = tmp_path_factory.mktemp("configs")
    names = ("ViT-L-14", "ViT-L-14-quickgelu")
    public = {name: open_clip.get_model_config(name) for name in names}
    for name in names:
        content = open_clip.get_model_config(name)
        content["embed_dim"] = 16
        content["vision_cfg"].update(image_size=28, layers=2, width=32, head_width=16)
        content["text_cfg"].update(layers=2, width=32, heads=2)
        (folder / f"{name}.json").write_text(json.dumps(content))
    add_model_config(folder)
    yield
    for name, content in public.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    add_model_config(folder)


@pytest.fixture
def weights(small):
    torch.manual_seed(0)
    return open_clip.create_model("ViT-L-14").state_dict()


@pytest.fixture
def file(tmp_path, weights):
    torch.save(weights, tmp_path / "clip.pt")
    return tmp_path / "clip.pt"


def semantics(file, **settings):
    return OpenClipSettings(checkpoint=str(file), mode="crop", **{"model": "ViT-L-14"} | settings)


def test_a_file_that_does_not_say_is_asked_about(file):
    with pytest.raises(
        UserError, match=r"set semantics\.pretrained=TAG, one of .*openai.*laion2b_s32b"
    ) as caught:
        load_open_clip("ViT-L-14", str(file))
    assert str(file) in str(caught.value)
    with pytest.raises(UserError, match=r"pretrained=nothing is not a tag of ViT-L-14"):
        load_open_clip("ViT-L-14", str(file), "nothing")


@pytest.mark.parametrize(("tag", "mean"), [("laion400m_e32", OPENAI), ("laion2b_s32b_b82k", HALF)])
def test_the_pixels_are_those_of_the_training(file, tag, mean):
    encoder = OpenClipEncoder(semantics(file, pretrained=tag), device="cpu")
    np.testing.assert_allclose(encoder.mean, mean)


def test_the_activation_is_that_of_the_training(file):
    with pytest.raises(
        UserError, match=r"trained as ViT-L-14-quickgelu: set semantics\.model=ViT-L-14-quick"
    ):
        load_open_clip("ViT-L-14", str(file), "openai")
    with pytest.raises(UserError, match=r"trained as ViT-L-14: set semantics\.model=ViT-L-14"):
        load_open_clip("ViT-L-14-quickgelu", str(file), "laion2b_s32b_b82k")


def test_openais_own_state_dict_is_known_by_its_content(tmp_path, weights, file):
    path = tmp_path / "openai.pt"
    torch.save(
        {k: v.half() for k, v in weights.items()} | dict.fromkeys(OPENAI_ENTRIES, torch.tensor(28)), path
    )
    with pytest.raises(UserError, match=r"set semantics\.model=ViT-L-14-quickgelu"):
        load_open_clip("ViT-L-14", str(path))
    network, _, _ = load_open_clip("ViT-L-14-quickgelu", str(path))
    assert network.visual.image_mean == OPENAI
    other, _, _ = load_open_clip("ViT-L-14-quickgelu", str(file), "openai")  # the same without its entries
    crops = np.random.default_rng(0).normal(size=(2, 3, 28, 28)).astype(np.float32)
    with torch.inference_mode():
        a, b = (one.encode_image(torch.from_numpy(crops)) for one in (network, other))
    torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "place",
    [
        "models--laion--CLIP-ViT-L-14-laion2B-s32B-b82K/snapshots/ab/open_clip_pytorch_model.bin",
        "CLIP-ViT-L-14-laion2B-s32B-b82K/open_clip_pytorch_model.bin",
    ],
)
def test_the_hubs_cache_and_a_clone_say_what_they_hold(tmp_path, weights, place):
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    torch.save(weights, path)
    assert load_open_clip("ViT-L-14", str(path))[0].visual.image_mean == HALF


def test_a_file_under_its_published_name_is_known(tmp_path):
    path = tmp_path / "vit_l_14-laion400m_e32-3d133497.pt"
    assert training_of_file("ViT-L-14", path, None)[0] == "laion400m_e32"


def test_where_all_trainings_agree_nothing_is_asked(tmp_path):
    torch.save({}, tmp_path / "own.pt")
    tag, training = training_of_file("ViT-B-16-SigLIP", tmp_path / "own.pt", None)
    assert (tag, training.mean) == (None, HALF)  # open_clip would take OpenAI's for a file
    assert training_of_file("ViT-M-16", tmp_path / "own.pt", None) == (None, None)  # never published


def test_every_tag_of_an_architecture_is_known():
    for model, tag in open_clip.list_pretrained():
        content = open_clip.pretrained.get_pretrained_cfg(model, tag)
        assert trainings(model)[tag].mean == tuple(content["mean"])


def test_a_tag_or_folder_says_so_itself(small):
    with pytest.raises(UserError, match=r"semantics\.pretrained applies to a file"):
        describe_open_clip("ViT-L-14", "laion2b_s32b_b82k", "openai")
    with pytest.raises(UserError, match=r"semantics\.pretrained applies to a file"):
        describe_open_clip("demo", None, "openai")


def test_what_a_file_says_is_a_setting_of_the_run(tmp_path, weights):
    """Other pixels give other labels."""
    path = tmp_path / "vit_l_14-laion400m_e32-3d133497.pt"
    torch.save(weights, path)
    settled = settle_semantics(semantics(path))
    assert settled.pretrained == "laion400m_e32"

    def mark(config):
        return fingerprint(RunConfig(semantics=config), "", [])

    assert mark(settled) != mark(settled.model_copy(update={"pretrained": "laion2b_s32b_b82k"}))
    plain = RunConfig(semantics=OpenClipSettings())
    assert "pretrained" not in plain.label_settings()["semantics"]


def test_a_file_that_is_no_weights(tmp_path, small):
    path = tmp_path / "clip.pt"
    path.write_bytes(b"<html>Sign in</html>")
    with pytest.raises(UserError, match="a web page"):
        load_open_clip("ViT-L-14", str(path))
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    with pytest.raises(UserError, match="TorchScript"):
        load_open_clip("ViT-L-14", str(path), None)


def test_weights_of_another_architecture(tmp_path, small):
    path = tmp_path / "clip.pt"
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(UserError, match=r"clip\.pt cannot be loaded as ViT-L-14"):
        load_open_clip("ViT-L-14", str(path), "laion400m_e32")
