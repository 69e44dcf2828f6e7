"""The simulated city: speed, memory, and how much its sensor data look like nuScenes'.

Coverage is compared with the one real keyframe of nuScenes that the project measures on (42 / 53 / 6 % of the
points in 0 / 1 / 2 cameras). The colour control is a nearest-neighbour classifier that knows nothing but the
mean colour of true regions: what it gets right, a model need not understand.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path
from statistics import median

import harness
import numpy as np
from harness import Claim, score
from scipy.spatial import cKDTree

from labelgen.demo.world import (
    CLASS_OF_CATEGORY,
    CLASSES,
    DEFAULT_SEED,
    TRAIN_SEEDS,
    VAL_SEEDS,
    City,
    build,
    sample_views,
)
from labelgen.demo.world.lidar import scan
from labelgen.demo.world.render import aim
from labelgen.demo.world.rig import CAMERAS, NATIVE_SIZE, SWEEP_SECONDS
from labelgen.demo.world.visibility import IN_IMAGE, SEEN, seen_by

SCENES, FRAMES = 10, 4
REAL_COVERAGE = (0.418, 0.526, 0.055)
MIN_PIXELS = 400


def run(quick: bool) -> list[Claim]:
    return [
        *speed(frames=3 if quick else 12),
        memory(frames=8 if quick else 200),
        *sensors(scenes=3 if quick else SCENES, frames=1 if quick else FRAMES),
        colour_control(views=30 if quick else 400),
    ]


def speed(frames: int) -> list[Claim]:
    """Wall and processor time of a keyframe at full size, all files written."""
    walls, cores = [], []
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder) / "warm", scenes=1, frames=1, image_size=(64, 36))
        last = [time.perf_counter(), time.process_time()]

        def progress(done: int, total: int, what: str) -> None:
            now = [time.perf_counter(), time.process_time()]
            walls.append(now[0] - last[0])
            cores.append(now[1] - last[1])
            last[:] = now

        build(Path(folder) / "city", scenes=1, frames=frames, progress=progress)
    # The first step makes the city, the last writes the tables.
    took, spent = median(walls[1:-1] or walls[1:]), median(cores[1:-1] or cores[1:])
    return [
        score(
            "keyframe_seconds",
            took,
            goal=4.0,
            unit="s",
            lower_is_better=True,
            agreement={"core_seconds": spent},
        ),
        score("scene_seconds", walls[0] + walls[-1], goal=None, unit="s", lower_is_better=True),
    ]


def memory(frames: int) -> Claim:
    """Growth of the resident memory's peak while one scene is written, after its first frames."""
    peaks: list[float] = []

    def progress(done: int, total: int, what: str) -> None:
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)

    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder) / "city", scenes=1, frames=frames, image_size=(320, 180), progress=progress)
    growth = peaks[-2] - peaks[min(5, len(peaks) - 2)]
    return score(
        "memory_growth_mb",
        growth,
        goal=50.0,
        unit="MB",
        lower_is_better=True,
        agreement={"frames": frames, "peak_mb": peaks[-1]},
    )


def sensors(scenes: int, frames: int) -> list[Claim]:
    """Class shares, camera coverage and occlusion of a build with the command's defaults."""
    counts, coverage = np.zeros(len(CLASSES)), np.zeros(7)
    in_image, seen = 0, 0
    for seed in range(DEFAULT_SEED, DEFAULT_SEED + scenes):
        city = City(seed)
        for index in range(frames):
            at = 1.0 + 0.5 * index
            sweep = scan(city, at)
            counts += np.bincount(CLASS_OF_CATEGORY[sweep.category], minlength=len(CLASSES))
            bits = []
            for camera in CAMERAS:
                fired = at - SWEEP_SECONDS * (1 - camera.sweep_fraction)
                bits.append(seen_by(city, sweep, aim(city, fired, camera.name, NATIVE_SIZE), fired))
            table = np.stack(bits, 1)
            coverage += np.bincount(((table & IN_IMAGE) > 0).sum(1), minlength=7)
            in_image += int(((table & IN_IMAGE) > 0).sum())
            seen += int(((table & SEEN) > 0).sum())
    shares = 100 * counts[1:] / counts.sum()
    coverage /= coverage.sum()
    hidden = float(1 - seen / in_image)
    rarest = dict(
        sorted(zip(CLASSES[1:], shares.round(3).tolist(), strict=True), key=lambda item: item[1])[:4]
    )
    goal = 0.05 if scenes == SCENES else None  # a few frames say nothing about rare classes
    claims = [score("rarest_class_percent", float(shares.min()), goal=goal, unit="%", agreement=rarest)]
    for cameras, real in enumerate(REAL_COVERAGE):
        off = float(abs(coverage[cameras] - real))
        claims.append(
            score(
                f"seen_by_{cameras}_off_points",
                100 * off,
                goal=10.0,
                unit="points",
                lower_is_better=True,
                agreement={"city": float(coverage[cameras]), "nuscenes": real},
            )
        )
    within = bool(0.03 <= hidden <= 0.12)
    claims.append(
        Claim("occluded_share", hidden, None, "share", None, None, within, {"allowed": "0.03 to 0.12"})
    )
    points = float(counts.sum() / (scenes * frames))
    claims.append(score("points_per_sweep", points, goal=None, unit="points", baseline=None))
    return claims


def colour_control(views: int) -> Claim:
    """Share of true regions whose class a nearest neighbour by mean colour finds."""
    known, truth = region_colours(TRAIN_SEEDS, 2 * views, 11)
    asked, answer = region_colours(VAL_SEEDS, views, 12)
    found = truth[cKDTree(known).query(asked)[1]]
    right = found == answer
    per_class = [right[answer == c].mean() for c in np.unique(answer)]
    return score(
        "colour_only_accuracy",
        float(right.mean()),
        goal=0.55,
        unit="share",
        lower_is_better=True,
        agreement={"mean_over_classes": float(np.mean(per_class)), "regions": len(answer)},
    )


def region_colours(seeds: range, views: int, rng_seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean colour (N, 3) and class (N,) of the regions of the 16 classes that are large enough."""
    colours, classes = [], []
    for _, view in sample_views(seeds, views, (800, 450), rng_seed):
        ids, where = np.unique(view.object_id, return_inverse=True)
        where = where.ravel()
        count = np.bincount(where)
        mean = np.stack([np.bincount(where, view.rgb[..., c].ravel()) / count for c in range(3)], 1)
        kind = np.zeros(len(ids), np.int64)
        kind[where] = CLASS_OF_CATEGORY[view.category].ravel()
        keep = (count >= MIN_PIXELS) & (kind > 0)
        colours.append(mean[keep])
        classes.append(kind[keep])
    return np.concatenate(colours), np.concatenate(classes)


if __name__ == "__main__":
    harness.main("world", __doc__, run)
