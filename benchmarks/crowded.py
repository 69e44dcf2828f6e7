"""What a frame of a million points costs per point beside one of 35,000, wherever its points lie.

All points are of one class of things, and each camera has one region that holds its whole image, so that
nothing but the points' own places tells the instances apart. The goal is a ratio of at least 1/3: a point of
the large frame takes no more than three times as long as one of the city's own scan. The large frame is

- *spread*: the scan with 29 returns for each of its own, half a beam around it at most;
- *crowded*: all points within some centimetres of four places on the street;
- *repeated*: one point, again and again.

`find_instances_*` and `depth_test_*` are these functions alone. `run_*` is ``labelgen run`` with superpixels
and the small CLIP, in a process of its own; `memory_*` is the most that this process holds.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import harness
import numpy as np
from harness import Claim
from numpy.typing import NDArray
from visibility import keyframe

from labelgen.core.frame import Frame, PointCloud
from labelgen.core.records import Regions, Semantics
from labelgen.demo.world import VAL_SEEDS, build
from labelgen.geometry import ego_mask, project, rle
from labelgen.geometry.hits import region_hits
from labelgen.geometry.occlusion import BEAM_SPACING_DEG, depth_residual
from labelgen.geometry.projection import project_points
from labelgen.labels.instances import find_instances
from labelgen.labels.settings import VoteSettings
from labelgen.labels.vote import vote

MILLION = 1_000_000
#: A point may cost so many times what one of an ordinary frame costs.
MOST = 3
SHAPES = ("spread", "crowded", "repeated")
#: Of the run: models that cost little, since points are what is measured.
LIGHT = (
    "regions.backend=superpixel",
    "regions.superpixel_method=slic",
    "semantics.context=0",
    "fusion.enabled=false",
)
# The peak of this process alone: ru_maxrss would count what the parent had before it forked.
LABELGEN = """
import time
from labelgen.cli.main import main
try:
    main()
finally:
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print(time.process_time(), status["VmHWM"].split()[0])
"""


def many(shape: str, scan: NDArray[np.float32], count: int, seen: NDArray[np.int32]) -> NDArray[np.float32]:
    """(count, 3) float32 points: metres, in the LiDAR frame.

    Args:
        shape: of `SHAPES`.
        scan: (n, 3) of an ordinary frame.
        count: of points.
        seen: rows of the scan that cameras see.
    """
    rng = np.random.default_rng(0)
    if shape == "repeated":
        return np.tile(scan[seen[:1]], (count, 1))
    if shape == "crowded":
        heaps = scan[rng.choice(seen, 4, replace=False)]
        return (heaps[rng.integers(0, 4, count)] + rng.normal(0, 0.03, (count, 3))).astype(np.float32)
    base = np.tile(scan, (-(-count // len(scan)), 1))[:count]
    half = np.radians(BEAM_SPACING_DEG["nuscenes"][0]) / 2 * np.linalg.norm(base, axis=1, keepdims=True)
    return (base + half * rng.uniform(-1, 1, base.shape)).astype(np.float32)


def depth_test(frame: Frame, xyz: NDArray[np.float32]) -> Callable[[], object]:
    projection = project_points(xyz, frame.cameras)
    return lambda: depth_residual(projection, xyz, frame.cameras)


def instances(frame: Frame, xyz: NDArray[np.float32]) -> Callable[[], object]:
    """All points one class, one region for each camera."""
    cameras = frame.cameras
    K = len(cameras)
    size = np.array([(camera.width, camera.height) for camera in cameras])
    regions = Regions(
        camera=np.arange(K, dtype=np.uint8),
        box_xyxy=np.concatenate([np.zeros((K, 2)), size], 1).astype(np.float32),
        area=size.prod(1).astype(np.int32),
        score=np.ones(K, np.float16),
        stability=np.ones(K, np.float16),
        rle=tuple(rle.encode(np.ones((camera.height, camera.width), bool)) for camera in cameras),
    )
    semantics = Semantics(np.ones((K, 1), np.float16), np.zeros(K, np.uint8), np.ones((K, 1), np.float16))
    views = project(frame, PointCloud(xyz, np.zeros(len(xyz), np.float32)))
    hits = region_hits(views, regions, cameras)
    ego = ego_mask(xyz, None)
    labels = vote(len(xyz), views, hits, regions, semantics, VoteSettings(), np.ones(K, bool), ego)
    return lambda: find_instances(xyz, labels, views, hits, regions, semantics, [True])


def run(quick: bool) -> list[Claim]:
    """Functions in turn, then whole runs."""
    frame, cloud, _ = keyframe(VAL_SEEDS[0], 1.0)
    seen = project(frame, cloud).point
    count = MILLION // 5 if quick else MILLION
    clouds = {shape: many(shape, cloud.xyz, count, seen) for shape in SHAPES}
    claims = []
    for name, prepare in (("find_instances", instances), ("depth_test", depth_test)):
        functions = {"scan": prepare(frame, cloud.xyz)}
        functions |= {shape: prepare(frame, xyz) for shape, xyz in clouds.items()}
        rounds = {"min_rounds": 2 if quick else 3, "warmup": 1}
        times = harness.interleave(functions, seconds=5 if quick else 20, cpu_time=True, **rounds)
        usual = [seconds / len(cloud.xyz) for seconds in times["scan"]]
        claims += [
            harness.faster(
                f"{name}_{shape}",
                [seconds / count for seconds in times[shape]],
                usual,
                goal=1 / MOST,
                unit="us",
                agreement={"points": count},
            )
            for shape in SHAPES
        ]
    return claims + runs(clouds, cloud.xyz, ("crowded",) if quick else SHAPES)


def runs(
    clouds: dict[str, NDArray[np.float32]], scan: NDArray[np.float32], shapes: tuple[str, ...]
) -> list[Claim]:
    """``labelgen run`` of one frame with its own points, and with those of each shape."""
    claims = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        build(folder / "city", scenes=1, frames=1, seed=VAL_SEEDS[0], image_size=(800, 450))
        usual, _ = run_seconds(folder, "own", scan)
        for shape in shapes:
            seconds, peak = run_seconds(folder, shape, clouds[shape])
            points = len(clouds[shape])
            claims += [
                harness.faster(
                    f"run_{shape}", [seconds / points], [usual / len(scan)], goal=1 / MOST, unit="us"
                ),
                harness.score(f"memory_{shape}", peak / 1e9, goal=1.5, unit="GB", lower_is_better=True),
            ]
    return claims


def run_seconds(folder: Path, name: str, xyz: NDArray[np.float32]) -> tuple[float, int]:
    """CPU seconds of labelling the city's one frame with other points, and the peak memory in bytes."""
    (lidar,) = (folder / "city" / "samples" / "LIDAR_TOP").iterdir()
    rows = np.zeros((len(xyz), 5), np.float32)
    rows[:, :3], rows[:, 3] = xyz, np.arange(len(xyz)) % 200
    rows.tofile(lidar)
    command = [sys.executable, "-c", LABELGEN, "run", "--dataset", "nuscenes"]
    command += ["--dataroot", str(folder / "city"), "--config", "demo", "--output", str(folder / name)]
    command += ["--runner", "sequential", "--no-report", "--json", "--allow", "cloud-copies"]
    command += [word for setting in LIGHT for word in ("--set", setting)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    seconds, kilobytes = done.stdout.split()[-2:]
    return float(seconds), int(kilobytes) << 10


if __name__ == "__main__":
    harness.main("crowded", __doc__, run)
