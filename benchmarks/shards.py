"""Shards against one .npz per frame: reading, writing, bytes.

Frames of 34,688 points, 22,000 views and 600 regions with features of 512 x float16; labels run along
the scan lines, and pixels along the image, as in real sweeps. Warm, one process, its computing time. Read
are label, confidence, region and the regions' features. `shards_two_workers`: a `DataLoader` over a
`ShardStream` with two workers beside one, which read all arrays and give back the frame's id; with
`_tensors` they give back the arrays, which torch hands over through shared memory. `shards_total`: beside a
feature of that width for every point.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import harness
import numpy as np
from harness import Claim
from torch.utils.data import DataLoader, IterableDataset

from labelgen.core.records import FrameRecord, FrameStatus, PointLabels, RegionHits, Regions, Semantics, Views
from labelgen.data import ShardStream, collate
from labelgen.geometry.fractions import inside_of_steps
from labelgen.runs import open_run
from labelgen.shards import StoredFrame, create_run, write_shard

FINGERPRINT = "benchmark"
POINTS, VIEWS, REGIONS, WIDTH, CLASSES, CAMERAS = 34_688, 22_000, 600, 512, 16, 6
BATCH = 8  # frames that a worker hands over at once


def run(quick: bool) -> list[Claim]:
    """All claims; goals are those of the project."""
    frames = 16 if quick else 64
    rng = np.random.default_rng(0)
    records = [make_frame(rng, number) for number in range(frames)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        written = [write_seconds(folder / f"write-{n}", records) / frames for n in range(3 if quick else 5)]
        run_folder = folder / "run"
        write_seconds(run_folder, records)
        for record in records:
            np.savez(
                folder / f"{record.frame_id}.npz",
                label=record.labels.label,
                confidence=record.labels.confidence,
                region=record.labels.region,
                feature=record.semantics.feature,
            )
        opened = open_run(run_folder)
        order = list(rng.permutation(opened.frames))

        def npz() -> None:
            for frame_id in order:
                with np.load(folder / f"{frame_id}.npz") as stored:
                    _ = [stored[name] for name in ("label", "confidence", "region", "feature")]

        def random_frames() -> None:
            for frame_id in order:
                use(opened.frame(frame_id))

        def stream() -> None:
            for frame in opened.stream():
                use(frame)

        times = harness.interleave(
            {"npz": npz, "random": random_frames, "stream": stream},
            seconds=6 if quick else 30,
            cpu_time=True,
        )
        per_frame = {name: [seconds / frames for seconds in values] for name, values in times.items()}
        reading, tensors = (worker_times(folder / name, records, quick, name) for name in ("ids", "tensors"))
        sizes = {name: entry.size for name, entry in opened.manifests[0].arrays.items()}
        equal = all(
            np.array_equal(opened.frame(record.frame_id).labels.label, record.labels.label)
            and np.array_equal(opened.frame(record.frame_id).semantics.feature, record.semantics.feature)
            for record in records
        )
    small = sum(size for name, size in sizes.items() if not name.startswith("regions/"))
    agreement = {"equal": equal}
    return [
        harness.faster(
            "shards_stream", per_frame["stream"], per_frame["npz"], goal=1.5, agreement=agreement, valid=equal
        ),
        harness.faster(
            "shards_random", per_frame["random"], per_frame["npz"], goal=0.5, agreement=agreement, valid=equal
        ),
        harness.faster("shards_write", [statistics.median(written)], None, goal=30.0),
        harness.score(
            "shards_points_views", small / frames / 1e3, goal=400.0, unit="KB/frame", lower_is_better=True
        ),
        harness.score(
            "shards_total",
            sum(sizes.values()) / frames / 1e3,
            baseline=POINTS * WIDTH * 2 / 1e3,
            goal=15.0,
            unit="KB/frame",
            lower_is_better=True,
        ),
        harness.faster("shards_two_workers", reading[2], reading[1], goal=1.8),
        harness.faster("shards_two_workers_tensors", tensors[2], tensors[1], goal=None),
    ]


def worker_times(
    folder: Path, records: list[FrameRecord], quick: bool, given_back: str
) -> dict[int, list[float]]:
    """{number of workers: seconds per frame of each round}, of a run of several shards."""
    create_run(folder, fingerprint=FINGERPRINT, config={}, taxonomy={}, models=[])
    step = 4
    for begin in range(0, len(records), step):
        write_shard(folder, records[begin : begin + step], [], fingerprint=FINGERPRINT)
    repeats = 40 if quick else 20
    fields = ("points/label", "points/confidence", "points/region", "regions/feature")
    transform = only_id if given_back == "ids" else None
    stream = Repeated(ShardStream(folder, fields, transform=transform), repeats)
    times: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(3 if quick else 7):
        for count in (1, 2):
            loader = DataLoader(
                stream,
                batch_size=BATCH,
                collate_fn=list if given_back == "ids" else collate,
                num_workers=count,
                multiprocessing_context="fork",
            )
            begun, given = 0.0, 0
            for given, _ in enumerate(loader):
                if given == 8:  # the workers have started
                    begun = time.perf_counter()
            times[count].append((time.perf_counter() - begun) / (given - 8) / BATCH)
    return times


def only_id(sample: dict[str, object]) -> dict[str, object]:
    """What is left of a sample whose arrays were read: nothing that torch would have to hand over."""
    return {"frame_id": sample["frame_id"]}


class Repeated(IterableDataset):  # type: ignore[type-arg]
    """A stream several times over, so that starting the workers does not count."""

    def __init__(self, stream: ShardStream, times: int) -> None:
        self.stream, self.times = stream, times

    def __iter__(self) -> Iterator[object]:
        for _ in range(self.times):
            yield from self.stream


def use(frame: StoredFrame) -> None:
    """Read the four fields of the comparison."""
    for name in ("points/label", "points/confidence", "points/region", "regions/feature"):
        frame.array(name)


def write_seconds(folder: Path, records: list[FrameRecord]) -> float:
    """Seconds to write one shard into a new run."""
    shutil.rmtree(folder, ignore_errors=True)
    create_run(folder, fingerprint=FINGERPRINT, config={}, taxonomy={}, models=[])
    begin = time.perf_counter()
    write_shard(folder, records, [], fingerprint=FINGERPRINT)
    return time.perf_counter() - begin


def make_frame(rng: np.random.Generator, number: int) -> FrameRecord:
    """A frame whose values have the neighbourhoods of a real one."""

    def runs(high: int, size: int, mean_length: float) -> np.ndarray:
        starts = np.where(rng.random(size) < 1 / mean_length, np.arange(size), 0)
        return rng.integers(0, high, size)[np.maximum.accumulate(starts)]

    point = np.concatenate(
        [np.sort(rng.choice(POINTS, VIEWS // CAMERAS, replace=False)) for _ in range(CAMERAS)]
    )
    steps = rng.normal(0, 2, (len(point), 2)).cumsum(axis=0)
    uv = np.abs(steps) % np.array([1599, 899])
    visible = rng.random(len(point)) < 0.93
    residual = np.where(visible, 0, rng.exponential(3, len(point)))
    seen = np.zeros(POINTS, bool)
    seen[point] = True
    feature = rng.normal(size=(REGIONS, WIDTH))
    corners = rng.random((REGIONS, 2, 2)) * (1600, 900)

    def labelled(values: np.ndarray, otherwise: int, dtype: str) -> np.ndarray:
        return np.where(seen, values, otherwise).astype(dtype)

    count = rng.integers(1, 4, len(point))
    under = np.stack([runs(REGIONS, len(point), length) for length in (7, 15, 30)], axis=1)
    under = under[np.arange(3) < count[:, None]]
    inside = np.where(rng.random(len(under)) < 0.75, 24, rng.integers(1, 25, len(under))).astype(np.uint8)
    hits = RegionHits(
        np.concatenate([[0], np.cumsum(count)]).astype(np.int64),
        under.astype(np.int32),
        inside_of_steps(inside, 8),
        8,
    )

    return FrameRecord(
        frame_id=f"{number:032x}",
        scene_id="scene-0001",
        timestamp_us=1_532_402_927_647_951 + 500_000 * number,
        source_id="source",
        status=FrameStatus.OK,
        notes=(),
        source_hashes={f"{number}.bin": "0" * 32},
        views=Views(
            point=point.astype(np.int32),
            camera=np.repeat(np.arange(CAMERAS), VIEWS // CAMERAS).astype(np.uint8),
            uv=uv.astype(np.float32),
            depth=np.abs(np.cumsum(rng.normal(0, 0.3, len(point)))).astype(np.float32) + 2,
            depth_residual=residual.astype(np.float32),
            visible=visible,
        ),
        view_region=runs(REGIONS, len(point), 7).astype(np.uint16),
        regions=Regions(
            camera=np.sort(rng.integers(0, CAMERAS, REGIONS)).astype(np.uint8),
            box_xyxy=np.concatenate([corners.min(1), corners.max(1)], axis=1).astype(np.float32),
            area=rng.integers(100, 100_000, REGIONS).astype(np.int32),
            score=rng.random(REGIONS).astype(np.float16),
            stability=rng.random(REGIONS).astype(np.float16),
            rle=tuple(rng.bytes(int(rng.integers(60, 400))) for _ in range(REGIONS)),
        ),
        semantics=Semantics(
            class_scores=rng.dirichlet(np.ones(CLASSES), REGIONS).astype(np.float16),
            label=rng.integers(0, CLASSES, REGIONS).astype(np.uint8),
            feature=(feature / np.linalg.norm(feature, axis=1, keepdims=True)).astype(np.float16),
        ),
        labels=PointLabels(
            label=labelled(runs(CLASSES, POINTS, 10), 255, "u1"),
            confidence=labelled(rng.normal(200, 30, POINTS).clip(0, 255), 0, "u1"),
            margin=labelled(rng.normal(120, 50, POINTS).clip(0, 255), 0, "u1"),
            instance=labelled(runs(40, POINTS, 20), 0, "u2"),
            region=labelled(runs(REGIONS, POINTS, 10), 65535, "u2"),
            camera=labelled(runs(CAMERAS, POINTS, 50), 255, "u1"),
            views=seen.astype(np.uint8),
            reason=labelled(np.zeros(POINTS), 1, "u1"),
        ),
        hits=hits,
    )


if __name__ == "__main__":
    harness.main("shards", __doc__, run)
