"""Trains the demo BLIP-2 to describe crops of the simulated city."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipImageProcessor,
    PreTrainedTokenizerFast,
)

from labelgen.demo.small_models.captions import VOID_WORDS, caption
from labelgen.demo.small_models.crop_bank import CropBank
from labelgen.demo.small_models.training import Report, train
from labelgen.demo.small_models.vit_start import start_vision
from labelgen.semantics.blip2 import load_blip2, quiet

CROPS, CAPTIONED = 112, 48  #: per step

IMAGE_SIZE, PATCH_SIZE = 80, 16
MEAN, DEVIATION = 0.45, 0.25  #: of the pixels, in 0..1
QUERIES = 8  #: tokens between image and language

LEARNING_RATE = 1.5e-3  #: the highest
WARM_RATE = 4e-4  #: the highest, from the shipped weights on

#: A class is drawn this power of its frequency as often: between as it comes (1) and all alike (0).
BALANCE = 0.5

# transformers' own classes are typed too loosely to be of use here: models and processors are `Any`.
PAD, END, UNKNOWN, IMAGE = "<pad>", "</s>", "<unk>", "<image>"


def captions_of(bank: CropBank) -> list[str]:
    """N captions, all of one form: "parked red car on the road"."""

    def word(names: list[str], number: int) -> str:
        return names[number] if number >= 0 else ""

    return [
        caption(
            "{}",
            bank.nouns[bank.noun[row]],
            colour=word(bank.colours, bank.true_colour[row]),
            place=word(bank.places, bank.place[row]),
            action=word(bank.actions, bank.action[row]),
        )
        for row in range(len(bank.noun))
    ]


def make_processor(bank: CropBank) -> Any:
    """A `Blip2Processor`: pixels to the model's scale, and words to numbers.

    The vocabulary holds the words of all phrases that may be said of a crop.
    """
    phrases = [*bank.phrases, *bank.nouns, *bank.colours, *bank.places, *bank.actions]
    words = sorted({word for phrase in phrases for word in phrase.lower().split()})
    table = {word: number for number, word in enumerate([PAD, END, UNKNOWN, IMAGE, *words])}
    core = Tokenizer(models.WordLevel(table, unk_token=UNKNOWN))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        pad_token=PAD,
        bos_token=END,
        eos_token=END,
        unk_token=UNKNOWN,
        extra_special_tokens={"image_token": IMAGE},
        model_max_length=32,
    )
    images = BlipImageProcessor(
        size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}, image_mean=[MEAN] * 3, image_std=[DEVIATION] * 3
    )
    return Blip2Processor(images, tokenizer, num_query_tokens=QUERIES)  # type: ignore[no-untyped-call]


def make_model(processor: Any, pixels: Tensor) -> Any:
    """A small `Blip2ForConditionalGeneration`: random weights, but the vision tower starts as in `vit_start`.

    Args:
        processor: gives the vocabulary.
        pixels: (B, 3, S, S) examples, normalised.
    """
    tokenizer = processor.tokenizer
    special = {
        name: tokenizer.convert_tokens_to_ids(token)
        for name, token in (("pad_token_id", PAD), ("bos_token_id", END), ("eos_token_id", END))
    }
    config = Blip2Config(
        vision_config={
            "hidden_size": 160,
            "intermediate_size": 480,
            "num_hidden_layers": 4,
            "num_attention_heads": 5,
            "image_size": IMAGE_SIZE,
            "patch_size": PATCH_SIZE,
            "hidden_act": "relu",
            "initializer_range": 0.02,
        },
        qformer_config={
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "cross_attention_frequency": 1,
            "hidden_act": "relu",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "vocab_size": len(tokenizer),
        },
        text_config={
            "model_type": "opt",
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "word_embed_proj_dim": 128,
            "ffn_dim": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
            "dropout": 0.0,
            **special,
        },
        num_query_tokens=QUERIES,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
    )
    torch.manual_seed(0)
    model = Blip2ForConditionalGeneration(config)
    for module in model.modules():
        if isinstance(module, nn.Linear) and module is not model.language_model.lm_head:
            nn.init.trunc_normal_(module.weight, std=0.6 * module.in_features**-0.5)
    nn.init.normal_(model.query_tokens)  # transformers leaves them equal, and equal they would stay
    start_vision(model.vision_model, pixels)
    return model


class Trainee(nn.Module):
    """The model with the heads that help while it trains: classes of crops and of patches."""

    def __init__(self, model: Any, classes: int) -> None:
        super().__init__()
        self.model = model
        width = model.config.vision_config.hidden_size
        self.classes = nn.Linear(2 * width, classes)
        self.cells = nn.Linear(width, classes)


def train_blip2(
    bank: CropBank,
    folder: Path,
    *,
    minutes: float,
    device: torch.device,
    warm_start: bool = False,
    report: Report | None = None,
) -> tuple[Any, Any, int]:
    """Train the demo BLIP-2; see `labelgen.demo.small_models.training.train` for budget and resumption.

    Beside the captions, throw-away heads on the vision tower learn the class of the crop and the class at
    every patch: the tower learns from them in a fraction of the steps that captions alone would take.

    Args:
        bank: training crops, `IMAGE_SIZE` pixels wide, a cell per patch.
        folder: of this training run.
        minutes: budget.
        device: where to train.
        warm_start: begin with the shipped model and its words.
        report: called with each line of metrics.

    Returns:
        The model, its processor, and the number of steps taken.
    """
    if warm_start:
        model, processor, _ = load_blip2("demo", None, torch.device("cpu"))
    else:
        processor = make_processor(bank)
        some = np.random.default_rng(4).integers(0, len(bank.crops), 512)
        examples = (bank.crops[some].transpose(0, 3, 1, 2).astype(np.float32) / 255 - MEAN) / DEVIATION
        model = make_model(processor, torch.from_numpy(examples))
    # On CPUs the backward pass of the fused attention takes several times as long as the plain one.
    model.set_attn_implementation("sdpa" if device.type == "cuda" else "eager")
    voids = {word for words in VOID_WORDS.values() for word in words}
    void = bank.fits[:, [phrase in voids for phrase in bank.phrases]].any(axis=1)
    C = len(bank.class_phrases)
    trainee = Trainee(model, C + 1).to(device)
    target = np.where(void, C, bank.label)
    labels, counts = np.unique(target, return_counts=True)
    chance = (counts**BALANCE / counts)[np.searchsorted(labels, target)]
    chance /= chance.sum()
    texts, number = np.unique(captions_of(bank), return_inverse=True)
    tokens = token_rows(processor, texts.tolist())

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([4, step])
        rows = rng.choice(len(chance), CROPS, p=chance)
        pixels, cells = (torch.from_numpy(part).to(device) for part in draw_pixels(bank, rows, rng))
        ids = tokens[torch.from_numpy(number[rows[:CAPTIONED]])].to(device)
        with torch.autocast(device.type, torch.bfloat16):
            patches = model.vision_model(pixels).last_hidden_state
            whole = torch.cat([patches[:, 0], patches[:, 1:].mean(dim=1)], dim=1)
            classes, parts = trainee.classes(whole), trainee.cells(patches[:, 1:])
            result = caption_losses(model, patches[:CAPTIONED], ids)
        wanted = torch.from_numpy(target[rows]).to(device)
        result["class_error"] = F.cross_entropy(classes.float(), wanted, ignore_index=-1)
        result["class_right"] = (classes.argmax(dim=1) == wanted)[wanted >= 0].float().mean()
        result["patch_error"] = F.cross_entropy(
            parts.float().flatten(0, 1), cells.flatten().long(), ignore_index=-1
        )
        result["loss"] = result["caption_error"] + result["class_error"] + result["patch_error"]
        return result

    rate = WARM_RATE if warm_start else LEARNING_RATE
    steps = train(trainee, losses, folder, minutes=minutes, learning_rate=rate, report=report)
    return model, processor, steps


def caption_losses(model: Any, patches: Tensor, ids: Tensor) -> dict[str, Tensor]:
    """The language model's loss, as `Blip2ForConditionalGeneration.forward` has it.

    Args:
        model: all parts of it but the vision tower are used.
        patches: (B, P, W) what the vision tower gives.
        ids: (B, L), see `token_rows`.
    """
    text = model.config.text_config
    ids = ids[:, : int((ids != text.pad_token_id).sum(dim=1).max())]
    queries = model.query_tokens.expand(len(ids), -1, -1)
    seen = model.qformer(query_embeds=queries, encoder_hidden_states=patches).last_hidden_state
    words = model.get_input_embeddings()(ids[:, QUERIES:-1])
    logits = model.language_model(
        inputs_embeds=torch.cat([model.language_projection(seen), words.to(seen.dtype)], dim=1)
    ).logits[:, QUERIES:]
    said = ids[:, QUERIES + 1 :]
    real = said != text.pad_token_id
    return {
        "caption_error": F.cross_entropy(logits[real].float(), said[real]),
        "word_right": (logits.argmax(dim=2) == said)[real & (said != text.eos_token_id)].float().mean(),
    }


def draw_pixels(
    bank: CropBank, rows: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Some crops, mirrored, moved, brighter or darker, with more or less contrast, and their cells.

    Returns:
        (B, 3, S, S) float32, normalised, and (B, G, G) int8.
    """
    crops, cells = bank.draw(rows, rng)
    B = len(rows)
    gain, gamma = rng.uniform(0.75, 1.25, (2, B, 1))
    table = np.clip(np.arange(256) / 255 * gain, 0, 1) ** gamma
    table = ((table - MEAN) / DEVIATION).astype(np.float32)
    pixels = table[np.arange(B)[:, None, None, None], crops.transpose(0, 3, 1, 2)]
    return pixels, cells


def write_blip2(model: Any, processor: Any, folder: Path) -> None:
    """Write configuration, processor, and weights as float16 safetensors, as transformers does it."""
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():
        deepcopy(model).half().save_pretrained(folder)
        processor.save_pretrained(folder)


def token_rows(processor: Any, texts: list[str]) -> Tensor:
    """(T, L) int64: places of the image, the start, the words, the end, padding."""
    tokenizer = processor.tokenizer
    head = [tokenizer.convert_tokens_to_ids(IMAGE)] * QUERIES + [tokenizer.bos_token_id]
    rows = [[*head, *ids, tokenizer.eos_token_id] for ids in tokenizer(texts)["input_ids"]]
    length = max(map(len, rows))
    return torch.tensor([row + [tokenizer.pad_token_id] * (length - len(row)) for row in rows])
