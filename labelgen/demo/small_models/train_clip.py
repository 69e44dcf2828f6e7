"""Trains the demo CLIP on crops of the simulated city and captions of what they show."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from labelgen.core.taxonomy import Taxonomy
from labelgen.demo.small_models.bpe import learn_merges, write_merges
from labelgen.demo.small_models.captions import TEMPLATES, VOID_WORDS, caption
from labelgen.demo.small_models.crop_bank import CropBank
from labelgen.demo.small_models.training import Report, train
from labelgen.models.shipped import BPE_FILE, shipped_dir

CROPS, CAPTIONS = 112, 64  #: per step

#: All words for what means no label.
VOID = frozenset(word for words in VOID_WORDS.values() for word in words)

#: Of the cosines at the start; open_clip's own, 14, is for training runs a thousand times as long.
START_SCALE = 25.0

#: A class is drawn this power of its frequency as often: between as it comes (1) and all alike (0).
BALANCE = 0.5

LEARNING_RATE = 1.5e-3  #: the highest
WARM_RATE = 6e-4  #: the highest, from the shipped weights on


def vocabulary_texts(bank: CropBank, taxonomy: Taxonomy) -> list[str]:
    """Texts from which the byte-pair merges are learnt: every phrase in every template."""
    templates = [*TEMPLATES, *taxonomy.templates]
    texts = []
    for k, phrase in enumerate(bank.phrases):
        for j, template in enumerate(templates):
            words = [
                group[(k + j) % len(group)] if group else ""
                for group in (bank.colours, bank.places, bank.actions)
            ]
            texts.append(caption(template, phrase, *words))
    return texts


def start_model(bank: CropBank, taxonomy: Taxonomy, folder: Path, warm_start: bool) -> tuple[Any, Any]:
    """The model and its tokenizer; without a warm start, its merges are learnt and put into ``folder``."""
    shipped = shipped_dir("clip")
    merges = shipped / BPE_FILE if warm_start else folder / BPE_FILE
    if not merges.is_file():
        vocab = open_clip.get_model_config(f"local-dir:{shipped}")["text_cfg"]["vocab_size"]
        folder.mkdir(parents=True, exist_ok=True)
        write_merges(learn_merges(vocabulary_texts(bank, taxonomy), vocab), merges)
    torch.manual_seed(0)
    name = f"local-dir:{shipped}"
    model = open_clip.create_model(name, load_weights=warm_start)
    if not warm_start:
        model.logit_scale.data.fill_(math.log(START_SCALE))
    return model, open_clip.get_tokenizer(name, bpe_path=str(merges))


def draw_captions(
    bank: CropBank, rows: NDArray[np.int64], taxonomy: Taxonomy, rng: np.random.Generator
) -> tuple[list[str], NDArray[np.bool_]]:
    """Captions of some crops, and which crops of the batch each of them fits.

    Args:
        bank: all crops.
        rows: (B,) crops of the batch; the first `CAPTIONS` of them are captioned.
        taxonomy: its templates are among those used.
        rng: source of all that is random.

    Returns:
        T captions and (B, T) bool.
    """
    templates = [*TEMPLATES, *taxonomy.templates]
    captions, fits = [], []
    for row in rows[:CAPTIONS]:
        phrase = int(rng.choice(np.flatnonzero(bank.fits[row])))
        match = bank.fits[rows, phrase]
        words = []
        for values, names, share in (
            (bank.colour, bank.colours, 0.3),
            (bank.place, bank.places, 0.1),
            (bank.action, bank.actions, 0.1),
        ):
            said = values[row] >= 0 and rng.random() < share
            words.append(names[values[row]] if said else "")
            if said:
                match = match & (values[rows] == values[row])
        captions.append(caption(templates[rng.integers(len(templates))], bank.phrases[phrase], *words))
        fits.append(match)
    return captions, np.stack(fits, axis=1)


def class_prompts(bank: CropBank, taxonomy: Taxonomy, rng: np.random.Generator) -> list[str]:
    """One prompt for every class and one for void, in that order: any phrase of it in any template."""
    templates = [*TEMPLATES, *taxonomy.templates]
    groups = [*bank.class_phrases, sorted(VOID)]
    return [
        caption(templates[rng.integers(len(templates))], group[rng.integers(len(group))]) for group in groups
    ]


def draw_pixels(
    bank: CropBank, rows: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Some crops in 0..1 and their cells: mirrored, moved, brighter or darker, with more or less contrast."""
    crops, cells = bank.draw(rows, rng)
    gain, gamma = rng.uniform(0.75, 1.25, (2, len(rows), 1, 1, 1)).astype(np.float32)
    return np.clip(crops.astype(np.float32) / 255 * gain, 0, 1) ** gamma, cells


def contrastive_losses(image: Tensor, text: Tensor, fits: Tensor, scale: Tensor) -> dict[str, Tensor]:
    """Image-text contrast in which a crop may fit several captions (Yang et al. 2022, UniCL, eq. 3 to 5).

    Args:
        image: (B, D), L2-normalised.
        text: (T, D), L2-normalised.
        fits: (B, T) bool; every caption fits at least one crop.
        scale: factor of the cosines.
    """
    logits = scale * image @ text.T
    weight = fits.float()
    some = fits.any(dim=1)
    to_text = -(F.log_softmax(logits[some], dim=1) * weight[some]).sum(1) / weight[some].sum(1)
    to_image = -(F.log_softmax(logits, dim=0) * weight).sum(0) / weight.sum(0)
    right = fits[some].gather(1, logits[some].argmax(dim=1, keepdim=True)).float().mean()
    return {"loss": (to_text.mean() + to_image.mean()) / 2, "caption_right": right, "scale": scale}


def image_and_patches(visual: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Features of whole crops and of their patches, both in the space of the texts.

    Patches go through the values of the attention that pools the image (MaskCLIP, Zhou et al. 2022,
    arXiv 2112.01071, section 3.2), so that the dense map is trained, too.

    Args:
        visual: open_clip's `ModifiedResNet`.
        pixels: (B, 3, S, S), normalised.

    Returns:
        (B, D) and (B, P, D), P = (S / 32) ** 2.
    """
    out = visual.forward_intermediates(pixels, indices=1)
    tokens = out["image_intermediates"][0].flatten(2).transpose(1, 2)
    pool = visual.attnpool
    return out["image_features"], pool.c_proj(pool.v_proj(tokens))


def train_clip(
    bank: CropBank,
    taxonomy: Taxonomy,
    folder: Path,
    *,
    minutes: float,
    device: torch.device,
    warm_start: bool = False,
    report: Report | None = None,
) -> tuple[Any, Path, int]:
    """Train the demo CLIP; see `labelgen.demo.small_models.training.train` for budget and resumption.

    Args:
        bank: training crops.
        taxonomy: classes that are balanced, and templates.
        folder: of this training run.
        minutes: budget.
        device: where to train.
        warm_start: begin with the shipped weights and merges.
        report: called with each line of metrics.

    Returns:
        The model, the file of its merges, and the number of steps taken.
    """
    model, tokenizer = start_model(bank, taxonomy, folder, warm_start)
    model.to(device).visual.to(memory_format=torch.channels_last)
    mean, std = (np.float32(v) for v in (model.visual.image_mean, model.visual.image_std))
    labels, counts = np.unique(bank.label, return_counts=True)
    chance = (counts**BALANCE / counts)[np.searchsorted(labels, bank.label)]
    chance /= chance.sum()
    void = bank.fits[:, [phrase in VOID for phrase in bank.phrases]].any(axis=1)

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([3, step])
        rows = rng.choice(len(chance), CROPS, p=chance)
        captions, fits = draw_captions(bank, rows, taxonomy, rng)
        prompts = class_prompts(bank, taxonomy, rng)
        pixels, cells = draw_pixels(bank, rows, rng)
        # Transposing leaves the channels last in memory, which convolutions are fastest with.
        tensor = torch.from_numpy(((pixels - mean) / std).transpose(0, 3, 1, 2)).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            image, patches = image_and_patches(model.visual, tensor)
            text = model.encode_text(tokenizer(captions + prompts).to(device))
        image, patches, text = (F.normalize(value.float(), dim=-1) for value in (image, patches, text))
        scale = model.logit_scale.exp().clamp(max=100)
        losses = contrastive_losses(image, text[:CAPTIONS], torch.from_numpy(fits).to(device), scale)
        names = text[CAPTIONS:]
        target = torch.from_numpy(np.where(void[rows], len(taxonomy), bank.label[rows])).to(device)
        whole = scale * image @ names.T
        losses["class_error"] = F.cross_entropy(whole, target, ignore_index=-1)
        at = torch.from_numpy(cells.reshape(len(cells), -1).astype(np.int64)).to(device)
        losses["patch_error"] = F.cross_entropy(
            (scale * patches @ names.T).flatten(0, 1), at.flatten(), ignore_index=-1
        )
        losses["class_right"] = (whole.argmax(1) == target)[target >= 0].float().mean()
        losses["loss"] = losses["loss"] + losses["class_error"] + losses["patch_error"]
        return losses

    rate = WARM_RATE if warm_start else LEARNING_RATE
    steps = train(model, losses, folder, minutes=minutes, learning_rate=rate, report=report)
    merges = (shipped_dir("clip") if warm_start else folder) / BPE_FILE
    return model, merges, steps
