"""Texts of any kind: what the tokenizer cannot read is said, what is stored comes back, nothing breaks."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from labelgen.datasets.checks.texts import reading_problem
from labelgen.semantics import make_encoder
from labelgen.semantics.settings import OpenClipSettings
from labelgen.shards import StoredRun
from tests.helpers.clip_folder import write_clip_folder
from tests.helpers.runs import make_run, some_records, write

TEXTS = [
    "a red car",
    "横断歩道の前の赤い車",
    "красная машина на дороге",
    "سيارة حمراء",
    "🚗🚶‍♀️" * 40,
    "a very long caption " * 5000,
    "\x00\x07 \udcff",
    "<|endoftext|> a car",
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    folder = write_clip_folder(tmp_path_factory.mktemp("clip"))
    return make_encoder(OpenClipSettings(checkpoint=str(folder), mode="crop"), "cpu")


def test_every_text_has_a_feature(encoder):
    texts = [text.encode("utf-8", "replace").decode() for text in TEXTS]
    feature = encoder.embed(texts)
    assert np.isfinite(feature).all()
    np.testing.assert_allclose(np.linalg.norm(feature, axis=1), 1, rtol=1e-5)


def test_what_is_beyond_the_context_does_not_count(encoder):
    long = "a car " * 200
    np.testing.assert_array_equal(encoder.embed([long]), encoder.embed([long + "a tree"]))
    assert "the rest is cut off" in reading_problem(encoder.tokenizer, long)


def test_every_byte_is_known(encoder):
    assert reading_problem(encoder.tokenizer, "a car") == ""
    assert reading_problem(encoder.tokenizer, "車") == ""
    assert "reads nothing" in reading_problem(encoder.tokenizer, "")


def test_unknown_tokens_are_counted():
    """As a tokenizer of transformers around which open_clip puts its own."""

    class Inner:
        unk_token_id = 7

        def __call__(self, text):
            return {"input_ids": [7 if word == "zebu" else 3 for word in text.split()]}

    tokenizer = SimpleNamespace(tokenizer=Inner(), context_length=6)
    assert reading_problem(tokenizer, "a zebu") == "1 of its 2 tokens are unknown to the tokenizer"
    assert reading_problem(tokenizer, "a cow") == ""
    assert "7 tokens, but the encoder reads only 6" in reading_problem(tokenizer, "a b c d e f g")


def test_captions_come_back_as_they_were(tmp_path):
    (record,) = some_records(2, count=1, captions=True)
    texts = tuple((TEXTS * 2)[k] for k in range(len(record.regions)))
    run = make_run(tmp_path / "run")
    write(run, [replace(record, semantics=replace(record.semantics, caption=texts))])
    stored = StoredRun(run).frame(record.frame_id).semantics.caption
    assert stored == tuple(text.encode("utf-8", "replace").decode() for text in texts)
