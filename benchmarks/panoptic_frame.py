"""Open-vocabulary panoptic segmentation of a frame of about 35,000 points by the network of `--size demo`.

Scans of the simulated city with as many views and regions as a nuScenes frame has. Every point looks like a
thing, so that all seeds are found. Claims:
- ``panoptic_frame``: seconds from the stored frame to labels of all raw points, on two cores.
- ``panoptic_points``, ``panoptic_queries``: memory that a frame needs beyond what the process had before,
  with more points, or twice the queries: it grows no faster than they do.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import harness
import numpy as np
import torch
from harness import Claim, score
from trainer import city_run

from labelgen.distill.config import load_train_config
from labelgen.distill.model import make_model
from labelgen.distill.needs import info_of, open_for_training
from labelgen.distill.panoptic.method import Panoptic
from labelgen.distill.predict import Predictor
from labelgen.distill.samples import join
from labelgen.models.execution import select_device

CORES, QUERIES = 2, 144
#: Sides of voxels, metres: of the size, and two that keep about 8,000 and 16,000 of the points.
VOXEL, COARSE, FINE = 0.2, 0.3, 0.1


def segmenter(run: Path, queries: int, voxel: float) -> Predictor:
    """An untrained network of the size's layout to whom all points look like cars."""
    opened = open_for_training(run)
    text = np.random.default_rng(0).normal(size=(info_of(opened).classes, info_of(opened).feature_width or 1))
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    info = replace(info_of(opened), text_embeddings=text.astype(np.float32))
    overrides = [
        "settings.vocabulary=classes",
        "settings.novel=[bus, pedestrian, motorcycle, vegetation]",
        f"settings.decoder.queries={queries}",
        f"settings.decoder.seeds={queries - 16}",
        f"data.voxel={voxel}",
    ]
    config = load_train_config("panoptic", "demo", overrides=overrides)
    model = make_model(config, info)
    assert isinstance(model.method, Panoptic)
    car = model.method.classes.base.index(info.taxonomy.names.index("car"))
    with torch.no_grad():
        model.method.semantic.bias[car] = 20
    return Predictor(model.eval(), config, info, select_device("cpu", CORES))


def needed(run: Path, queries: int, voxel: float) -> tuple[float, int]:
    """Megabytes that one frame takes in a process of its own, and its voxels."""
    command = [sys.executable, __file__, "--memory", str(run), str(queries), str(voxel)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    megabytes, voxels = done.stdout.split()[-2:]
    return float(megabytes), int(voxels)


def one_frame(run: Path, queries: int, voxel: float) -> None:
    """Print what `needed` reads."""
    predictor, opened = segmenter(run, queries, voxel), open_for_training(run)
    frames = tuple(opened.frames)[:1]
    batch = join([predictor.data(opened, frames)[0]])
    before = harness.peak_bytes()
    list(predictor.labels(opened, frames))
    print((harness.peak_bytes() - before) / 1e6, len(batch))


def run(quick: bool) -> list[Claim]:
    """Time and memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        opened = city_run(path)
        frames = tuple(opened.frames)
        predictor = segmenter(path, QUERIES, VOXEL)
        times = harness.interleave(
            {"ours": lambda: list(predictor.labels(opened, frames))},
            seconds=10 if quick else 40, min_rounds=3, threads=CORES,
        )["ours"]  # fmt: skip
        base, voxels = needed(path, QUERIES, COARSE)
        finer, more = needed(path, QUERIES, FINE)
        wider, _ = needed(path, 2 * QUERIES, COARSE)
        points = len(opened.frame(frames[0]).labels)
    return [
        harness.faster(
            "panoptic_frame", [t / len(frames) for t in times], None, goal=0.5, unit="s",
            agreement={"points": points},
        ),
        score(
            "panoptic_points", finer / base, goal=1.1 * more / voxels, unit="times", lower_is_better=True,
            agreement={"voxels": f"{voxels}/{more}", "MB": f"{base:.0f}/{finer:.0f}"},
        ),
        score(
            "panoptic_queries", wider / base, goal=2.0, unit="times", lower_is_better=True,
            agreement={"MB": f"{base:.0f}/{wider:.0f}"},
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    if "--memory" in sys.argv:
        where, count, side = sys.argv[2:]
        one_frame(Path(where), int(count), float(side))
    else:
        harness.main("panoptic_frame", __doc__, run)
