"""Fusion over time against per-frame votes, on ten-frame scenes of the simulated city.

Every frame's votes come from true masks (each object in each camera is a region), the library's own
projection and depth test, and a classifier that is wrong about one region in five, anew in every camera and
frame. Claims:
- ``fusion_miou_all``: mean IoU over all points, fused and per frame; at least 3 points more.
- ``fusion_coverage``: share of all points that have a label; at least 0.85.
- ``fusion_things``: mean IoU of thing classes over points that have a per-frame label; not lower.
- ``fusion_frame``: seconds per frame. ``fusion_map``: megabytes of the largest map.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import harness
import numpy as np
from visibility import keyframe

from labelgen.core.frame import Frame
from labelgen.core.records import NO_REGION, PointLabels, RegionHits, Regions, Semantics
from labelgen.core.taxonomy import load_taxonomy
from labelgen.demo.world import CLASS_OF_CATEGORY, VAL_SEEDS, City
from labelgen.demo.world.lidar import scan
from labelgen.demo.world.visibility import SAME_OBJECT
from labelgen.geometry import ego_mask, project
from labelgen.labels import fuse
from labelgen.labels.fuse import Sighting, fuse_scene
from labelgen.labels.instances import find_instances
from labelgen.labels.settings import FusionSettings, VoteSettings
from labelgen.labels.tracks import Tracker
from labelgen.labels.vote import class_evidence, vote
from labelgen.metrics import SegmentationScore

TAXONOMY = load_taxonomy("nuscenes16")
CLASSES = len(TAXONOMY)
THINGS = [spec.thing for spec in TAXONOMY.classes]
FRAMES = 10
WRONG = 0.2


def scene(seed: int) -> list[tuple[Frame, Sighting, np.ndarray]]:
    """Frames half a second apart, with per-frame labels, votes and truth."""
    made = []
    city = City(seed=seed)
    for number in range(FRAMES):
        frame, cloud, bits = keyframe(seed, 1.0 + 0.5 * number)
        sweep = scan(city, 1.0 + 0.5 * number)
        challenge = CLASS_OF_CATEGORY[sweep.category].astype(np.int64)
        truth = np.where(challenge == 0, 255, challenge - 1).astype(np.uint8)
        frame = replace(frame, frame_id=f"{seed}-{number}", timestamp_us=500_000 * number)
        made.append((frame, sighting(frame, cloud, bits, sweep.object_id, truth, seed + number), truth))
    return follow(made)


def sighting(frame, cloud, bits, objects, truth, seed) -> Sighting:
    """Votes of one frame: true masks, classes that are wrong now and then."""
    rng = np.random.default_rng(seed)
    views = project(frame, cloud)
    thing = objects[views.point].astype(np.int64)
    really = (bits[views.point, views.camera] & SAME_OBJECT) > 0
    thing[~really] = -1 - rng.integers(0, 30, int((~really).sum()))  # whatever stands before it
    keys, region = np.unique(views.camera.astype(np.int64) << 32 | thing + 64, return_inverse=True)
    K = len(keys)
    commonest = np.full(K, 255)
    for k in range(K):
        known = truth[views.point[(region == k) & really]]
        if len(known):
            commonest[k] = np.bincount(known).argmax()
    wrong = (rng.random(K) < WRONG) | (commonest == 255)
    said = np.where(wrong, rng.integers(0, CLASSES, K), commonest)
    scores = np.full((K, CLASSES), 0.2 / CLASSES, np.float16)
    scores[np.arange(K), said] = 0.7
    regions = Regions(
        camera=(keys >> 32).astype(np.uint8),
        box_xyxy=np.zeros((K, 4), np.float32),
        area=np.bincount(region, minlength=K).astype(np.int32) * 100,
        score=np.full(K, 0.9, np.float16),
        stability=np.ones(K, np.float16),
        rle=(b"0",) * K,
    )
    semantics = Semantics(scores, said.astype(np.uint8), np.zeros((K, 1), np.float16))
    hits = RegionHits(np.arange(len(views) + 1, dtype=np.int64), region.astype(np.int32))
    ok, ego = np.ones(len(frame.cameras), bool), ego_mask(cloud.xyz)
    parts = (len(cloud), views, hits, regions, semantics)
    labels = vote(*parts, VoteSettings(), ok, ego)
    instance = find_instances(cloud.xyz, labels, *parts[1:], THINGS)
    return Sighting(
        frame_id=frame.frame_id,
        time_us=frame.timestamp_us,
        global_from_lidar=frame.global_from_lidar,
        xyz=cloud.xyz,
        evidence=class_evidence(*parts, ok, ego),
        labels=replace(labels, instance=instance),
        moving=np.zeros(len(cloud), bool),
    )


def follow(made: list[tuple[Frame, Sighting, np.ndarray]]) -> list[tuple[Frame, Sighting, np.ndarray]]:
    """The same with instances numbered over the scene and what moves marked."""
    tracker, tracks = Tracker(), []
    for _, one, _ in made:
        labels = one.labels
        tracks.append(
            tracker.update(one.time_us, one.global_from_lidar, one.xyz, labels.label, labels.instance)
        )
    moving = list(tracker.moving)
    return [
        (frame, replace(one, labels=replace(one.labels, instance=ids), moving=np.isin(ids, moving)), truth)
        for (frame, one, truth), ids in zip(made, tracks, strict=True)
    ]


def things_iou(score: SegmentationScore) -> float:
    """Mean IoU of the thing classes that there are, over all points of the score."""
    iou = score.result()["iou_all"]
    values = [iou[spec.name] for spec in TAXONOMY.classes if spec.thing and iou[spec.name] is not None]
    return float(np.mean(values))


def watched(sizes: list[int]) -> type:
    """The map, telling its memory."""

    class Watched(fuse.VoxelMap):
        def forget(self, centre: np.ndarray, reach: float) -> None:
            super().forget(centre, reach)
            sizes.append(self.nbytes)

    return Watched


def fused(sightings: list[Sighting], settings: FusionSettings) -> Iterator[PointLabels]:
    for _, labels in fuse_scene(iter(sightings), settings):
        yield labels


def run(quick: bool) -> list[harness.Claim]:
    """Fuse and compare."""
    names = TAXONOMY.names
    before, after, things_before, things_after = (SegmentationScore(names) for _ in range(4))
    sizes: list[int] = []
    seconds, frames = 0.0, 0
    original, fuse.VoxelMap = fuse.VoxelMap, watched(sizes)
    try:
        for seed in VAL_SEEDS[: 2 if quick else 10]:
            made = scene(seed)
            begin = time.perf_counter()
            results = list(fused([one for _, one, _ in made], FusionSettings()))
            seconds, frames = seconds + time.perf_counter() - begin, frames + len(made)
            for (_, one, truth), labels in zip(made, results, strict=True):
                before.update(truth, one.labels.label)
                after.update(truth, labels.label)
                seen = one.labels.region != NO_REGION
                things_before.update(truth[seen], one.labels.label[seen])
                things_after.update(truth[seen], labels.label[seen])
    finally:
        fuse.VoxelMap = original
    gain = after.result()["miou_all"] - before.result()["miou_all"]
    beside = {
        "per_frame": before.result()["miou_all"],
        "labelled_before": before.result()["miou"],
        "labelled_after": after.result()["miou"],
    }
    coverage = {"per_frame": before.result()["coverage"]}
    things = {"per_frame": things_iou(things_before)}
    return [
        harness.score("fusion_miou_all", gain, goal=0.03, unit="mIoU gained", agreement=beside),
        harness.score(
            "fusion_coverage", after.result()["coverage"], goal=0.85, unit="share", agreement=coverage
        ),
        harness.score(
            "fusion_things",
            things_iou(things_after),
            baseline=things_iou(things_before),
            goal=1.0,
            unit="mIoU",
            agreement=things,
        ),
        harness.score("fusion_frame", seconds / frames, goal=None, unit="s", lower_is_better=True),
        harness.score("fusion_map", max(sizes) / 1e6, goal=None, unit="MB", lower_is_better=True),
    ]


if __name__ == "__main__":
    harness.main("fusion", __doc__, run)
