"""Training of the demo BLIP-2: it learns, resumes, and survives being written."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from labelgen.demo.small_models import crop_bank, train_blip2, train_clip, training
from labelgen.demo.small_models.train_blip2 import (
    IMAGE_SIZE,
    QUERIES,
    caption_losses,
    captions_of,
    draw_pixels,
    make_model,
    make_processor,
    token_rows,
    write_blip2,
)
from labelgen.semantics.blip2 import load_blip2
from tests.helpers.blip2_folder import small_bank

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bank():
    return small_bank()


@pytest.fixture
def quick(monkeypatch):
    """Few crops a step, and a clock that goes on by one second whenever it is read."""
    now = [0.0]

    def monotonic():
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(training.time, "monotonic", monotonic)
    monkeypatch.setattr(train_blip2, "CROPS", 12)
    monkeypatch.setattr(train_blip2, "CAPTIONED", 8)


def test_captions_have_one_form(bank):
    assert sorted(captions_of(bank)) == [
        "brown dog on the road",
        "grey road in the street",
        "parked red bus on the road",
        "sky",
    ]


def test_the_processor_knows_all_words(bank):
    tokenizer = make_processor(bank).tokenizer
    for text in captions_of(bank) + bank.phrases:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text.lower()
    assert tokenizer.unk_token_id in tokenizer("日本語 bus")["input_ids"]


@pytest.mark.parametrize("trainer", [train_blip2, train_clip])
def test_pixels_and_cells_are_mirrored_together(bank, trainer, monkeypatch):
    monkeypatch.setattr(crop_bank, "SHIFT", 0)
    ramp = np.arange(64)
    crops = np.broadcast_to((40 + 2 * ramp)[None, :, None], (2, 64, 64, 3)).astype(np.uint8)
    cells = np.broadcast_to(ramp[:8], (2, 8, 8)).astype(np.int8)
    bank = replace(bank, crops=crops, cells=cells)
    pixels, got = trainer.draw_pixels(bank, np.zeros(40, int), np.random.default_rng(0))
    if trainer is train_clip:
        pixels = pixels.transpose(0, 3, 1, 2)
    assert pixels.shape == (40, 3, 64, 64)
    rising = (np.diff(pixels, axis=3) > 0).all(axis=(1, 2, 3))
    np.testing.assert_array_equal((np.diff(got, axis=2) > 0).all(axis=(1, 2)), rising)
    assert 5 < rising.sum() < 35
    np.testing.assert_array_equal(bank.cells[0, 0], ramp[:8], "the bank stays as it is")


def test_crops_are_moved_by_a_sixteenth_at_most(bank):
    ramp = np.arange(64)
    slope = (2 * ramp[:, None] + ramp).astype(np.uint8)
    crops = np.broadcast_to(slope[None, :, :, None], (2, 64, 64, 3))
    drawn, _ = replace(bank, crops=crops, cells=np.zeros((2, 8, 8), np.int8)).draw(
        np.zeros(60, int), np.random.default_rng(0)
    )
    middle = drawn[:, 30:34, 30:34, 0].astype(int)
    down = middle[:, 1, 1] - middle[:, 0, 1]
    assert (down == 2).all()
    mirrored = middle[:, 0, 1] < middle[:, 0, 0]
    row_and_column = middle[:, 0, 0] - np.where(mirrored, 60 + 33, 60 + 30)
    assert len(np.unique(row_and_column)) > 8
    assert np.abs(row_and_column).max() <= 12


def test_the_loss_is_transformers_own(bank):
    processor = make_processor(bank)
    model = make_model(processor, torch.randn(4, 3, IMAGE_SIZE, IMAGE_SIZE)).eval()
    ids = token_rows(processor, captions_of(bank))
    pixels = torch.randn(len(ids), 3, IMAGE_SIZE, IMAGE_SIZE)
    tokenizer = processor.tokenizer
    unsaid = (ids == tokenizer.pad_token_id) | (ids == tokenizer.convert_tokens_to_ids("<image>"))
    labels = ids.masked_fill(unsaid, -100)
    labels[:, QUERIES] = -100
    with torch.no_grad():
        want = model(pixels, ids, attention_mask=(ids != tokenizer.pad_token_id).long(), labels=labels).loss
        got = caption_losses(model, model.vision_model(pixels).last_hidden_state, ids)
    torch.testing.assert_close(got["caption_error"], want, atol=1e-5, rtol=0)


def test_it_learns_and_goes_on_after_the_end(bank, quick, tmp_path):
    model, processor, steps = train_blip2.train_blip2(bank, tmp_path / "work", minutes=0.6, device=CPU)
    assert steps == 36
    lines = [json.loads(line) for line in (tmp_path / "work" / "metrics.jsonl").read_text().splitlines()]
    for name in ("loss", "caption_error", "class_error", "patch_error"):
        assert lines[-1][name] < 0.7 * lines[0][name], name

    again, _, steps = train_blip2.train_blip2(bank, tmp_path / "work", minutes=0.6, device=CPU)
    assert steps == 36
    torch.testing.assert_close(dict(again.state_dict()), dict(model.state_dict()), rtol=0, atol=0)

    write_blip2(model, processor, tmp_path / "out")
    loaded, other, _ = load_blip2("demo", str(tmp_path / "out"), CPU)
    for name, value in loaded.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name].half().float(), rtol=0, atol=0)
    assert other.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert all(p.dtype == torch.float32 for p in model.parameters()), "writing leaves the model as it was"


def test_steps_depend_on_their_number_alone(bank):
    rows = np.arange(4)
    one, two = (draw_pixels(bank, rows, np.random.default_rng([4, 7])) for _ in range(2))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
