"""The weights in the package: there, small, loadable, and of the hash that a run records."""

import json

import numpy as np
import pytest

from labelgen.core.taxonomy import load_taxonomy
from labelgen.demo.world import TRAIN_SEEDS, VAL_SEEDS
from labelgen.doctor.models import list_models
from labelgen.models.info import file_hash
from labelgen.models.shipped import TRAINING_FILE, shipped_dir
from labelgen.regions.sam import load_sam
from labelgen.semantics.openclip import load_open_clip
from labelgen.semantics.settings import OpenClipSettings

KINDS = ("sam", "clip", "blip2")


def test_together_they_are_small():
    sizes = [path.stat().st_size for kind in KINDS for path in shipped_dir(kind).iterdir()]
    assert sum(sizes) <= 16_000_000


@pytest.mark.parametrize(
    ("kind", "load", "file"),
    [("sam", load_sam, "model.safetensors"), ("clip", load_open_clip, "open_clip_model.safetensors")],
)
def test_they_load_like_any_checkpoint(kind, load, file):
    model, *_, info = load("demo", None)
    assert info.weights == file_hash(shipped_dir(kind) / file)
    assert info.licence == "Apache-2.0"
    assert "nothing on real images" in info.note
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_seeds_are_recorded_and_apart(kind):
    record = json.loads((shipped_dir(kind) / TRAINING_FILE).read_text())
    first, last = record["seeds"]
    assert first in TRAIN_SEEDS
    assert last in TRAIN_SEEDS
    assert record["validation"]["first_seed"] in VAL_SEEDS


def test_words_of_the_taxonomy_mean_their_classes():
    from labelgen.semantics.registry import make_encoder

    encoder = make_encoder(OpenClipSettings(), "cpu", 1)
    taxonomy = load_taxonomy("nuscenes16")
    vocabulary = encoder.vocabulary(taxonomy)
    closest = (
        vocabulary.word_feature @ vocabulary.word_feature.T - 2 * np.eye(len(vocabulary.word_class))
    ).argmax(1)
    same = vocabulary.word_class[closest] == vocabulary.word_class
    assert same.mean() > 0.8


def test_the_list_names_all_backends(tmp_path):
    entries = list_models(tmp_path)
    assert {(entry.backend, entry.model) for entry in entries} >= {
        ("sam", "demo"),
        ("sam", "vit_h"),
        ("superpixel", ""),
        ("open_clip", "demo"),
        ("open_clip", "ViT-L-14"),
        ("blip2", "demo"),
        ("blip2", "Salesforce/blip2-opt-2.7b"),
    }
    demo = next(entry for entry in entries if (entry.backend, entry.model) == ("sam", "demo"))
    assert demo.present
    assert len(demo.weights) == 32
    assert not next(entry for entry in entries if entry.model == "vit_h").present
