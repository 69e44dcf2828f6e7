"""What ``auto`` stands for, and what is refused with which reason."""

import pytest

from labelgen.core.errors import UserError
from labelgen.semantics import settle_semantics
from labelgen.semantics.settings import OpenClipSettings
from tests.helpers.clip_folder import write_clip_folder


def settled(model, **settings):
    return settle_semantics(OpenClipSettings(model=model, checkpoint="weights.pt", **settings)).mode


@pytest.mark.parametrize(
    ("model", "mode"),
    [
        ("ViT-B-16", "maskattn"),
        ("ViT-L-14-quickgelu", "maskattn"),
        ("ViT-L-14-336", "maskattn"),
        ("convnext_large_d_320", "pool"),
        ("RN50", "crop"),
        ("ViT-B-16-SigLIP", "crop"),
        ("PE-Core-B-16", "crop"),
        ("EVA02-B-16", "crop"),
        ("coca_ViT-B-32", "crop"),
    ],
)
def test_auto(model, mode):
    assert settled(model) == mode
    assert settled(model, mode="crop") == "crop"


def test_the_demo_model_and_folders(tmp_path):
    assert settle_semantics(OpenClipSettings()).mode == "crop"
    folder = write_clip_folder(tmp_path / "clip")
    assert settle_semantics(OpenClipSettings(checkpoint=str(folder))).mode == "maskattn"  # a transformer


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        (" " * (5 << 20), "bytes, too large to be a valid model configuration"),
        ('{"model_cfg": {}, "model_cfg": {"vision_cfg": {}}}', "'model_cfg' appears twice"),
        ("[]", "no model_cfg"),
        ('{"model_cfg": {"vision_cfg": 3}}', "no model_cfg with a vision_cfg"),
    ],
)
def test_a_folder_with_another_file(tmp_path, text, said):
    (tmp_path / "open_clip_config.json").write_text(text)
    with pytest.raises(UserError, match=said):
        settle_semantics(OpenClipSettings(checkpoint=str(tmp_path)))


@pytest.mark.parametrize("model", ["ViT-B-16-SigLIP", "PE-Core-B-16", "coca_ViT-B-32"])
@pytest.mark.parametrize("mode", ["maskclip", "naclip", "maskattn", "pool"])
def test_pooled_patches_are_refused(model, mode):
    with pytest.raises(
        UserError, match=rf"mode={mode} is not possible with {model}: a learnt query.*use crop"
    ):
        settled(model, mode=mode)


def test_other_refusals_say_what_is_possible():
    with pytest.raises(
        UserError, match=r"maskclip is not possible with convnext_base: .*mean.*use crop or pool"
    ):
        settled("convnext_base", mode="maskclip")
    with pytest.raises(UserError, match=r"naclip is not possible with RN50: .*one query"):
        settled("RN50", mode="naclip")
    with pytest.raises(UserError, match=r"assignment=rsa is not possible with PE-Core-B-16"):
        settled("PE-Core-B-16", assignment="rsa")
