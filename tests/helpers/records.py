"""Makes frame records of any size, consistent in themselves, for tests of what reads or stores them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from labelgen.core.frame import Frame
from labelgen.core.records import (
    NO_CAMERA,
    NO_REGION,
    UNLABELLED,
    DenseFeatures,
    FrameRecord,
    FrameStatus,
    PointLabels,
    Reason,
    RegionHits,
    Regions,
    Semantics,
    Views,
)
from labelgen.geometry.fractions import inside_of_steps


def identity_of(frame: Frame) -> dict[str, Any]:
    """What a record has from a data set's frame, as `make_record` takes it."""
    return {name: getattr(frame, name) for name in ("frame_id", "scene_id", "timestamp_us", "source_id")}


def make_record(
    rng: np.random.Generator,
    *,
    frame_id: str = "frame-0",
    scene_id: str = "scene-0",
    timestamp_us: int = 1_700_000_000_000_000,
    source_id: str = "source-0",
    status: FrameStatus = FrameStatus.OK,
    notes: tuple[str, ...] = (),
    points: int = 200,
    regions: int = 12,
    cameras: int = 2,
    classes: int = 5,
    width: int = 8,
    image_size: tuple[int, int] = (1600, 900),
    views: int | None = None,
    captions: bool = False,
    parents: bool = False,
    cloud: bool = False,
    dense: str | None = None,
    reach: int | None = None,
) -> FrameRecord:
    """A random record whose parts agree with each other.

    Args:
        rng: source of all values: the same state gives the same record.
        frame_id, scene_id, timestamp_us, source_id, status, notes: as in `FrameRecord`.
        points, regions, cameras, classes, width: N, K, number of cameras, C, D.
        image_size: (width, height) of every image, pixels.
        views: V; about two thirds of the points by default.
        captions, parents, cloud: add captions with features, ``Regions.parent``, ``xyz`` and ``intensity``.
        dense: ``float16`` or ``int8``: add dense features on a grid of 3 x 4.
        reach: add hits that have looked so many pixels around, 0 for none.
    """
    region_table = _regions(rng, regions, cameras, image_size, parents)
    view_table = _views(rng, points, cameras, image_size, views)
    view_region = np.full(len(view_table), NO_REGION, np.uint16)
    if regions:
        hit = rng.random(len(view_table)) < 0.8
        view_region[hit] = rng.integers(0, regions, int(hit.sum()))
    return FrameRecord(
        frame_id=frame_id,
        scene_id=scene_id,
        timestamp_us=timestamp_us,
        source_id=source_id,
        status=status,
        notes=notes,
        source_hashes={f"samples/{frame_id}.pcd.bin": rng.bytes(16).hex()},
        views=view_table,
        view_region=view_region,
        regions=region_table,
        semantics=_semantics(rng, regions, classes, width, captions),
        labels=_labels(rng, points, regions, cameras, classes),
        xyz=rng.normal(0, 20, (points, 3)).astype(np.float32) if cloud else None,
        intensity=rng.random(points, np.float32) if cloud else None,
        dense=_dense(rng, cameras, width, image_size, dense) if dense else None,
        hits=None if reach is None else _hits(rng, len(view_table), regions, reach),
        seconds={"project": 0.002, "regions": 1.5},
    )


def _views(
    rng: np.random.Generator, points: int, cameras: int, image_size: tuple[int, int], views: int | None
) -> Views:
    count = (points * 2 // 3 if views is None else views) if points and cameras else 0
    pairs = (
        rng.choice(points * cameras, min(count, points * cameras), replace=False)
        if count
        else np.zeros(0, int)
    )
    pairs.sort()  # by camera, then by point
    count = len(pairs)
    visible = rng.random(count) < 0.9
    return Views(
        point=(pairs % max(points, 1)).astype(np.int32),
        camera=(pairs // max(points, 1)).astype(np.uint8),
        uv=(rng.random((count, 2)) * (np.array(image_size) - 1)).astype(np.float32),
        depth=rng.uniform(1, 80, count).astype(np.float32),
        depth_residual=np.where(visible, 0, rng.exponential(5, count)).astype(np.float32),
        visible=visible,
    )


def _hits(rng: np.random.Generator, views: int, regions: int, reach: int) -> RegionHits:
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 4 if regions else 1, views))])
    count = int(offsets[-1])
    steps = rng.integers(1, 3 * reach + 1, count).astype(np.uint8) if reach else None
    return RegionHits(
        offsets=offsets.astype(np.int64),
        region=rng.integers(0, max(regions, 1), count).astype(np.int32),
        inside=None if steps is None else inside_of_steps(steps, reach),
        reach=reach,
    )


def _regions(
    rng: np.random.Generator, regions: int, cameras: int, image_size: tuple[int, int], parents: bool
) -> Regions:
    corners = rng.random((regions, 2, 2)) * np.array(image_size)
    return Regions(
        camera=np.sort(rng.integers(0, max(cameras, 1), regions)).astype(np.uint8),
        box_xyxy=np.concatenate([corners.min(1), corners.max(1)], axis=1).astype(np.float32),
        area=rng.integers(1, image_size[0] * image_size[1], regions).astype(np.int32),
        score=rng.random(regions).astype(np.float16),
        stability=rng.random(regions).astype(np.float16),
        rle=tuple(
            bytes(rng.integers(48, 112, int(rng.integers(0, 40))).astype(np.uint8)) for _ in range(regions)
        ),
        parent=rng.integers(-1, max(regions, 1), regions).astype(np.int32) if parents else None,
    )


def _semantics(rng: np.random.Generator, regions: int, classes: int, width: int, captions: bool) -> Semantics:
    scores = rng.dirichlet(np.ones(classes + 1), regions)[:, :classes].astype(np.float16)  # the rest is void
    words = ("a car", "Straßenbahn", "横断歩道", "", "two people 🚶🚶")
    return Semantics(
        class_scores=scores,
        label=np.where(rng.random(regions) < 0.9, scores.argmax(1), UNLABELLED).astype(np.uint8),
        feature=_unit(rng, regions, width),
        caption=tuple(words[i] for i in rng.integers(0, len(words), regions)) if captions else None,
        caption_feature=_unit(rng, regions, width) if captions else None,
    )


def _labels(rng: np.random.Generator, points: int, regions: int, cameras: int, classes: int) -> PointLabels:
    labelled = rng.random(points) < (0.7 if regions and cameras else 0.0)
    why_not = rng.integers(1, len(Reason), points)

    def where_labelled(high: int, otherwise: int) -> np.ndarray:
        return np.where(labelled, rng.integers(0, max(high, 1), points), otherwise)

    return PointLabels(
        label=where_labelled(classes, UNLABELLED).astype(np.uint8),
        confidence=where_labelled(256, 0).astype(np.uint8),
        margin=where_labelled(256, 0).astype(np.uint8),
        instance=where_labelled(50, 0).astype(np.uint16),
        region=where_labelled(regions, NO_REGION).astype(np.uint16),
        camera=where_labelled(cameras, NO_CAMERA).astype(np.uint8),
        views=rng.integers(0, cameras + 1, points).astype(np.uint8),
        reason=np.where(labelled, Reason.LABELLED, why_not).astype(np.uint8),
    )


def _dense(
    rng: np.random.Generator, cameras: int, width: int, image_size: tuple[int, int], dtype: str
) -> DenseFeatures:
    values = rng.normal(size=(cameras, 3, 4, width))
    values /= np.linalg.norm(values, axis=-1, keepdims=True)
    size = np.tile(np.int32(image_size), (cameras, 1))
    if dtype == "float16":
        return DenseFeatures(values.astype(np.float16), size)
    steps = np.abs(values).max(axis=-1) / 127
    return DenseFeatures(np.rint(values / steps[..., None]).astype(np.int8), size, steps.astype(np.float16))


def _unit(rng: np.random.Generator, rows: int, width: int) -> np.ndarray:
    vectors = rng.normal(size=(rows, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def assert_stored(stored: FrameRecord, given: FrameRecord, uv_step: float = 1 / 32) -> None:
    """A record that was read is the one that was written, but for what the format rounds.

    Args:
        stored, given: the records.
        uv_step: pixels per step of ``views.uv``.
    """
    for name in ("frame_id", "scene_id", "timestamp_us", "source_id", "status", "notes", "source_hashes"):
        assert getattr(stored, name) == getattr(given, name), name
    assert stored.seconds == given.seconds
    for part, skipped in (
        ("labels", ()),
        ("regions", ()),
        ("semantics", ()),
        ("views", ("uv", "depth", "depth_residual")),
    ):
        for field in dataclasses.fields(getattr(given, part)):
            if field.name not in skipped:
                _assert_same(
                    getattr(getattr(stored, part), field.name), getattr(getattr(given, part), field.name)
                )
    _assert_same(stored.view_region, given.view_region)
    assert (stored.hits is None) == (given.hits is None)
    if stored.hits is not None and given.hits is not None:
        for field in dataclasses.fields(given.hits):
            _assert_same(getattr(stored.hits, field.name), getattr(given.hits, field.name))
    _assert_same(stored.xyz, given.xyz)
    _assert_same(stored.intensity, given.intensity)
    for name in ("depth", "depth_residual"):
        metres = getattr(given.views, name).astype(np.float16).astype(np.float32)
        _assert_same(getattr(stored.views, name), metres)
    assert stored.views.uv.dtype == np.float32
    assert np.abs(stored.views.uv - given.views.uv).max(initial=0) <= uv_step / 2


def _assert_same(stored: object, given: object) -> None:
    if isinstance(given, np.ndarray):
        assert isinstance(stored, np.ndarray)
        assert stored.dtype == given.dtype
        assert stored.shape == given.shape
        assert stored.tobytes() == given.tobytes()
    else:
        assert stored == given
