"""Approximate Flat Interaction: labels of one scan smoothed along flat structures, without training.

Method: UOV / AFOV (arXiv 2405.15286), parameters as published; a variant of Point-NN. Classes travel from
each point to 1365, 455, 151 and 50 centres and back. A neighbour counts as far as it lies in one of the
directions in which its own and the centre's surroundings extend, so that classes spread along surfaces, not
across gaps.

The published method then takes what arrives for the label. That wears away thin things, also where all labels
were right. By default the label itself is heard too, and trusted as far as the scan's labels agree with their
surroundings: see `weigh`. Nor does a surface say where road, sidewalk and terrain meet, which all lie in it:
which of these it is, the neighbours say, see `share_ground`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.spatial import cKDTree

from labelgen.core.records import NO_CAMERA, NO_REGION, UNLABELLED, PointLabels, Reason
from labelgen.core.settings import Settings
from labelgen.labels import flat

#: Classes that a point on the ground plane can have, in the shipped taxonomies.
GROUND = frozenset(
    ("driveable_surface", "other_flat", "sidewalk", "terrain", "road", "parking", "other-ground")
)


class AfiSettings(Settings):
    """Parameters, by default those of the published code."""

    nominal: int = Field(4096, ge=1, le=10**7, description="centres of each stage are nominal // 3 ** stage")
    stages: int = Field(4, ge=1, le=16, description="levels of centres")
    down: int = Field(3, ge=2, le=64, description="centres of a stage over those of the next one")
    neighbours: int = Field(20, ge=1, le=1000, description="of a centre in the level below, itself included")
    back: int = Field(6, ge=1, le=1000, description="coarse points that each fine point reads from")
    directions: int = Field(20, ge=1, le=1000, description="bins of the unit sphere")
    gamma: float = Field(0.995, ge=0, le=1, description="cosine from which two directions are one line")
    near: float = Field(
        5.0, ge=0, le=1000, description="metres; ground is sought from 2 m to this distance from the LiDAR"
    )
    ground_below: float = Field(-1.4, ge=-1000, le=1000, description="metres; ground lies lower than this")
    ground_residual: float = Field(0.1, ge=0, le=1000, description="metres from the ground plane")
    ground_trials: int = Field(20, ge=1, le=10**6, description="of RANSAC, with ground_samples points each")
    ground_samples: int = Field(10, ge=3, le=10**6, description="points of each trial")
    blind: float = Field(2.0, ge=0, le=1000, description="metres; points nearer to the LiDAR say nothing")
    seed: int = Field(42, ge=0, le=2**32 - 1, description="of RANSAC")
    echo: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of what arrives at a point that is its own label coming back (not published)",
    )
    doubt: float = Field(
        0.003, ge=0, le=1, description="least share of any class in what arrives (not published)"
    )
    beside: int = Field(
        16, ge=1, le=1000, description="neighbours that tell the ground's classes apart (not published)"
    )
    weight: float = Field(
        0.3, ge=0, le=1000, description="of what arrives against probabilities (not published)"
    )

    @property
    def centres(self) -> tuple[int, ...]:
        """Points of each stage: 1365, 455, 151, 50."""
        return tuple(max(1, self.nominal // self.down ** (stage + 1)) for stage in range(self.stages))


Smooth = Callable[[NDArray[np.float32], NDArray[np.float32], AfiSettings], NDArray[np.float32]]


def refine_flat(
    xyz: NDArray[np.float32],
    label: NDArray[np.uint8],
    classes: int,
    ground: Sequence[int],
    settings: AfiSettings | None = None,
    as_published: bool = False,
    smooth: Smooth | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Smooth the labels of one scan.

    Args:
        xyz: (N, 3) float32 metres, in a LiDAR frame whose z axis points up. Points that are not finite keep
            their label.
        label: (N,) uint8, of any source; 255 for unlabelled.
        classes: C.
        ground: classes that a point on the ground plane near the LiDAR can have; none: all.
        settings: parameters.
        as_published: the winner of what arrives is the label, and "unlabelled" is a class like any other.
            Otherwise points without a label say nothing and take what arrives, and those with one weigh it
            against what arrives (`weigh`), of the ground's classes at their neighbours (`share_ground`).
        smooth: carries features (M, F) of points (M, 3) along surfaces; None does so on the CPU.

    Returns:
        (N,) uint8 labels, 255 where no class arrives; (N,) float32 share of the winner in 0..1.

    Raises:
        ValueError: arrays that do not belong together, or a label that is no class.
    """
    settings = settings or AfiSettings()
    out, share = label.copy(), np.zeros(len(label), np.float32)
    check(xyz, label, classes)
    keep = np.isfinite(xyz).all(axis=1)
    if keep.any():
        points = np.ascontiguousarray(xyz[keep], np.float32)
        found, plane = arrive(points, label[keep], classes, ground, as_published, settings, smooth)
        out[keep], share[keep] = decide(found, label[keep], plane, ground, as_published, settings)
    return out, share


def refine_probability(
    xyz: NDArray[np.float32],
    probability: NDArray[np.float32],
    ground: Sequence[int],
    settings: AfiSettings | None = None,
    smooth: Smooth | None = None,
) -> NDArray[np.float32]:
    """Smooth a network's class probabilities over one scan.

    A network knows where it is in doubt, which its labels do not tell. What arrives of the likeliest classes,
    as in `refine_flat`, is a prior p: the result is ~ (p + ``doubt``) ** ``weight`` times the probability.
    The weight is small as neighbours err alike. Not published.

    Args:
        xyz: (N, 3) float32 metres, in a LiDAR frame whose z axis points up.
        probability: (N, C) float32; rows of zeros, and points that are not finite, stay as they are.
        ground: classes of the ground.
        settings: parameters.
        smooth: as of `refine_flat`.

    Returns:
        (N, C) float32, rows summing to 1.

    Raises:
        ValueError: arrays that do not belong together.
    """
    settings = settings or AfiSettings()
    classes = probability.shape[1]
    label = probability.argmax(axis=1).astype(np.uint8)
    check(xyz, label, classes)
    keep = probability.any(axis=1) & np.isfinite(xyz).all(axis=1)
    out = probability.copy()
    if keep.any():
        points = np.ascontiguousarray(xyz[keep], np.float32)
        found, _ = arrive(points, label[keep], classes, ground, False, settings, smooth)
        out[keep] *= (found[:, 1:] + settings.doubt) ** settings.weight
        out[keep] /= out[keep].sum(axis=1, keepdims=True)
    return out


def arrive(
    points: NDArray[np.float32],
    label: NDArray[np.uint8],
    classes: int,
    ground: Sequence[int],
    as_published: bool,
    settings: AfiSettings,
    smooth: Smooth | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(M, C + 1) float32 shares of the classes as they arrive at M finite points, "unlabelled" first.

    Also (M,), which points are the ground near the LiDAR. Arguments as of `refine_flat`.
    """
    plane = ground_points(points, settings)
    feature = one_hot(points, label, plane, classes, as_published, settings)
    found = (smooth or smooth_features)(points, feature, settings)
    if len(ground) and not as_published:
        found = share_ground(points, found, label, ground, settings)
    return found, plane


def ground_classes(names: Sequence[str]) -> list[int]:
    """Ids of the classes that the ground has, of a taxonomy's names."""
    return [number for number, name in enumerate(names) if name in GROUND]


def refine_labels(
    xyz: NDArray[np.float32],
    labels: PointLabels,
    names: Sequence[str],
    settings: AfiSettings | None = None,
    as_published: bool = False,
    fill: bool = False,
) -> PointLabels:
    """`refine_flat` on a frame's labels, of whatever source.

    Args:
        xyz: (N, 3) float32 metres in the LiDAR frame.
        labels: N rows.
        names: of the classes; those of `GROUND` may lie on the ground plane.
        settings: parameters.
        as_published: see `refine_flat`.
        fill: label points without a label, too; those that are no return never get one.

    Returns:
        N rows. A label that changed has the winner's share as its confidence, margin 0, no instance, region
        or camera. A label that was taken away (``as_published`` only) leaves the reason TOO_CLOSE.
    """
    xyz = np.where(labels.reason[:, None] == Reason.NO_RETURN, np.float32(np.nan), xyz)
    found, share = refine_flat(xyz, labels.label, len(names), ground_classes(names), settings, as_published)
    if not fill:
        found = np.where(labels.label == UNLABELLED, UNLABELLED, found)
    changed = found != labels.label
    gone = changed & (found == UNLABELLED)
    confidence = np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)
    return PointLabels(
        label=found,
        confidence=np.where(changed, confidence, labels.confidence),
        margin=np.where(changed, np.uint8(0), labels.margin),
        instance=np.where(changed, np.uint16(0), labels.instance),
        region=np.where(changed, np.uint16(NO_REGION), labels.region),
        camera=np.where(changed, np.uint8(NO_CAMERA), labels.camera),
        views=labels.views,
        reason=np.where(
            gone, np.uint8(Reason.TOO_CLOSE), np.where(changed, np.uint8(Reason.LABELLED), labels.reason)
        ),
    )


def check(xyz: NDArray[np.float32], label: NDArray[np.uint8], classes: int) -> None:
    """Raise ValueError for arrays that do not belong together."""
    if xyz.shape != (len(label), 3):
        raise ValueError(f"points of shape {xyz.shape} for {len(label)} labels")
    wrong = label[(label >= classes) & (label != UNLABELLED)]
    if len(wrong):
        raise ValueError(f"label {wrong[0]} is not one of the {classes} classes")


def ground_points(xyz: NDArray[np.float32], settings: AfiSettings) -> NDArray[np.bool_]:
    """(N,) points on the ground plane z = ax + by + c near the LiDAR, found by RANSAC."""
    out = np.zeros(len(xyz), np.bool_)
    far = np.hypot(xyz[:, 0], xyz[:, 1])
    rows = np.flatnonzero(
        (far > settings.blind) & (far < settings.near) & (xyz[:, 2] < settings.ground_below)
    )
    if len(rows) < settings.ground_samples:
        return out
    points = xyz[rows].astype(np.float64)
    design = np.column_stack([points[:, :2], np.ones(len(points))])
    rng = np.random.default_rng(settings.seed)
    best = np.zeros(len(points), np.bool_)
    for _ in range(settings.ground_trials):
        chosen = rng.choice(len(points), settings.ground_samples, replace=False)
        plane = np.linalg.lstsq(design[chosen], points[chosen, 2], rcond=None)[0]
        inside = np.abs(design @ plane - points[:, 2]) < settings.ground_residual
        if inside.sum() > best.sum():
            best = inside
    out[rows[best]] = True
    return out


def one_hot(
    xyz: NDArray[np.float32],
    label: NDArray[np.uint8],
    plane: NDArray[np.bool_],
    classes: int,
    unlabelled_votes: bool,
    settings: AfiSettings,
) -> NDArray[np.float32]:
    """(N, C + 1) float32: what each point says; nothing on the ground plane and next to the LiDAR."""
    feature = np.zeros((len(xyz), classes + 1), np.float32)
    channel = np.where(label == UNLABELLED, 0, label.astype(np.int64) + 1)
    speaks = ~plane & (np.hypot(xyz[:, 0], xyz[:, 1]) > settings.blind)
    speaks &= (channel > 0) | unlabelled_votes
    feature[np.flatnonzero(speaks), channel[speaks]] = 1
    return feature


def share_ground(
    points: NDArray[np.float32],
    arrived: NDArray[np.float32],
    label: NDArray[np.uint8],
    ground: Sequence[int],
    settings: AfiSettings,
) -> NDArray[np.float32]:
    """What arrives of the ground's classes, shared out as the labels of the nearest points say.

    The ground's classes border on each other within one surface, along which they would spread across the
    borders: centres lie metres apart. How much of the ground arrives stays as it is.

    Args:
        points: (N, 3) float32 metres.
        arrived: (N, C + 1) float32, "unlabelled" first.
        label: (N,) uint8, 255 for unlabelled.
        ground: class ids.
        settings: ``beside``, how many neighbours.

    Returns:
        (N, C + 1) float32; rows without a neighbour on the ground as they were.
    """
    columns = np.asarray(ground, np.intp) + 1
    total = arrived[:, columns].sum(axis=1, keepdims=True)
    rows = np.flatnonzero(total[:, 0] > 0)
    near = nearest(points, points[rows], settings.beside + 1)[:, 1:]
    count = np.stack([(label[near] == number).sum(axis=1) for number in ground], axis=1, dtype=np.float32)
    around = count.sum(axis=1)
    rows, count, around = rows[around > 0], count[around > 0], around[around > 0]
    out = arrived.copy()
    out[np.ix_(rows, columns)] = total[rows] * count / around[:, None]
    return out


def decide(
    feature: NDArray[np.float32],
    label: NDArray[np.uint8],
    plane: NDArray[np.bool_],
    ground: Sequence[int],
    as_published: bool,
    settings: AfiSettings,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Labels and the winner's share from what arrived; on the ground plane, ground's classes only."""
    feature = feature.copy()
    if len(ground):
        allowed = np.zeros(feature.shape[1], np.bool_)
        allowed[np.asarray(ground) + 1] = True
        feature[np.ix_(plane, ~allowed)] = 0
    best = feature.argmax(axis=1)
    share = feature[np.arange(len(feature)), best]
    labelled = (best > 0) & (share > 0)
    out = np.where(labelled, best - 1, UNLABELLED).astype(np.uint8)
    share = np.where(labelled, share, 0).astype(np.float32)
    known = label != UNLABELLED
    if not as_published and known.any() and feature.shape[1] > 2:
        out[known], share[known] = weigh(feature[known, 1:], label[known], settings)
    return out, share


def weigh(
    arrived: NDArray[np.float32], label: NDArray[np.uint8], settings: AfiSettings
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """What arrives at points as a prior, their labels as observations of which a share e is wrong at random.

    Posterior of class c ~ p_c e / (C - 1), of the label's own class ~ p_l (1 - e), where p is what arrives
    plus ``doubt`` for every class, less the label's own echo. e is the mean posterior of being wrong, found
    by expectation maximisation over the scan: where labels agree with their surroundings, a lone one that
    does not is believed; where they are noisy, it is not.

    Args:
        arrived: (N, C) float32.
        label: (N,) uint8 class ids.
        settings: ``echo`` and ``doubt``.

    Returns:
        (N,) uint8 and (N,) float32 posterior.
    """
    rows, C = np.arange(len(label)), arrived.shape[1]
    prior = arrived.astype(np.float64) + settings.doubt
    prior /= prior.sum(axis=1, keepdims=True)
    prior[rows, label] = np.maximum(prior[rows, label] - settings.echo, settings.doubt)
    prior /= prior.sum(axis=1, keepdims=True)
    own, wrong = prior[rows, label], 0.2
    for _ in range(20):
        if_wrong, if_right = (1 - own) * wrong / (C - 1), own * (1 - wrong)
        wrong = float(np.clip((if_wrong / (if_wrong + if_right)).mean(), 1e-4, 0.9))
    prior *= wrong / (C - 1)
    prior[rows, label] = own * (1 - wrong)
    prior /= prior.sum(axis=1, keepdims=True)
    best = prior.argmax(axis=1)
    return best.astype(np.uint8), prior[rows, best].astype(np.float32)


class Level(NamedTuple):
    """One level of the pyramid: M points.

    Attributes:
        xyz: (M, 3) float32.
        feature: (M, C + 1) float32, shares of the classes, "unlabelled" first.
        line: (M, A, 3) float32 unit mean offset to the neighbours in each direction; 0 where there is none.
        length: (M, A) float32, of the mean offset, metres.
        weight: (M, A) float32.
    """

    xyz: NDArray[np.float32]
    feature: NDArray[np.float32]
    line: NDArray[np.float32]
    length: NDArray[np.float32]
    weight: NDArray[np.float32]


def smooth_features(
    points: NDArray[np.float32], feature: NDArray[np.float32], settings: AfiSettings
) -> NDArray[np.float32]:
    """(M, F) features as they arrive at the points (M, 3), on the CPU."""
    return _decode(_encode(points, feature, settings), settings)


def fibonacci_sphere(count: int) -> NDArray[np.float32]:
    """(count, 3) float32 unit vectors, evenly spread."""
    k = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * k / count), np.pi * (1 + 5**0.5) * k
    return np.stack(
        [np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], axis=1
    ).astype(np.float32)


def _encode(xyz: NDArray[np.float32], feature: NDArray[np.float32], settings: AfiSettings) -> list[Level]:
    directions = fibonacci_sphere(settings.directions)
    none = np.zeros((0, settings.directions), np.float32)
    levels = [Level(xyz, feature, np.zeros((0, settings.directions, 3), np.float32), none, none)]
    for count in settings.centres:
        below = levels[-1]
        centres = flat.farthest_points(below.xyz, min(count, len(below.xyz)))
        near = nearest(below.xyz, below.xyz[centres], settings.neighbours)
        line, length, weight, influence = flat.surroundings(
            below.xyz, below.line, below.length, below.weight, centres, near, directions,
            np.float32(settings.gamma),
        )  # fmt: skip
        pooled = flat.pool(below.feature, below.xyz, centres, near, directions, length, weight, influence)
        levels.append(Level(below.xyz[centres], pooled, line, length, weight))
    return levels


def _decode(levels: list[Level], settings: AfiSettings) -> NDArray[np.float32]:
    feature = levels[-1].feature
    for fine, coarse in zip(levels[-2::-1], levels[:0:-1], strict=True):
        near = nearest(coarse.xyz, fine.xyz, settings.back)
        exact = len(fine.xyz) == settings.down * len(coarse.xyz)
        feature = flat.interpolate(
            fine.xyz, fine.feature, coarse.xyz, feature, coarse.line, coarse.weight, near,
            np.float32(settings.gamma), np.float32(0.3 if exact else 0.01),
        )  # fmt: skip
    return feature


def nearest(tree: NDArray[np.float32], points: NDArray[np.float32], count: int) -> NDArray[np.int32]:
    """(P, k) int32: the k = min(count, M) nearest of M tree points to each point, nearest first."""
    k = min(count, len(tree))
    rows = _few_copies(tree, k)
    found = cKDTree(tree[rows], leafsize=16, balanced_tree=False).query(points, k=range(1, k + 1), workers=2)[
        1
    ]
    out: NDArray[np.int32] = np.ascontiguousarray(rows[found], np.int32)
    return out


def _few_copies(points: NDArray[np.float32], most: int) -> NDArray[np.intp]:
    """Rows of points, so many of equal ones at most: a k-d tree cannot cut between them and asks them all."""
    odd = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
    bits = np.ascontiguousarray(points, np.float32).view(np.uint32).astype(np.uint64)
    order = np.argsort((bits * odd).sum(axis=1), kind="stable")  # equal points one after another
    new = np.ones(len(points), np.bool_)
    new[1:] = (points[order][1:] != points[order][:-1]).any(axis=1)
    begins = np.flatnonzero(new)
    place = np.arange(len(points)) - np.repeat(begins, np.diff(begins, append=len(points)))
    rows: NDArray[np.intp] = np.sort(order[place < most])
    return rows
