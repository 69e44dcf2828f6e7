"""Votes of all regions that a point falls into: label, confidence, margin, and why there is none.

Every visible view of a point votes with every region that its pixel falls in. A region's vote is its
class scores times a weight (`region_weights`, `_share`, and the evidence of the view itself, see
`labelgen.labels.evidence`); what its scores lack to 1 goes to the void class, which competes like any other.
The label is the class with the largest sum.

The result does not depend on the order of cameras, regions or views: weights are multiples of 2^-20 and
class scores, being float16 in 0..1, multiples of 2^-24, so that every product and every sum below is
exact in float64, whatever the order.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from labelgen.core.records import (
    NO_CAMERA,
    NO_REGION,
    UNLABELLED,
    PointLabels,
    Reason,
    RegionHits,
    Regions,
    Semantics,
    Views,
)
from labelgen.labels.settings import VoteSettings

#: Among regions under one pixel, one weighs area^-SPECIFICITY: a hundredth of the pixels, ten times the vote.
SPECIFICITY = 0.5

_LABELLED, _NO_CAMERA, _OCCLUDED, _EGO, _NO_REGION, _TOO_CLOSE, _VOID, _CAMERA_MISSING, *_ = map(int, Reason)
_NO_RETURN = int(Reason.NO_RETURN)


def vote(
    num_points: int,
    views: Views,
    hits: RegionHits,
    regions: Regions,
    semantics: Semantics,
    settings: VoteSettings,
    camera_ok: NDArray[np.bool_],
    ego: NDArray[np.bool_],
    evidence: NDArray[np.float64] | None = None,
    returned: NDArray[np.bool_] | None = None,
) -> PointLabels:
    """Label the points of one frame.

    A point without a label gets the first reason that holds: NO_RETURN; EGO; NO_CAMERA; CAMERA_MISSING (it
    projects into images, but all of them are missing); OCCLUDED (hidden in every camera that is there);
    NO_REGION (no region under it, or only regions that weigh nothing); VOID (void has the most votes);
    TOO_CLOSE.
    Confidence, margin, deciding region and camera are kept for the last two. Equal sums: the lowest class
    id wins, and any class wins over void. Equal contributions: the smaller region decides, then the lower
    camera, then the lower row.

    Args:
        num_points: N, points in the cloud.
        views: (V,) rows of the frame.
        hits: regions under each view.
        regions: (K,) rows.
        semantics: (K,) rows; scores that are not numbers count as 0.
        settings: when votes are enough.
        camera_ok: (cameras,) False where the image is missing or unreadable.
        ego: (N,) True for points on or near the ego vehicle.
        evidence: (H,) float64, share of each hit's vote that counts, in 0..1; None: all of all.
        returned: (N,) False for points that are no return, see `labelgen.core.returns`; None: all are.

    Returns:
        N rows; ``instance`` is 0 everywhere.

    Raises:
        ValueError: if the arguments do not belong together.
    """
    _check(num_points, views, hits, regions, semantics, camera_ok, ego, evidence, returned)
    columns = _vote(
        num_points,
        (views.point, views.camera, views.visible),
        _weights(hits, regions, evidence),
        regions.area,
        class_votes(semantics),
        settings.min_margin,
        camera_ok,
        _known(ego, returned),
    )
    label, confidence, margin, region, camera, seen, reason = columns
    instance = np.zeros(num_points, np.uint16)
    return PointLabels(label, confidence, margin, instance, region, camera, seen, reason)


def class_evidence(
    num_points: int,
    views: Views,
    hits: RegionHits,
    regions: Regions,
    semantics: Semantics,
    camera_ok: NDArray[np.bool_],
    ego: NDArray[np.bool_],
    evidence: NDArray[np.float64] | None = None,
    returned: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """The sums that `vote` decides by; arguments as there.

    Returns:
        (N, C + 1) float32: votes for each class, void last; at most one for each view. 0 for points of the
        ego vehicle, for those that are no return, and for those without a vote.
    """
    _check(num_points, views, hits, regions, semantics, camera_ok, ego, evidence, returned)
    return _sums(
        num_points,
        (views.point, views.camera, views.visible),
        _weights(hits, regions, evidence),
        class_votes(semantics),
        camera_ok,
        _known(ego, returned),
    )


def region_weights(regions: Regions) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What a region brings to the weight of its votes; see `_share` for how the two are used.

    Returns:
        quality (K,): the proposer's score, in 0..1; and specificity (K,): area^-SPECIFICITY in whole
        units of 2^-32, so that sums are exact.
    """
    quality = np.clip(np.nan_to_num(regions.score.astype(np.float64)), 0.0, 1.0)
    area = np.maximum(regions.area, 1).astype(np.float64)
    return quality, np.rint(area**-SPECIFICITY * 2.0**32)


def _weights(
    hits: RegionHits, regions: Regions, evidence: NDArray[np.float64] | None
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """The table of hits with the weight of each one's vote."""
    quality, specificity = region_weights(regions)
    factor = np.ones(0) if evidence is None else evidence
    return hits.offsets, hits.region, _share(hits.offsets, hits.region, quality, specificity, factor)


@numba.njit(cache=True, error_model="numpy")
def _share(
    offsets: NDArray[np.int64],
    under: NDArray[np.int32],
    quality: NDArray[np.float64],
    specificity: NDArray[np.float64],
    factor: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(H,) weight of one region's vote in one view.

    w = e q_r s_r / sum of s over all regions under the pixel, rounded to a multiple of 2^-20: each view
    has at most one vote to give, shared among its regions by how specific they are, and keeps back
    what the regions lack in quality q and the view in evidence e (distance to the mask's edge, depth
    residual, viewing angle).
    """
    weight = np.empty(len(under))
    for v in range(len(offsets) - 1):
        rivals = 0.0
        for h in range(offsets[v], offsets[v + 1]):
            rivals += specificity[under[h]]
        for h in range(offsets[v], offsets[v + 1]):
            r = under[h]
            share = quality[r] * specificity[r] / rivals
            if len(factor):
                share *= factor[h]
            weight[h] = np.rint(share * 1048576.0) / 1048576.0
    return weight


def _known(ego: NDArray[np.bool_], returned: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    """(N,) the reason of points that no vote is needed for; 0 for all others."""
    known = np.where(ego, np.uint8(_EGO), np.uint8(0))
    return known if returned is None else np.where(returned, known, np.uint8(_NO_RETURN))


def class_votes(semantics: Semantics) -> NDArray[np.float64]:
    """(K, C + 1) float64: class scores in 0..1, and in the last column what they lack to 1 (void)."""
    votes: NDArray[np.float64] = _with_void(semantics.class_scores.astype(np.float64))
    return votes


@numba.njit(cache=True)
def _with_void(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    K, C = scores.shape
    votes = np.empty((K, C + 1))
    for r in range(K):
        total = 0.0
        for c in range(C):
            votes[r, c] = min(scores[r, c], 1.0) if scores[r, c] > 0 else 0.0  # not a number: 0
            total += votes[r, c]
        votes[r, C] = max(1.0 - total, 0.0)
    return votes


@numba.njit(cache=True, error_model="numpy")
def _vote(
    N: int,
    views: tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.bool_]],
    hits: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]],
    area: NDArray[np.int32],
    votes: NDArray[np.float64],
    min_margin: float,
    camera_ok: NDArray[np.bool_],
    known: NDArray[np.uint8],
) -> tuple[NDArray[Any], ...]:
    point, camera, visible = views
    offsets, under, weight = hits
    begins, order = _by_point(point, N)
    C = votes.shape[1] - 1
    total = np.zeros(C + 1)
    mass = np.zeros(len(votes))  # of each region's votes
    for r in range(len(votes)):
        for c in range(C + 1):
            mass[r] += votes[r, c]
    label = np.full(N, UNLABELLED, np.uint8)
    confidence = np.zeros(N, np.uint8)
    margin = np.zeros(N, np.uint8)
    decider = np.full(N, NO_REGION, np.uint16)
    chosen = np.full(N, NO_CAMERA, np.uint8)
    seen = np.zeros(N, np.uint8)
    reason = np.full(N, _NO_CAMERA, np.uint8)
    for i in range(N):
        present = 0
        for j in range(begins[i], begins[i + 1]):
            present += camera_ok[camera[order[j]]]
            seen[i] += camera_ok[camera[order[j]]] & visible[order[j]]
        if known[i]:
            reason[i] = known[i]
        elif begins[i] == begins[i + 1]:
            reason[i] = _NO_CAMERA
        elif present == 0:
            reason[i] = _CAMERA_MISSING
        elif seen[i] == 0:
            reason[i] = _OCCLUDED
        else:
            reason[i] = _NO_REGION
        if reason[i] != _NO_REGION:
            continue

        for c in range(C + 1):
            total[c] = 0
        everything, number, last, from_camera = 0.0, 0, NO_REGION, NO_CAMERA
        for j in range(begins[i], begins[i + 1]):
            v = order[j]
            if not (camera_ok[camera[v]] and visible[v]):
                continue
            for h in range(offsets[v], offsets[v + 1]):
                r = under[h]
                everything += weight[h] * mass[r]
                number, last, from_camera = number + 1, r, camera[v]
                for c in range(C + 1):
                    total[c] += weight[h] * votes[r, c]
        if everything == 0:
            continue

        winner, first, second = 0, total[0], 0.0
        for c in range(1, C + 1):
            second = max(second, min(first, total[c]))
            winner = c if total[c] > first else winner
            first = max(first, total[c])
        share, lead = first / everything, (first - second) / everything
        confidence[i] = int(share * 255 + 0.5)
        margin[i] = int(lead * 255 + 0.5)
        reason[i] = _VOID if winner == C else _TOO_CLOSE if lead < min_margin else _LABELLED
        if reason[i] == _LABELLED:
            label[i] = winner

        most = -1.0
        for j in range(begins[i], begins[i + 1] if number > 1 else begins[i]):
            v = order[j]
            if not (camera_ok[camera[v]] and visible[v]):
                continue
            for h in range(offsets[v], offsets[v + 1]):
                r = under[h]
                part = weight[h] * votes[r, winner]
                if part > most or (
                    part == most
                    and (
                        area[r] < area[last]
                        or (area[r] == area[last] and camera[v] == from_camera and r < last)
                    )
                ):
                    most, last, from_camera = part, r, camera[v]
        decider[i], chosen[i] = last, from_camera
    return label, confidence, margin, decider, chosen, seen, reason


@numba.njit(cache=True, error_model="numpy")
def _sums(
    N: int,
    views: tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.bool_]],
    hits: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]],
    votes: NDArray[np.float64],
    camera_ok: NDArray[np.bool_],
    known: NDArray[np.uint8],
) -> NDArray[np.float32]:
    point, camera, visible = views
    offsets, under, weight = hits
    begins, order = _by_point(point, N)
    C = votes.shape[1] - 1
    out = np.zeros((N, C + 1), np.float32)
    total = np.zeros(C + 1)
    for i in range(N):
        if known[i]:
            continue
        for c in range(C + 1):
            total[c] = 0
        for j in range(begins[i], begins[i + 1]):
            v = order[j]
            if camera_ok[camera[v]] and visible[v]:
                for h in range(offsets[v], offsets[v + 1]):
                    for c in range(C + 1):
                        total[c] += weight[h] * votes[under[h], c]
        for c in range(C + 1):
            out[i, c] = total[c]
    return out


@numba.njit(cache=True)
def _by_point(point: NDArray[np.int32], N: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Rows of views by point, as offsets (N + 1,) and rows (V,): a counting sort, which keeps their order."""
    begins = np.zeros(N + 1, np.int32)
    for v in range(len(point)):
        begins[point[v] + 1] += 1
    for i in range(N):
        begins[i + 1] += begins[i]
    place = begins[:-1].copy()
    order = np.empty(len(point), np.int32)
    for v in range(len(point)):
        order[place[point[v]]] = v
        place[point[v]] += 1
    return begins, order


def _check(
    num_points: int,
    views: Views,
    hits: RegionHits,
    regions: Regions,
    semantics: Semantics,
    camera_ok: NDArray[np.bool_],
    ego: NDArray[np.bool_],
    evidence: NDArray[np.float64] | None,
    returned: NDArray[np.bool_] | None,
) -> None:
    """The kernel indexes without looking: whatever it indexes by is checked here."""
    K = len(regions)
    if len(semantics) != K:
        raise ValueError(f"{len(semantics)} semantics for {K} regions")
    for name, mask in (("ego", ego), ("returned", ego if returned is None else returned)):
        if mask.shape != (num_points,):
            raise ValueError(f"{name} mask of shape {mask.shape} for {num_points} points")
    if len(hits.offsets) != len(views) + 1 or (len(views) and np.any(np.diff(hits.offsets) < 0)):
        raise ValueError(f"hits do not belong to these {len(views)} views")
    if evidence is not None:
        if evidence.shape != hits.region.shape or evidence.dtype != np.float64:
            raise ValueError(f"evidence of {evidence.dtype} {evidence.shape} for {len(hits.region)} hits")
        if len(evidence) and not (evidence.min() >= 0 and evidence.max() <= 1):  # NaN fails too
            raise ValueError("evidence outside of 0 to 1")
    if hits.offsets[0] != 0 or hits.offsets[-1] != len(hits.region):
        raise ValueError("hits: offsets do not cover the regions")
    for name, index, size in (
        ("views.point", views.point, num_points),
        ("views.camera", views.camera, len(camera_ok)),
        ("hits.region", hits.region, K),
    ):
        if len(index) and not (index.min() >= 0 and index.max() < size):
            raise ValueError(f"{name} holds {index.min()}..{index.max()}, which is outside 0..{size - 1}")
    if semantics.class_scores.shape[1] >= UNLABELLED:
        raise ValueError(f"{semantics.class_scores.shape[1]} classes; {UNLABELLED} is the label of none")
