"""Labels fused over the frames of a scene: what was seen at another time tells what is there now."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelgen.core.records import NO_CAMERA, NO_REGION, UNLABELLED, PointLabels, Reason
from labelgen.labels.settings import FusionSettings
from labelgen.labels.voxels import VoxelMap


@dataclass(frozen=True)
class Sighting:
    """What fusion needs of one frame.

    Attributes:
        frame_id: of the frame.
        time_us: of the sweep.
        global_from_lidar: (4, 4) pose.
        xyz: (N, 3) float32 metres in the LiDAR frame.
        evidence: (N, C + 1) float32 votes, void last, see `labelgen.labels.class_evidence`.
        labels: N rows of the frame itself; instances are kept where the class stays.
        moving: (N,) bool, points of things that move: neither gathered nor overruled.
    """

    frame_id: str
    time_us: int
    global_from_lidar: NDArray[np.float64]
    xyz: NDArray[np.float32]
    evidence: NDArray[np.float32]
    labels: PointLabels
    moving: NDArray[np.bool_]

    @property
    def nothing(self) -> NDArray[np.bool_]:
        """(N,) bool, points of the ego vehicle and those that are no return: nothing of the world."""
        return np.isin(self.labels.reason, (Reason.EGO, Reason.NO_RETURN))


def fuse_scene(
    sightings: Iterable[Sighting], settings: FusionSettings | None = None
) -> Iterator[tuple[str, PointLabels]]:
    """Fuse a scene's evidence in one pass along its frames.

    Each frame's votes are added to a map of Dirichlet counts (`VoxelMap`), weighed by range, decaying with
    time. A frame is read back when ``ahead`` more frames are gathered, so that it profits from both sides of
    its time; its own votes are in the map and count once more for its own points. A point without an own vote
    takes what the map holds at its place. The ego vehicle, points that are no return and things that move are
    left out, and what a later sweep sees through is cleared. At most ``ahead`` + 1 frames and a map around
    the vehicle are held.

    Args:
        sightings: of one scene, in the order of time.
        settings: see there.

    Yields:
        Frame id and labels, N rows each, in the same order. Confidence is the winner's share of own and
        gathered votes and the prior. A label that changed has no region or camera; one that cannot be told
        leaves TOO_CLOSE or VOID as its reason, or the frame's own reason where nothing is known.

    Raises:
        ValueError: sightings of different numbers of classes, or that do not go together.
    """
    settings = settings or FusionSettings()
    waiting: deque[Sighting] = deque()
    maps: list[VoxelMap] = []
    origin = np.zeros(3)
    last: int | None = None
    for sighting in sightings:
        _check(sighting)
        if not maps:
            channels = sighting.evidence.shape[1]
            maps = [VoxelMap(size, channels, settings.most) for size in settings.voxels]
            # Poses in kilometres would leave the keys' range and cost digits.
            origin = np.asarray(sighting.global_from_lidar[:3, 3], np.float64).copy()
        if sighting.evidence.shape[1] != maps[0].channels:
            raise ValueError(
                f"frame {sighting.frame_id}: the number of classes differs from the frame before"
            )
        passed = 0.0 if last is None else max(0.0, (sighting.time_us - last) * 1e-6)
        last = sighting.time_us
        _gather(maps, sighting, origin, passed, settings)
        waiting.append(sighting)
        if len(waiting) > settings.ahead:
            yield _read(maps, waiting.popleft(), origin, settings)
    while waiting:
        yield _read(maps, waiting.popleft(), origin, settings)


def _gather(
    maps: list[VoxelMap],
    sighting: Sighting,
    origin: NDArray[np.float64],
    passed: float,
    settings: FusionSettings,
) -> None:
    pose = _pose(sighting, origin)
    points = _in_map(sighting.xyz, pose)
    away = np.linalg.norm(sighting.xyz, axis=1)
    weight = np.nan_to_num(1 / (1 + (away / settings.half_range) ** 2)).astype(np.float32)
    weight[sighting.moving | sighting.nothing] = 0
    evidence = sighting.evidence * weight[:, None]
    inverse = np.linalg.inv(pose)
    returns = sighting.xyz[sighting.labels.reason != Reason.NO_RETURN]
    for one in maps:
        one.decay(float(np.exp(-passed / settings.decay_s)))
        if settings.see_through > 0:
            one.clear(inverse, returns, settings.bins_deg, settings.see_through, settings.margin + one.size)
        one.add(points, evidence)
        one.forget(pose[:3, 3], settings.keep)


def _read(
    maps: list[VoxelMap], sighting: Sighting, origin: NDArray[np.float64], settings: FusionSettings
) -> tuple[str, PointLabels]:
    labels = sighting.labels
    points = _in_map(sighting.xyz, _pose(sighting, origin))
    nothing = sighting.nothing
    ask = np.flatnonzero(~(sighting.moving | nothing) & np.isfinite(sighting.xyz).all(axis=1))
    found = np.zeros_like(sighting.evidence)
    for one in maps:
        empty = ask[found[ask].sum(axis=1) == 0]
        found[empty] = one.read(points[empty], around=True)
    own = np.where(sighting.moving, 1.0, settings.own)
    votes = sighting.evidence.astype(np.float64) * own[:, None] + found
    votes[nothing] = 0
    return sighting.frame_id, _decide(votes, labels, settings)


def _decide(votes: NDArray[np.float64], labels: PointLabels, settings: FusionSettings) -> PointLabels:
    rows, void = np.arange(len(votes)), votes.shape[1] - 1
    everything = votes.sum(axis=1)
    winner = votes.argmax(axis=1)  # void is last, so any class wins a tie with it
    first = votes[rows, winner]
    others = votes.copy()
    others[rows, winner] = -1
    second = others.max(axis=1, initial=0.0)
    lead = (first - second) / np.maximum(everything, 1e-9)
    share = (first + settings.prior / votes.shape[1]) / (everything + settings.prior)
    known = everything >= settings.least
    good = known & (winner != void) & (lead >= settings.min_margin)
    label = np.where(good, winner, UNLABELLED).astype(np.uint8)
    told = np.where(winner == void, Reason.VOID, Reason.TOO_CLOSE)
    own_reason = np.where(labels.reason == Reason.LABELLED, Reason.TOO_CLOSE, labels.reason)
    reason = np.where(good, Reason.LABELLED, np.where(known, told, own_reason)).astype(np.uint8)
    same = label == labels.label
    return PointLabels(
        label=label,
        confidence=np.where(known, np.rint(share * 255), 0).astype(np.uint8),
        margin=np.where(known, np.rint(lead * 255), 0).astype(np.uint8),
        instance=np.where(same, labels.instance, np.uint16(0)),
        region=np.where(same, labels.region, np.uint16(NO_REGION)),
        camera=np.where(same, labels.camera, np.uint8(NO_CAMERA)),
        views=labels.views,
        reason=reason,
    )


def _pose(sighting: Sighting, origin: NDArray[np.float64]) -> NDArray[np.float64]:
    pose = np.array(sighting.global_from_lidar, np.float64)
    pose[:3, 3] -= origin
    return pose


def _in_map(xyz: NDArray[np.float32], pose: NDArray[np.float64]) -> NDArray[np.float64]:
    return xyz.astype(np.float64) @ pose[:3, :3].T + pose[:3, 3]


def _check(sighting: Sighting) -> None:
    N = len(sighting.labels)
    if sighting.xyz.shape != (N, 3) or len(sighting.evidence) != N or sighting.moving.shape != (N,):
        raise ValueError(f"frame {sighting.frame_id}: points, votes and labels differ in length")
