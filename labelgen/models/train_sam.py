"""Trains the demo Sam on the simulated city: point and box prompts, three masks, their quality."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import find_objects
from segment_anything.modeling import Sam
from skimage.measure import label as connected
from torch import Tensor, nn

from labelgen.models.captions import class_of
from labelgen.models.checkpoints import load_weights, read_state_dict
from labelgen.models.pictures import PictureStore
from labelgen.models.shipped import build_sam, shipped_dir
from labelgen.models.training import Report, train
from labelgen.taxonomy import load_taxonomy

PROMPTS = 32  #: prompts per picture and step
BOX_EVERY = 12  #: every so many steps the prompts are boxes
CELL = 16  #: pixels per side of the encoder's cells
PROMPT_GAIN = 2.5  #: of the position code in the decoder's attention at the start
SMALLEST = 16  #: pixels at the network's input that a prompted object has at least


@dataclass(frozen=True)
class Sample:
    """A picture at the network's scale with its prompts.

    Attributes:
        image: (3, h, w) float32, 0..255.
        point: (P, 2) float32 pixels; box: (P, 4) float32 pixels, left, top, right, bottom.
        whole, piece: (P, h / 2, w / 2) float32 in 0..1, the prompted object, and the connected piece of it
            that holds the point.
        dense: for cells of 16 and of 4 pixels, the (rows, columns) int64 class of the object at their
            centres, and (4, rows, columns) float32 the distances from there to the sides of its box, over
            the side of the network's input.
    """

    image: Tensor
    point: Tensor
    box: Tensor
    whole: Tensor
    piece: Tensor
    dense: tuple[tuple[Tensor, Tensor], ...]


def draw_sample(
    rgb: NDArray[np.uint8],
    objects: NDArray[np.uint16],
    classes: NDArray[np.int64],
    side: int,
    rng: np.random.Generator,
) -> Sample | None:
    """Augment one picture and draw prompts on it; None if nothing in it is large enough.

    Half of the points are spread over the picture, as a generator's grid is, half over the objects.

    Args:
        rgb: (H, W, 3) uint8.
        objects: (H, W) uint16 object of every pixel.
        classes: class of every object number.
        side: of the network's input; the picture's longer side is scaled to it.
        rng: source of all that is random.
    """
    rgb, objects = _window(rgb, objects, rng)
    height = round(rgb.shape[0] * side / rgb.shape[1] / 4) * 4
    image = np.asarray(Image.fromarray(rgb).resize((side, height), Image.Resampling.BILINEAR), np.float32)
    rows = (np.arange(height) + 0.5) * objects.shape[0] / height
    columns = (np.arange(side) + 0.5) * objects.shape[1] / side
    objects = objects[rows.astype(int)[:, None], columns.astype(int)]
    if rng.random() < 0.5:
        image, objects = image[:, ::-1], objects[:, ::-1]
    image = 255 * (np.clip(image * rng.uniform(0.75, 1.25) / 255, 0, 1) ** rng.uniform(0.8, 1.25))

    areas = np.bincount(objects.ravel())
    large = np.flatnonzero(areas >= SMALLEST)
    if len(large) == 0:
        return None
    pieces = connected(objects, background=-1, connectivity=1)  # type: ignore[no-untyped-call]
    spread = np.stack([rng.integers(0, height, PROMPTS), rng.integers(0, side, PROMPTS)], axis=1)
    spread = spread[areas[objects[spread[:, 0], spread[:, 1]]] >= SMALLEST][: PROMPTS // 2]
    order = np.argsort(objects, axis=None, kind="stable")  # a radix sort: pixels grouped by object
    begin = np.cumsum(areas) - areas
    chosen = rng.choice(large, PROMPTS - len(spread))
    pixels = order[begin[chosen] + (rng.random(len(chosen)) * areas[chosen]).astype(int)]
    points = np.concatenate([spread, np.stack(np.unravel_index(pixels, objects.shape), axis=1)])

    at = points[:, 0], points[:, 1]
    whole = objects == objects[at][:, None, None]
    piece = pieces == pieces[at][:, None, None]
    return Sample(
        image=torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)),
        point=torch.from_numpy((points[:, ::-1] + rng.random(points.shape)).astype(np.float32)),
        box=torch.from_numpy(_boxes(whole, rng)),
        whole=_halve(whole),
        piece=_halve(piece),
        dense=tuple(_dense_truth(objects, classes, cell, side) for cell in (CELL, CELL // 4)),
    )


def _window(
    rgb: NDArray[np.uint8], objects: NDArray[np.uint16], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """A random window of the picture's own shape, in half of the cases the whole picture."""
    scale = 1.0 if rng.random() < 0.5 else rng.uniform(0.6, 1.0)
    height, width = (round(size * scale) for size in objects.shape)
    top = rng.integers(0, objects.shape[0] - height + 1)
    left = rng.integers(0, objects.shape[1] - width + 1)
    window = slice(top, top + height), slice(left, left + width)
    return rgb[window], objects[window]


def _boxes(masks: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32]:
    """(P, 4) boxes around masks, every side off by up to a tenth of the box."""
    rows, columns = masks.any(axis=2), masks.any(axis=1)
    height, width = masks.shape[1:]
    top, bottom = rows.argmax(axis=1), height - rows[:, ::-1].argmax(axis=1)
    left, right = columns.argmax(axis=1), width - columns[:, ::-1].argmax(axis=1)
    box = np.stack([left, top, right, bottom], axis=1).astype(np.float32)
    size = np.stack([right - left, bottom - top] * 2, axis=1)
    moved: NDArray[np.float32] = (box + rng.uniform(-0.1, 0.1, box.shape) * size).astype(np.float32)
    return moved


def _dense_truth(
    objects: NDArray[np.uint16], classes: NDArray[np.int64], cell: int, side: int
) -> tuple[Tensor, Tensor]:
    """Classes and boxes at the centres of cells, as in `Sample.dense`."""
    boxes = np.zeros((4, int(objects.max()) + 1), np.float32)
    for number, place in enumerate(find_objects(objects.astype(np.int64) + 1)):
        if place is not None:
            boxes[:, number] = place[1].start, place[0].start, place[1].stop, place[0].stop
    at = objects[cell // 2 :: cell, cell // 2 :: cell]
    y, x = (np.indices(at.shape) * cell + cell // 2).astype(np.float32)
    left, top, right, bottom = boxes[:, at]
    distances = np.stack([x - left, y - top, right - x, bottom - y]) / np.float32(side)
    return torch.from_numpy(classes[at]), torch.from_numpy(distances)


def _halve(masks: NDArray[np.bool_]) -> Tensor:
    """(P, h, w) bool to the covered share of 2 x 2 pixels."""
    corners = [masks[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    return torch.from_numpy(np.sum(corners, axis=0, dtype=np.uint8)).float() / 4


def start_with_cosines(patches: nn.Conv2d) -> None:
    """Start the patch embedding as a cosine transform: the low frequencies of luma, and of both chromas.

    Random filters spend most of their output on noise; these keep what a small network can use.
    """
    with torch.no_grad():
        size, width = patches.kernel_size[0], patches.out_channels
        k = torch.arange(size, dtype=torch.float32)
        basis = torch.cos(torch.pi / size * (k[None] + 0.5) * k[:, None]) * (2 / size) ** 0.5
        basis[0] /= 2**0.5
        order = sorted((i + j, i, j) for i in range(size) for j in range(size))
        colours = torch.tensor([[0.577, 0.577, 0.577], [0.707, 0.0, -0.707], [-0.408, 0.816, -0.408]])
        for out in range(width):
            channel, rank = (0, out) if out < width // 2 else (1 + out % 2, (out - width // 2) // 2)
            _, i, j = order[rank]
            filters = colours[channel][:, None, None] * basis[i][:, None] * basis[j]
            # Natural pictures hold power in proportion to 1 / frequency squared: make outputs equally large.
            patches.weight[out] = filters * (0.1 + 0.15 * (i + j))
        nn.init.zeros_(patches.bias)  # type: ignore[arg-type]


class DenseHead(nn.Module):
    """Class and box of the object at every cell of a feature map; thrown away after training.

    With so few pictures the masks alone teach the encoder too slowly what an object is.
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.classes, self.box = nn.Conv2d(dim, classes, 1), nn.Conv2d(dim, 4, 1)

    def forward(self, features: Tensor, truth: tuple[Tensor, Tensor]) -> Tensor:
        """Cross-entropy of the class plus the error of the box (distances on a square-root scale)."""
        classes, box = (value[None].to(features.device) for value in truth)
        features = features[:, :, : classes.shape[1]]
        error = F.l1_loss(self.box(features), box.clamp(min=0).sqrt())
        return F.cross_entropy(self.classes(features), classes) + 4 * error


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
        frequency = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix.norm(dim=0)
        pairs, count = frequency.argsort().tolist(), len(frequency)
        for attention in across:
            width = attention.internal_dim // attention.num_heads
            weight = 0.02 * torch.randn_like(attention.q_proj.weight)
            for head in range(attention.num_heads):
                for k, pair in enumerate(pairs[head :: attention.num_heads][: width // 2]):
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
        sam.image_encoder.neck[3].weight.fill_(0.5)
        for embedding in sam.prompt_encoder.point_embeddings:
            embedding.weight.mul_(0.2)
        for tokens in (sam.mask_decoder.mask_tokens, sam.mask_decoder.iou_token):
            tokens.weight.mul_(0.5)


def sam_losses(
    sam: Sam, heads: nn.ModuleList, sample: Sample, boxes: bool, power: float
) -> dict[str, Tensor]:
    """Losses of one picture, as SAM's (Kirillov et al. 2023, appendix A): masks and their quality.

    Of the three masks of a point only the best is trained on (cross-entropy plus dice); the quality head
    is trained on all, towards the IoU with whichever of object and piece fits better.
    """
    device = sam.device
    image, whole = sample.image.to(device), sample.whole.to(device)
    piece = sample.piece.to(device)
    bf16 = torch.autocast(device.type, torch.bfloat16)
    with bf16:
        embedding = sam.image_encoder(sam.preprocess(image)[None])
        labels = torch.ones(len(whole), 1, device=device)
        sparse, dense = sam.prompt_encoder(
            points=None if boxes else (sample.point.to(device)[:, None], labels),
            boxes=sample.box.to(device) if boxes else None,
            masks=None,
        )
        logits, quality = sam.mask_decoder(
            image_embeddings=embedding,
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=not boxes,
        )
    # The low-resolution masks have a quarter of the input's side, the targets half of it.
    small = logits.float()[:, :, : whole.shape[1] // 2]
    with torch.no_grad():
        # Objects in several pieces: either answer is right; the nearer of the two is learnt.
        fits = torch.stack([_iou(small > 0, F.avg_pool2d(target, 2) > 0.5) for target in (whole, piece)])
        quality_target = fits.amax(dim=0)
        use_piece = fits[1].amax(dim=1) > fits[0].amax(dim=1)
        target = torch.where(use_piece[:, None, None], piece, whole)
        best = _dice(small.sigmoid(), F.avg_pool2d(target, 2)[:, None]).argmin(dim=1)
    mask = small[torch.arange(len(best)), best]
    mask = F.interpolate(mask[None], whole.shape[1:], mode="bilinear", align_corners=False)[0]
    entropy = _balanced_entropy(mask, target, power)
    dice = _dice(mask.sigmoid(), target).mean()
    iou_error = F.mse_loss(quality.float(), quality_target)
    fine = sam.mask_decoder.output_upscaling(embedding)
    dense_error = (
        sum(
            head(features.float(), truth)
            for head, features, truth in zip(heads, (embedding, fine), sample.dense, strict=True)
        )
        / 2
    )
    return {
        "loss": 2 * entropy + 3 * dice + iou_error + 0.5 * dense_error,
        "entropy": entropy,
        "dice": dice,
        "iou_error": iou_error,
        "dense_error": dense_error,
        "best_iou": quality_target.amax(dim=1).mean(),
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
    """Train the demo Sam; see `labelgen.models.training.train` for budget and resumption.

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
        start_with_cosines(sam.image_encoder.patch_embed.proj)
    taxonomy = load_taxonomy("nuscenes16")
    dim = sam.prompt_encoder.embed_dim
    heads = nn.ModuleList([DenseHead(width, len(taxonomy) + 2) for width in (dim, dim // 8)])
    model = nn.ModuleDict({"sam": sam, "heads": heads}).to(device)
    side = sam.image_encoder.img_size

    def losses(step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([1, step])
        sample = None
        while sample is None:
            picture = store[int(rng.integers(len(store)))]
            classes = np.zeros(int(picture.objects.max()) + 1, np.int64)  # 0: sky, 1: no class
            for key, words in picture.words.items():
                classes[key] = class_of(words.category, taxonomy) + 2
            sample = draw_sample(picture.rgb, picture.objects, classes, side, rng)
        power = 0.5 if warm_start else min(0.5, step / 1000)
        return sam_losses(sam, heads, sample, step % BOX_EVERY == BOX_EVERY - 1, power)

    steps = train(model, losses, folder, minutes=minutes, learning_rate=8e-4, report=report)
    return sam, steps
