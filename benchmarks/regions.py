"""Masks against segment-anything's own automatic generator: same network, same image, in one process.

The picture is a front view of the simulated city, 1600 x 900; the network is the small Sam, with the demo
preset's thresholds and without its crops. The ladder takes each step alone. With ``--quick`` the grid has
8 x 8 points, not 32 x 32. On a GPU, the real architectures with random weights follow.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import harness
import numpy as np
import torch
from harness import Claim, faster, interleave, score
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry

from labelgen.config import load_config
from labelgen.datasets import load_cloud, load_image, plan_frames
from labelgen.demo.world import build
from labelgen.geometry import ProjectionSettings, project
from labelgen.geometry.rle import Runs, decode, encode, parse
from labelgen.models.info import ModelInfo
from labelgen.regions import ImageRegions, Prompts, frame_prompts
from labelgen.regions.decoder import Decoded, PromptDecoder, decoder_parts
from labelgen.regions.generator import PromptedProposer
from labelgen.regions.overlap import covered
from labelgen.regions.sam import SamNetwork, load_sam
from labelgen.regions.settings import SamSettings

PRESET = "demo"
SEED = 150_000
CAMERA = "CAM_FRONT"
#: Prompts and images of the claims on a GPU.
GPU_PROMPTS, GPU_IMAGES = 256, 6


def run(quick: bool) -> list[Claim]:
    with tempfile.TemporaryDirectory() as folder:
        image, prompts = scene(Path(folder))
    claims = [*on_cpu(image, prompts, quick), *memory(image)]
    if not quick:
        claims += label_quality()
    if torch.cuda.is_available():
        claims += on_gpu(image)
    return claims


def scene(folder: Path) -> tuple[NDArray[np.uint8], Prompts]:
    """A front view with the LiDAR points that its camera sees."""
    build(folder / "city", scenes=1, frames=1, seed=SEED, image_size=(1600, 900))
    frames, info = plan_frames("demo", folder / "city")
    frame, root = frames[0], Path(info.dataroot)
    number = [camera.name for camera in frame.cameras].index(CAMERA)
    views = project(frame, load_cloud(root, frame)[0], ProjectionSettings())
    prompts = frame_prompts(views, [camera.image_path for camera in frame.cameras])[number]
    return load_image(root, frame.cameras[number], frame.frame_id)[0], prompts


def settings(quick: bool, **changes: Any) -> SamSettings:
    preset = load_config(PRESET).regions
    return preset.model_copy(update={"points_per_side": 8 if quick else 32, "crop_layers": 0, **changes})


def on_cpu(image: NDArray[np.uint8], prompts: Prompts, quick: bool) -> list[Claim]:
    sam, info = load_sam("demo", None)
    results: dict[str, Any] = {}

    def keep(name: str, function: Callable[[], Any]) -> Callable[[], None]:
        def call() -> None:
            results[name] = function()

        return call

    config = settings(quick, mode="grid")
    count = count_prompts()
    grid = proposer(config, SamNetwork(sam, info))
    lidar = proposer(settings(quick), count(SamNetwork(sam, info)))
    crops = proposer(settings(quick, crop_layers=1), SamNetwork(sam, info))
    places = chosen_places(lidar, image, prompts)
    ladder = {
        "official": lambda: official(sam, config).generate(image),
        "decoder_alone": lambda: with_decoder(sam, official(sam, config), image),
        "run_lengths_alone": lambda: proposer(config, OfficialDecoder(sam, info)).propose(image),
        "lidar_prompts_alone": lambda: official(sam, config, [places]).generate(image),
        "grid": lambda: grid.propose(image),
        "lidar": lambda: lidar.propose(image, prompts),
        "lidar_crops": lambda: crops.propose(image, prompts),
    }
    for name in ("grid", "lidar"):  # compile, fill caches
        ladder[name]()
    rounds = 1 if quick else 2
    times = interleave(
        {name: keep(name, function) for name, function in ladder.items()},
        seconds=0,
        min_rounds=rounds,
        warmup=0,
        threads=None,
    )
    want = [mask for mask in results["official"] if mask["area"]]
    agree = {name: agreement(want, results[name]) for name in ladder if name != "official"}
    good = agree["grid"]["matched"] >= 0.97 and agree["grid"]["mean_iou"] >= 0.97
    seen = pixels_of(prompts, image)
    reached = covered(runs_of_official(want, image), seen)
    ours = covered(parse(results["lidar"].rle, *image.shape[:2]), seen)
    share = float(ours[reached].mean()) if reached.any() else 1.0
    cover = {
        "covered_of_official": share,
        "covered": float(ours.mean()),
        "covered_by_official": float(reached.mean()),
        "prompts": len(places),
        "masks": len(results["lidar"]),
        "official_masks": len(want),
    }
    base = times["official"]
    return [
        faster("grid", times["grid"], base, goal=8.0, unit="s", agreement=agree["grid"], valid=good),
        faster(
            "lidar",
            times["lidar"],
            base,
            goal=None if quick else 30.0,  # against so few official prompts, time says nothing
            unit="s",
            agreement=cover,
            valid=share >= 0.99 and len(places) <= 256,
        ),
        *(
            faster(f"ladder_{name}", times[name], base, goal=None, unit="s", agreement=agree[name])
            for name in ("decoder_alone", "run_lengths_alone", "lidar_prompts_alone", "lidar_crops")
        ),
    ]


def proposer(config: SamSettings, network: Any, device: str = "cpu") -> PromptedProposer:
    return PromptedProposer(config, network, device=device, threads=torch.get_num_threads())


def official(sam: Any, config: SamSettings, places: list[Any] | None = None) -> SamAutomaticMaskGenerator:
    return SamAutomaticMaskGenerator(
        sam,
        points_per_side=None if places else config.points_per_side,
        point_grids=places,
        points_per_batch=config.points_per_batch,
        pred_iou_thresh=config.pred_iou_thresh,
        stability_score_thresh=config.stability_score_thresh,
        box_nms_thresh=config.box_nms_thresh,
    )


def count_prompts() -> Callable[[SamNetwork], SamNetwork]:
    """Notes the points that a network is asked for, in its attribute ``asked``."""

    def watch(network: Any) -> Any:
        network.asked = []
        decode_ = network.decode

        def noted(embedding: Any, **prompts: Any) -> Decoded:
            network.asked.append((prompts["points"] + 0.5) / embedding.scale)
            result: Decoded = decode_(embedding, **prompts)
            return result

        network.decode = noted
        return network

    return watch


def chosen_places(lidar: Any, image: NDArray[np.uint8], prompts: Prompts) -> NDArray[np.float64]:
    """The prompts that mode ``lidar`` uses, as shares of the image."""
    lidar.propose(image, prompts)
    places = np.concatenate(lidar.network.asked) / [image.shape[1], image.shape[0]]
    lidar.network.asked.clear()
    return places


def with_decoder(sam: Any, generator: SamAutomaticMaskGenerator, image: NDArray[np.uint8]) -> Any:
    """The official generator around the rearranged decoder."""
    decoder = PromptDecoder(decoder_parts(sam.mask_decoder))
    usual = sam.mask_decoder.forward

    def forward(
        image_embeddings: Any,
        image_pe: Any,
        sparse_prompt_embeddings: Any,
        dense_prompt_embeddings: Any,
        multimask_output: bool,
    ) -> Any:
        out = decoder(
            image_embeddings[0] + dense_prompt_embeddings[0],
            image_pe[0],
            sparse_prompt_embeddings,
            min_score=0.0,
            multimask=multimask_output,
            cells=image_pe.shape[2:],
        )
        P = len(sparse_prompt_embeddings)
        return out.logits.transpose(1, 2).unflatten(0, (P, -1)), out.score.view(P, -1)

    sam.mask_decoder.forward = forward
    try:
        return generator.generate(image)
    finally:
        sam.mask_decoder.forward = usual


class OfficialDecoder(SamNetwork):
    """Our generator around the official decoder."""

    def decode(
        self, embedding: Any, *, points: Any = None, boxes: Any = None, min_score: float = 0.0
    ) -> Decoded:
        at = torch.as_tensor(points, dtype=torch.float32)[:, None]
        encoder = self.sam.prompt_encoder
        sparse, dense = encoder((at, torch.ones(at.shape[:2], dtype=torch.int)), None, None)
        logits, value = self.sam.mask_decoder(
            (embedding.image - dense[0])[None], encoder.get_dense_pe(), sparse, dense, True
        )
        passed = value > min_score if min_score > 0 else torch.ones_like(value, dtype=torch.bool)
        return Decoded(logits[passed].transpose(1, 2), value[passed])


def agreement(want: list[dict[str, Any]], got: Any) -> dict[str, float]:
    """Share of the official masks that some of ours matches at IoU 0.9, and the mean IoU of these."""
    if isinstance(got, ImageRegions):
        masks = [decode(code, *got.size) for code in got.rle]
    else:
        masks = [mask["segmentation"] for mask in got]
    areas = np.array([mask.sum() for mask in masks])
    best = []
    for mask in want:
        x, y, width, height = map(int, mask["bbox"])
        part = np.s_[y : y + height + 1, x : x + width + 1]
        inner = mask["segmentation"][part]
        shared = np.array([np.count_nonzero(other[part] & inner) for other in masks])
        best.append((shared / (areas + mask["area"] - shared)).max(initial=0.0))
    iou = np.array(best)
    near = iou >= 0.9
    return {
        "matched": float(near.mean()) if len(iou) else 1.0,
        "mean_iou": float(iou[near].mean()) if near.any() else 0.0,
        "masks": len(masks),
        "official_masks": len(want),
    }


def pixels_of(prompts: Prompts, image: NDArray[np.uint8]) -> NDArray[np.int32]:
    assert prompts.uv is not None
    column, row = np.floor(prompts.uv + 0.5).astype(np.int32).T
    return column * np.int32(image.shape[0]) + row


def runs_of_official(masks: list[dict[str, Any]], image: NDArray[np.uint8]) -> Runs:
    return parse([encode(mask["segmentation"]) for mask in masks], *image.shape[:2])


def memory(image: NDArray[np.uint8]) -> list[Claim]:
    """Peak memory of a process of its own, with every mask of 32 x 32 prompts kept."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        peak = pool.apply(_peak, (image,))
    return [score("memory", peak, goal=2.5, unit="GB", lower_is_better=True)]


def _peak(image: NDArray[np.uint8]) -> float:
    config = settings(False, mode="grid", pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0)
    proposer(config, SamNetwork(*load_sam("demo", None))).propose(image)
    return harness.peak_bytes() / 2**30


def label_quality() -> list[Claim]:
    """mIoU of the main job with prompts on LiDAR points, less that with 32 x 32 prompts on a grid."""
    labelgen = Path(sys.executable).with_name("labelgen")
    miou = {}
    with tempfile.TemporaryDirectory() as folder:
        city = Path(folder) / "city"
        build(city, scenes=2, frames=2, seed=SEED, image_size=(1600, 900))
        for mode in ("lidar", "grid"):
            output = Path(folder) / mode
            job = ["--dataset", "demo", "--dataroot", city, "--output", output, "--runner", "sequential"]
            sets = (f"regions.mode={mode}", "regions.crop_layers=0", "fusion.enabled=false")
            options = [part for value in sets for part in ("--set", value)]
            call([labelgen, "run", *job, "--no-report", *options])
            miou[mode] = json.loads(call([labelgen, "evaluate", output, "--json"]))["miou"]
    agreement = {"lidar": miou["lidar"], "grid": miou["grid"]}
    return [
        score("label_quality", miou["lidar"] - miou["grid"], goal=-0.005, unit="mIoU", agreement=agreement)
    ]


def call(command: list[Any]) -> str:
    return subprocess.run([*map(str, command)], check=True, capture_output=True, text=True).stdout


def on_gpu(image: NDArray[np.uint8]) -> list[Claim]:
    """Seconds per image of the real architectures with random weights, at a fixed number of prompts."""
    from transformers import Sam2Config, Sam2Model

    from labelgen.regions.sam2 import Sam2Network

    info = ModelInfo("random", "", "", "")
    side = round(GPU_PROMPTS**0.5)
    config = SamSettings(mode="grid", points_per_side=side, points_per_batch=128, box_nms_thresh=0.7)
    images = [image] * GPU_IMAGES
    vit_h = sam_model_registry["vit_h"]().eval().cuda()
    theirs = official(vit_h, config)
    ours = proposer(config, SamNetwork(vit_h, info), "cuda")
    sam2 = proposer(config, Sam2Network(Sam2Model(Sam2Config()).eval(), info), "cuda")

    def done(function: Callable[[], object]) -> None:
        function()
        torch.cuda.synchronize()

    times = interleave(
        {
            "official": partial(done, lambda: theirs.generate(image)),
            "vit_h": partial(done, lambda: ours.propose_frame(images)),
            "sam2": partial(done, lambda: sam2.propose_frame(images)),
        },
        seconds=60,
        min_rounds=3,
        threads=None,
    )
    each = {name: [seconds / GPU_IMAGES for seconds in times[name]] for name in ("vit_h", "sam2")}
    return [
        faster("gpu_vit_h", each["vit_h"], times["official"], goal=8.0, unit="s"),
        score("gpu_vit_h_seconds", median(each["vit_h"]), goal=0.25, unit="s", lower_is_better=True),
        faster("gpu_sam2_large", each["sam2"], times["official"], goal=8.0, unit="s"),
    ]


if __name__ == "__main__":
    harness.main("regions", __doc__, run)
