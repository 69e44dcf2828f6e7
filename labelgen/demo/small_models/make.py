"""Renders, trains, measures and writes the small demo models: ``labelgen models train-demo``."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from labelgen.core.errors import UserError
from labelgen.core.taxonomy import load_taxonomy
from labelgen.demo.small_models.pictures import PictureStore
from labelgen.demo.small_models.training import Report
from labelgen.demo.world import TRAIN_SEEDS, VAL_SEEDS
from labelgen.models.execution import select_device
from labelgen.models.shipped import BPE_FILE, TRAINING_FILE, shipped_dir
from labelgen.regions.settings import SamSettings
from labelgen.semantics.settings import CaptionSettings, OpenClipSettings

#: The models are measured on the cities from this seed on, so many pictures at the cameras' own size.
VAL_SEED, VAL_PICTURES, VAL_SIZE = VAL_SEEDS.start + 50_000, 12, (1600, 900)

#: Generator settings that suit the small Sam: its own scores are low, and sorting them out loses objects.
SAM_SETTINGS = {
    "mode": "grid",
    "crop_layers": 1,
    "crop_points_downscale": 2,
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.0,
    "points_per_batch": 16,
}

TAXONOMY = "nuscenes16"

PATCH = 32  #: pixels per side of the patches of the small CLIP's image tower

#: Side of the small CLIP's crops over the region's longer side, and the side of their second look.
CROP_SCALE, CONTEXT = 1.8, 280


def train_demo(
    work: Path,
    kinds: Sequence[str],
    *,
    minutes: float,
    out: Path | None = None,
    pictures: int = 1200,
    first_city: int = TRAIN_SEEDS.start,
    warm_start: bool = False,
    device: str = "auto",
    threads: int = 1,
    advance: Callable[[], None] = lambda: None,
    report: Report | None = None,
) -> dict[str, dict[str, float]]:
    """Train the small models and write them with their figures.

    Args:
        work: keeps rendered pictures, training states and metrics; a second call goes on from there.
        kinds: of ``sam``, ``clip`` and ``blip2``.
        minutes: budget of training per model.
        out: gets a folder for each of them; None for the package itself.
        pictures: number of training pictures.
        first_city: seed of the first city that they show, in `TRAIN_SEEDS`.
        warm_start: begin with the shipped weights.
        device: where to train; see `labelgen.models.execution.select_device`.
        threads: of the CPU.
        advance: called once per training picture that is there.
        report: called with each line of metrics.

    Returns:
        Per model, the figures on validation seeds.
    """
    target = select_device(device, threads)
    store = PictureStore(work / "pictures", first_city, pictures)
    last_city = first_city + (pictures - 1) // store.PER_CITY
    if first_city not in TRAIN_SEEDS or last_city not in TRAIN_SEEDS:
        raise UserError(
            f"cities {first_city} to {last_city} are not all for training; their seeds are "
            f"{TRAIN_SEEDS.start} to {TRAIN_SEEDS.stop - 1}"
        )
    store.fill(advance)
    figures = {}
    for kind in kinds:
        folder = (out / kind) if out else shipped_dir(kind)  # type: ignore[arg-type]
        train = {"sam": _train_sam, "clip": _train_clip, "blip2": _train_blip2}[kind]
        steps = train(store, work / kind, folder, minutes, target, warm_start, report)
        figures[kind] = measure(kind, folder, device, threads)
        record = {
            "revision": f"demo {steps} steps",
            "seeds": [first_city, last_city],
            "pictures": pictures,
            "minutes": minutes,
            "steps": steps,
            "validation": {"first_seed": VAL_SEED, "pictures": VAL_PICTURES, **figures[kind]},
        }
        (folder / TRAINING_FILE).write_text(json.dumps(record, indent=2) + "\n")
    return figures


def measure(kind: str, folder: Path, device: str = "auto", threads: int = 1) -> dict[str, float]:
    """Figures of the small model in a folder, on validation seeds."""
    from labelgen.demo.small_models.quality import caption_quality, mask_quality, region_quality
    from labelgen.regions import make_proposer
    from labelgen.semantics.openclip import OpenClipEncoder
    from labelgen.semantics.registry import make_captioner

    store = PictureStore(None, VAL_SEED, VAL_PICTURES, size=VAL_SIZE)
    pictures = [store[number] for number in range(len(store))]
    if kind == "sam":
        regions = SamSettings.model_validate(
            {"checkpoint": str(folder / "model.safetensors"), **SAM_SETTINGS}
        )
        return _rounded(mask_quality(make_proposer(regions, device, threads), pictures))
    if kind == "blip2":
        captioner = make_captioner(CaptionSettings(caption_checkpoint=str(folder)), device, threads)
        return _rounded(caption_quality(captioner, pictures, load_taxonomy(TAXONOMY)))
    encoder = OpenClipEncoder(
        OpenClipSettings(checkpoint=str(folder), crop_scale=CROP_SCALE, context=CONTEXT),
        device=device,
        threads=threads,
    )
    return _rounded(region_quality(encoder, pictures, load_taxonomy(TAXONOMY)))


def write_weights(model: nn.Module, path: Path) -> None:
    """Write a model as float16 safetensors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().cpu().half().contiguous() for key, value in model.state_dict().items()}
    save_file(state, path)


def _train_sam(
    store: PictureStore,
    work: Path,
    folder: Path,
    minutes: float,
    device: torch.device,
    warm_start: bool,
    report: Report | None,
) -> int:
    from labelgen.demo.small_models.train_sam import train_sam

    sam, steps = train_sam(store, work, minutes=minutes, device=device, warm_start=warm_start, report=report)
    write_weights(sam, folder / "model.safetensors")
    _copy(shipped_dir("sam") / "config.json", folder)
    return steps


def _train_clip(
    store: PictureStore,
    work: Path,
    folder: Path,
    minutes: float,
    device: torch.device,
    warm_start: bool,
    report: Report | None,
) -> int:
    from labelgen.demo.small_models.crop_bank import cut_crops
    from labelgen.demo.small_models.train_clip import train_clip

    taxonomy = load_taxonomy(TAXONOMY)
    config: dict[str, Any] = json.loads((shipped_dir("clip") / "open_clip_config.json").read_text())
    vision, settings = config["model_cfg"]["vision_cfg"], OpenClipSettings()
    bank = cut_crops(
        store,
        taxonomy,
        size=vision["image_size"],
        grid=vision["image_size"] // PATCH,
        mean=tuple(255 * value for value in config["preprocess_cfg"]["mean"]),
        scale=CROP_SCALE,
        background=settings.background,
        disturb=True,
    )
    model, merges, steps = train_clip(
        bank, taxonomy, work, minutes=minutes, device=device, warm_start=warm_start, report=report
    )
    write_weights(model, folder / "open_clip_model.safetensors")
    _copy(shipped_dir("clip") / "open_clip_config.json", folder)
    _copy(merges, folder / BPE_FILE)
    return steps


def _train_blip2(
    store: PictureStore,
    work: Path,
    folder: Path,
    minutes: float,
    device: torch.device,
    warm_start: bool,
    report: Report | None,
) -> int:
    from labelgen.demo.small_models.crop_bank import cut_crops
    from labelgen.demo.small_models.train_blip2 import IMAGE_SIZE, MEAN, PATCH_SIZE, train_blip2, write_blip2

    settings = CaptionSettings()
    bank = cut_crops(
        store,
        load_taxonomy(TAXONOMY),
        size=IMAGE_SIZE,
        grid=IMAGE_SIZE // PATCH_SIZE,
        mean=(255 * MEAN,) * 3,
        scale=settings.caption_crop_scale,
        background=settings.caption_background,
        disturb=True,
    )
    model, processor, steps = train_blip2(
        bank,
        work,
        minutes=minutes,
        device=device,
        warm_start=warm_start,
        report=report,
    )
    write_blip2(model, processor, folder)
    return steps


def _copy(source: Path, target: Path) -> None:
    target = target / source.name if target.is_dir() else target
    if source.resolve() != target.resolve():
        shutil.copyfile(source, target)


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in figures.items() if not math.isnan(value)}
