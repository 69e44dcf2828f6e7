"""Trains the demo Sam on the simulated city: point and box prompts, three masks, their quality."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from segment_anything.modeling import Sam
from torch import Tensor, nn

from labelgen.core.taxonomy import load_taxonomy
from labelgen.demo.small_models.captions import class_of
from labelgen.demo.small_models.pictures import PictureStore
from labelgen.demo.small_models.sam_samples import Sample, draw_sample
from labelgen.demo.small_models.training import Report, train
from labelgen.models.checkpoints import load_weights, read_state_dict
from labelgen.models.conv_encoder import STRIDE
from labelgen.models.shipped import build_sam, shipped_dir

#: Pictures per step and prompts per picture, in steps of windows and in steps of whole pictures.
WINDOWS, WHOLES = (12, 6), (2, 16)
DENSE_STEPS = 1000  #: at the start, with the dense heads alone, which costs a third
DENSE_WEIGHT = 0.3  #: of the dense heads' losses
WINDOW = (128, 224)  #: (rows, columns) of a window at the network's input
WHOLE_EVERY = 4  #: every so many steps shows whole pictures; every other of them has the padding, as in use
BOX_EVERY = 10  #: every so many steps the prompts are boxes
LEARNING_RATE = 1.2e-3  #: the highest
WARM_RATE = 8e-4  #: the highest, from the shipped weights on
PROMPT_GAIN = 2.5  #: of the position code in the decoder's attention at the start
CODE_GAIN = 2.0  #: of the position code's frequencies: cells are small, and so are objects


class DenseHead(nn.Module):
    """What every cell of a feature map shall know of its object; thrown away after training.

    Class and box of the object at the cell, and which other cells belong to it: masks by the product of
    one cell's features, through a learnt matrix, with all others'. With so few pictures the decoder alone
    teaches the encoder too slowly what an object is.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.classes, self.box = nn.Conv2d(dim, classes, 1), nn.Conv2d(dim, 4, 1)
        self.query = nn.Linear(dim, dim)
        self.query.weight.data = torch.eye(dim) / dim**0.5
        self.bias = nn.Parameter(torch.tensor(-1.0))

    def forward(
        self, features: Tensor, truth: tuple[Tensor, Tensor], sample: Sample, power: float
    ) -> tuple[Tensor, Tensor]:
        """Loss (class, box with distances on a square-root scale, masks), and the masks' mean IoU.

        Args:
            features: (1, D, rows, columns), padded below or not.
            truth: of the map's cells, an entry of `Sample.dense`.
            sample: its prompts and masks.
            power: of `_balanced_entropy`.
        """
        classes, box = (value[None].to(features.device) for value in truth)
        features = features[:, :, : classes.shape[1], : classes.shape[2]]
        error = F.l1_loss(self.box(features), box.clamp(min=0).sqrt())
        masks = F.adaptive_avg_pool2d(
            sample.whole.to(features.device), (features.shape[2], features.shape[3])
        )
        cell = sample.image.shape[2] / features.shape[3]
        x, y = (sample.point / cell).long().to(features.device).unbind(1)
        query = self.query(features[0, :, y.clamp(max=masks.shape[1] - 1), x].T)
        logits = torch.einsum("pd,dhw->phw", query, features[0]) + self.bias
        match = 2 * _balanced_entropy(logits, masks, power) + 3 * _dice(logits.sigmoid(), masks).mean()
        iou = _iou(logits[:, None] > 0, masks > 0.5).mean()
        return F.cross_entropy(self.classes(features), classes) + 4 * error + match, iou


def look_at_the_prompt(sam: Sam) -> None:
    """Start the decoder's attention so that a prompt attends to its own place, and its place to it.

    Queries and keys share one projection that picks the sines and cosines of the lowest frequencies of
    the position code, so that their product is a sum of cosines of the distance; contents start small
    beside it, values pass unchanged. Learnt from random weights this takes many thousand pictures.
    """
    transformer = sam.mask_decoder.transformer
    layers = list(transformer.layers)
    across = [layer.cross_attn_token_to_image for layer in layers] + [transformer.final_attn_token_to_image]
    across += [layer.cross_attn_image_to_token for layer in layers]
    with torch.no_grad():
        code = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
        code.mul_(CODE_GAIN)
        frequency = code.norm(dim=0)
        pairs, count = frequency.argsort().tolist(), len(frequency)
        for attention in across:
            width = attention.internal_dim // attention.num_heads
            weight = 0.02 * torch.randn_like(attention.q_proj.weight)
            for head in range(attention.num_heads):
                for k, pair in enumerate(pairs[head * width // 2 :][: width // 2]):
                    weight[head * width + 2 * k, pair] = PROMPT_GAIN
                    weight[head * width + 2 * k + 1, count + pair] = PROMPT_GAIN
            for projection in (attention.q_proj, attention.k_proj):
                projection.weight.copy_(weight)
                projection.bias.zero_()
        for attention in across + [layer.self_attn for layer in layers]:
            nn.init.orthogonal_(attention.v_proj.weight)
            attention.out_proj.weight.copy_(attention.v_proj.weight.T)
        for layer in layers:
            for norm in (layer.norm1, layer.norm2, layer.norm3, layer.norm4):
                norm.weight.fill_(0.5)
        sam.image_encoder.neck[-1].weight.fill_(0.5)
        for embedding in sam.prompt_encoder.point_embeddings:
            embedding.weight.mul_(0.2)
        for tokens in (sam.mask_decoder.mask_tokens, sam.mask_decoder.iou_token):
            tokens.weight.mul_(0.5)


def sam_losses(
    sam: Sam,
    heads: nn.ModuleList,
    samples: Sequence[Sample],
    *,
    power: float,
    decode: bool = True,
    boxes: bool = False,
    padded: bool = False,
) -> dict[str, Tensor]:
    """Losses of some pictures.

    Args:
        sam: the model.
        heads: a `DenseHead` for the embedding and one for its upscaled features.
        samples: pictures of one size.
        power: of `_balanced_entropy`.
        decode: prompt the decoder; without it only the dense heads teach.
        boxes: prompt with boxes, not with points.
        padded: the decoder sees the embedding's padding.
    """
    device = sam.device
    images = torch.stack([sample.image.to(device) for sample in samples])
    images = (images - sam.pixel_mean) / sam.pixel_std
    cells = sam.image_encoder.img_size // STRIDE
    rows, columns = (-(-size // STRIDE) for size in images.shape[2:])
    images = F.pad(images, (0, 0, 0, sam.image_encoder.img_size - images.shape[2]))
    with torch.autocast(device.type, torch.bfloat16):
        embeddings = sam.image_encoder(images.contiguous(memory_format=torch.channels_last))
        embeddings = embeddings[:, :, : cells if padded else rows, :columns]
        upscaled = sam.mask_decoder.output_upscaling(embeddings)
    parts = []
    for embedding, fine, sample in zip(embeddings, upscaled, samples, strict=True):
        dense = [
            head(features[None].float(), truth, sample, power)
            for head, features, truth in zip(heads, (embedding, fine), sample.dense, strict=True)
        ]
        loss = torch.stack([loss for loss, _ in dense]).mean()
        part = {"loss": DENSE_WEIGHT * loss, "dense_error": loss, "dense_iou": dense[1][1]}
        if decode:
            decoded = _decoder_losses(sam, embedding[None], sample, boxes, power)
            part |= decoded | {"loss": part["loss"] + decoded["loss"]}
        parts.append(part)
    return {name: torch.stack([part[name] for part in parts]).mean() for name in parts[0]}


def _decoder_losses(
    sam: Sam, embedding: Tensor, sample: Sample, boxes: bool, power: float
) -> dict[str, Tensor]:
    """As SAM's (Kirillov et al. 2023, appendix A): masks and their quality.

    Of the three masks of a point only the best is trained on (cross-entropy plus dice); the quality head
    is trained on all, towards the IoU with whichever of object and piece fits better.
    """
    device = sam.device
    whole, piece = sample.whole.to(device), sample.piece.to(device)
    # A window keeps its place in the picture: prompts and position codes are those of the whole.
    place = tuple(slice(c, c + n) for c, n in zip(sample.corner, embedding.shape[2:], strict=True))
    corner = torch.tensor(sample.corner[::-1], dtype=torch.float32, device=device) * STRIDE
    # Outside of autocast: with bfloat16's eight bits the codes of neighbouring cells would be the same.
    sparse, dense = sam.prompt_encoder(
        points=None
        if boxes
        else ((sample.point.to(device) + corner)[:, None], torch.ones(len(whole), 1, device=device)),
        boxes=sample.box.to(device) + corner.repeat(2) if boxes else None,
        masks=None,
    )
    code = sam.prompt_encoder.get_dense_pe()[:, :, *place]
    with torch.autocast(device.type, torch.bfloat16):
        logits, quality = sam.mask_decoder(
            image_embeddings=embedding,
            image_pe=code,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense[:, :, *place],
            multimask_output=not boxes,
        )
    # Masks have half of the input's side, as the targets; the rows of the padding are not learnt.
    logits = logits.float()[:, :, : whole.shape[1], : whole.shape[2]]
    with torch.no_grad():
        # Objects in several pieces: either answer is right; the nearer of the two is learnt.
        fits = torch.stack([_iou(logits > 0, target > 0.5) for target in (whole, piece)])
        quality_target = fits.amax(dim=0)
        use_piece = fits[1].amax(dim=1) > fits[0].amax(dim=1)
        target = torch.where(use_piece[:, None, None], piece, whole)
        best = _dice(logits.sigmoid(), target[:, None]).argmin(dim=1)
    mask = logits[torch.arange(len(best)), best]
    entropy, dice = _balanced_entropy(mask, target, power), _dice(mask.sigmoid(), target).mean()
    iou_error = F.mse_loss(quality.float(), quality_target)
    best_iou = quality_target.amax(dim=1)
    return {
        "loss": 2 * entropy + 3 * dice + iou_error,
        "entropy": entropy,
        "dice": dice,
        "iou_error": iou_error,
        "best_iou": best_iou.mean(),
        "found": (best_iou > 0.5).float().mean(),
    }


def _iou(masks: Tensor, target: Tensor) -> Tensor:
    """(P, M) IoU of (P, M, h, w) bool masks with (P, h, w) bool targets."""
    both = (masks & target[:, None]).sum(dim=(2, 3))
    either = (masks | target[:, None]).sum(dim=(2, 3))
    return both / either.clamp(min=1)


def _balanced_entropy(logits: Tensor, target: Tensor, power: float) -> Tensor:
    """Cross-entropy in which object and rest weigh by a power of their areas.

    With power 1, empty masks would be the first thing learnt, and small objects would never recover;
    with power 0, object and rest weigh the same, and masks end up too large.
    """
    area = target.mean(dim=(1, 2), keepdim=True).clamp(1e-4, 1 - 1e-4)
    inside, outside = area**power, (1 - area) ** power
    weight = (target * inside / area + (1 - target) * outside / (1 - area)) / (inside + outside)
    return F.binary_cross_entropy_with_logits(logits, target, weight=weight)


def _dice(soft: Tensor, target: Tensor) -> Tensor:
    """Dice loss over the last two axes (Milletari et al. 2016)."""
    both = (soft * target).sum(dim=(-2, -1))
    return 1 - (2 * both + 1) / (soft.sum(dim=(-2, -1)) + target.sum(dim=(-2, -1)) + 1)


def train_sam(
    store: PictureStore,
    folder: Path,
    *,
    minutes: float,
    device: torch.device,
    warm_start: bool = False,
    report: Report | None = None,
) -> tuple[Sam, int]:
    """Train the demo Sam; see `labelgen.demo.small_models.training.train` for budget and resumption.

    Args:
        store: the training pictures.
        folder: of this training run.
        minutes: budget.
        device: where to train.
        warm_start: begin with the shipped weights instead of random ones.
        report: called with each line of metrics.

    Returns:
        The model and the number of steps taken.
    """
    torch.manual_seed(0)
    sam = build_sam(json.loads((shipped_dir("sam") / "config.json").read_text()))
    if warm_start:
        weights = shipped_dir("sam") / "model.safetensors"
        load_weights(sam, read_state_dict(weights), weights, "sam:demo")
    else:
        look_at_the_prompt(sam)
    taxonomy = load_taxonomy("nuscenes16")
    dim = sam.prompt_encoder.embed_dim
    heads = nn.ModuleList([DenseHead(width, len(taxonomy) + 2) for width in (dim, dim // 8)])
    model = nn.ModuleDict({"sam": sam, "heads": heads}).to(device)
    side = sam.image_encoder.img_size

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([1, step])
        whole = step % WHOLE_EVERY == 0
        pictures, prompts = WHOLES if whole else WINDOWS
        samples: list[Sample] = []
        while len(samples) < pictures:
            picture = store[int(rng.integers(len(store)))]
            classes = np.zeros(int(picture.objects.max()) + 1, np.int64)  # 0: sky, 1: no class
            for key, words in picture.words.items():
                classes[key] = class_of(words.category, taxonomy) + 2
            sample = draw_sample(
                picture.rgb,
                picture.objects,
                classes,
                side,
                rng,
                prompts=prompts,
                window=None if whole else WINDOW,
            )
            samples += [sample] if sample else []
        return sam_losses(
            sam,
            heads,
            samples,
            power=0.5 if warm_start else min(0.5, step / 1000),
            decode=warm_start or step >= DENSE_STEPS,
            boxes=step % BOX_EVERY == BOX_EVERY - 1,
            padded=step % (2 * WHOLE_EVERY) == 0,
        )

    rate = WARM_RATE if warm_start else LEARNING_RATE
    steps = train(model, losses, folder, minutes=minutes, learning_rate=rate, report=report)
    return sam, steps
