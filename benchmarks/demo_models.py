"""Quality and speed of the shipped small models, on cities from validation seeds.

The targets of masks are for the official generator's full grid of 32 x 32 prompts; the demo preset uses
fewer. Superpixels on the same pictures stand beside them.
"""

from __future__ import annotations

import time
from math import isnan
from statistics import median

import harness
from harness import Claim, score

from labelgen.config import RunConfig, load_config
from labelgen.core.taxonomy import load_taxonomy
from labelgen.demo.small_models.make import SAM_SETTINGS, TAXONOMY, VAL_SEED, VAL_SIZE
from labelgen.demo.small_models.pictures import Picture, PictureStore
from labelgen.demo.small_models.quality import caption_quality, mask_quality, region_quality
from labelgen.demo.world import CAMERA_NAMES, City, render_view
from labelgen.models.shipped import shipped_dir
from labelgen.regions import join_cameras, make_proposer
from labelgen.regions.settings import SamSettings, SuperpixelSettings
from labelgen.semantics.openclip import OpenClipEncoder
from labelgen.semantics.registry import make_captioner
from labelgen.semantics.settings import CaptionSettings

PRESET = "demo"


def run(quick: bool) -> list[Claim]:
    preset = load_config(PRESET)
    store = PictureStore(None, VAL_SEED, 3 if quick else 12, size=VAL_SIZE)
    pictures = [store[number] for number in range(len(store))]
    encoder = OpenClipEncoder(preset.semantics, device="cpu", threads=1)
    claims = [*masks(preset, pictures, quick), *regions(encoder, pictures), *captions(pictures)]
    seconds = frame_seconds(preset, encoder, rounds=1 if quick else 3)
    kinds = ("sam", "clip", "blip2")
    weights = sum(path.stat().st_size for kind in kinds for path in shipped_dir(kind).iterdir())
    return [
        *claims,
        score("frame_seconds", seconds, goal=10.0, unit="s", lower_is_better=True),
        score("weights_mb", weights / 1e6, goal=16.0, unit="MB", lower_is_better=True),
    ]


def masks(preset: RunConfig, pictures: list[Picture], quick: bool) -> list[Claim]:
    demo = mask_quality(make_proposer(preset.regions, "cpu", 1), pictures)
    slic = mask_quality(make_proposer(SuperpixelSettings(max_side=512)), pictures)
    claims = [
        score(f"sam_demo_{name}", demo[name], goal=None, unit="share", agreement={"superpixels": slic[name]})
        for name in ("found", "best_iou", "found_large", "pixels_found")
    ]
    if quick:
        return claims
    full = mask_quality(make_proposer(SamSettings(model="demo", **SAM_SETTINGS), "cpu", 1), pictures)
    return [
        score("sam_found", full["found"], goal=0.85, unit="share", agreement={"segments": full["segments"]}),
        score("sam_best_iou", full["best_iou"], goal=0.75, unit="IoU", agreement={"masks": full["masks"]}),
        *claims,
    ]


def regions(encoder: OpenClipEncoder, pictures: list[Picture]) -> list[Claim]:
    got = region_quality(encoder, pictures, load_taxonomy(TAXONOMY))
    goals = {
        "accuracy": 0.90,
        "mean_class": 0.80,
        "held_out_words": 0.70,
        "held_out_colours": 0.70,
        "void": None,
    }
    return [
        score(f"clip_{name}", got[name], goal=goal, unit="share", agreement={"regions": got["regions"]})
        for name, goal in goals.items()
        if not isnan(got[name])  # a few pictures may hold no object of a held-out colour
    ]


def captions(pictures: list[Picture]) -> list[Claim]:
    got = caption_quality(make_captioner(CaptionSettings(), "cpu", 1), pictures, load_taxonomy(TAXONOMY))
    goals = {"noun": 0.80, "own_noun": None, "mean_class": None, "colour": None}
    return [
        score(f"blip2_{name}", got[name], goal=goal, unit="share", agreement={"captions": got["captions"]})
        for name, goal in goals.items()
        if not isnan(got[name])
    ]


def frame_seconds(preset: RunConfig, encoder: OpenClipEncoder, rounds: int) -> float:
    """Seconds of one core (not of the clock) for regions and semantics of one frame of six images."""
    city = City(VAL_SEED)
    images = [render_view(city, 5.0, name, VAL_SIZE).rgb for name in CAMERA_NAMES]
    proposer, taxonomy = make_proposer(preset.regions, "cpu", 1), load_taxonomy(preset.taxonomy)
    encoder.vocabulary(taxonomy)
    times = []
    for _ in range(rounds + 1):  # the first one warms up
        begin = time.process_time()
        encoder.encode(images, join_cameras([proposer.propose(image) for image in images]), taxonomy)
        times.append(time.process_time() - begin)
    return median(times[1:])


if __name__ == "__main__":
    harness.main("demo_models", __doc__, run)
