"""What the stages give for one frame: views, regions, semantics, point labels.

N points, V views, K regions, C classes, D feature width. Every record checks shapes and dtypes when it
is made, so that a wrong array is found where it was made and not three stages later.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

#: ``PointLabels.label`` and ``Semantics.label`` of what has no class.
UNLABELLED = 255
#: "no region" in uint16 arrays, "no camera" in uint8 arrays.
NO_REGION = 65535
NO_CAMERA = 255


class Reason(IntEnum):
    """Why a point has no label."""

    LABELLED = 0
    NO_CAMERA = 1  #: it projects into no camera's image
    OCCLUDED = 2  #: hidden in every camera that it projects into
    EGO = 3  #: on or near the ego vehicle
    NO_REGION = 4  #: visible, but in no region
    TOO_CLOSE = 5  #: the votes for the two best classes are too close
    VOID = 6  #: its regions mean nothing known (sky, void words)
    CAMERA_MISSING = 7  #: the only cameras that would see it are missing or unreadable
    NO_RETURN = 8  #: no beam came back from it: not finite, at the sensor, or a value that stands for "none"


class FrameStatus(IntEnum):
    """How a frame went; a failed frame has no row in a shard."""

    OK = 0
    PARTIAL = 1  #: a camera was missing or unreadable; labelled from the others


#: {field: (dtype, shape as letters that must agree or as sizes)}
_Spec = dict[str, tuple[Any, tuple[str | int, ...]]]


class _Record:
    """Checks the arrays named in ``_SPEC`` on creation."""

    _SPEC: ClassVar[_Spec]

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {}
        for name, (dtype, shape) in self._SPEC.items():
            array = getattr(self, name)
            if array is None:
                continue
            where = f"{type(self).__name__}.{name}"
            if not isinstance(array, np.ndarray) or array.dtype != np.dtype(dtype):
                raise TypeError(
                    f"{where} must be {np.dtype(dtype)}, got {getattr(array, 'dtype', type(array))}"
                )
            if array.ndim != len(shape):
                raise ValueError(f"{where} must have shape {shape}, got {array.shape}")
            for letter, size in zip(shape, array.shape, strict=True):
                want = letter if isinstance(letter, int) else sizes.setdefault(letter, size)
                if size != want:
                    raise ValueError(f"{where} has shape {array.shape}, but {shape} with {sizes} is expected")


@dataclass(frozen=True)
class Views(_Record):
    """One row per (point, camera) pair in which the point projects into the image.

    Rows are sorted by camera, then by point.

    Attributes:
        point: (V,) int32, row of the raw point cloud.
        camera: (V,) uint8, index into ``Frame.cameras``.
        uv: (V, 2) float32, pixels.
        depth: (V,) float32, metres along the camera's z axis.
        depth_residual: (V,) float32, metres behind the nearest surface; 0 for what is in front.
        visible: (V,) bool, False where the occlusion test holds the point to be hidden.
    """

    point: NDArray[np.int32]
    camera: NDArray[np.uint8]
    uv: NDArray[np.float32]
    depth: NDArray[np.float32]
    depth_residual: NDArray[np.float32]
    visible: NDArray[np.bool_]

    _SPEC: ClassVar[_Spec] = {
        "point": (np.int32, ("V",)),
        "camera": (np.uint8, ("V",)),
        "uv": (np.float32, ("V", 2)),
        "depth": (np.float32, ("V",)),
        "depth_residual": (np.float32, ("V",)),
        "visible": (np.bool_, ("V",)),
    }

    def __len__(self) -> int:
        return len(self.point)

    def camera_slice(self, camera: int) -> slice:
        """Rows of one camera."""
        begin, end = np.searchsorted(self.camera, [camera, camera + 1])
        return slice(int(begin), int(end))


@dataclass(frozen=True)
class Regions(_Record):
    """Regions of all cameras of one frame; rows are grouped by camera, in ascending order.

    Attributes:
        camera: (K,) uint8.
        box_xyxy: (K, 4) float32, pixels: left, top, right, bottom; right and bottom are exclusive.
        area: (K,) int32, pixels.
        score: (K,) float16, the proposer's own estimate of the mask's quality in 0..1.
        stability: (K,) float16 in 0..1.
        rle: K compressed run-length codes, as COCO's ``counts`` (column-major), at the image's size.
        parent: (K,) int32, row of the region that contains this one, -1 for none; or None.
    """

    camera: NDArray[np.uint8]
    box_xyxy: NDArray[np.float32]
    area: NDArray[np.int32]
    score: NDArray[np.float16]
    stability: NDArray[np.float16]
    rle: tuple[bytes, ...]
    parent: NDArray[np.int32] | None = None

    _SPEC: ClassVar[_Spec] = {
        "camera": (np.uint8, ("K",)),
        "box_xyxy": (np.float32, ("K", 4)),
        "area": (np.int32, ("K",)),
        "score": (np.float16, ("K",)),
        "stability": (np.float16, ("K",)),
        "parent": (np.int32, ("K",)),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.rle) != len(self.camera):
            raise ValueError(f"Regions: {len(self.rle)} run-length codes for {len(self.camera)} regions")
        if len(self.camera) >= NO_REGION:
            raise ValueError(f"{len(self.camera)} regions in one frame; the maximum is {NO_REGION - 1}")
        if np.any(np.diff(self.camera.astype(np.int16)) < 0):
            raise ValueError("Regions must be grouped by camera, in ascending order")

    def __len__(self) -> int:
        return len(self.camera)

    def camera_slice(self, camera: int) -> slice:
        """Rows of one camera."""
        begin, end = np.searchsorted(self.camera, [camera, camera + 1])
        return slice(int(begin), int(end))

    @classmethod
    def empty(cls) -> Self:
        """No regions."""
        return cls(
            camera=np.zeros(0, np.uint8),
            box_xyxy=np.zeros((0, 4), np.float32),
            area=np.zeros(0, np.int32),
            score=np.zeros(0, np.float16),
            stability=np.zeros(0, np.float16),
            rle=(),
        )


@dataclass(frozen=True)
class RegionHits(_Record):
    """Regions that each view's pixel falls in (regions may overlap), as a CSR table.

    Attributes:
        offsets: (V + 1,) int64; regions of view v are ``region[offsets[v]:offsets[v + 1]]``.
        region: (H,) int32, rows of `Regions`, smallest area first.
        inside: (H,) float32 in 0..1, how much of the region there is around the view's pixel; or None.
        reach: pixels around the view's that ``inside`` looked at; 0 without it.
    """

    offsets: NDArray[np.int64]
    region: NDArray[np.int32]
    inside: NDArray[np.float32] | None = None
    reach: int = 0

    _SPEC: ClassVar[_Spec] = {
        "offsets": (np.int64, ("V1",)),
        "region": (np.int32, ("H",)),
        "inside": (np.float32, ("H",)),
    }


@dataclass(frozen=True)
class Semantics(_Record):
    """What the regions mean.

    Attributes:
        class_scores: (K, C) float16, probabilities; what is missing to 1 is the share of the void words.
        label: (K,) uint8, best class or 255 where the void words win.
        feature: (K, D) float16, L2-normalised image feature in the text encoder's space.
        caption: K strings, or None.
        caption_feature: (K, D) float16, L2-normalised, or None.
    """

    class_scores: NDArray[np.float16]
    label: NDArray[np.uint8]
    feature: NDArray[np.float16]
    caption: tuple[str, ...] | None = None
    caption_feature: NDArray[np.float16] | None = None

    _SPEC: ClassVar[_Spec] = {
        "class_scores": (np.float16, ("K", "C")),
        "label": (np.uint8, ("K",)),
        "feature": (np.float16, ("K", "D")),
        "caption_feature": (np.float16, ("K", "D")),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.caption is not None and len(self.caption) != len(self.label):
            raise ValueError(f"Semantics: {len(self.caption)} captions for {len(self.label)} regions")

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class DenseFeatures:
    """Image features on a grid, for all cameras of one frame.

    Cell (i, j) of an image of W x H pixels covers those from (j W / w, i H / h) to ((j + 1) W / w,
    (i + 1) H / h), counted from its top left corner.

    Attributes:
        values: (A, h, w, D) float16, or int8 steps of ``scale``; a missing image has zeros.
        size: (A, 2) int32 width and height of each image, pixels.
        scale: (A, h, w) float16, with int8.
    """

    values: NDArray[Any]
    size: NDArray[np.int32]
    scale: NDArray[np.float16] | None = None

    def __post_init__(self) -> None:
        kind = np.float16 if self.scale is None else np.int8
        if self.values.dtype != kind or self.values.ndim != 4:
            raise TypeError(
                f"dense features must be {np.dtype(kind)} with 4 axes, got {self.values.dtype} "
                f"{self.values.shape}"
            )
        if self.size.shape != (len(self.values), 2) or self.size.dtype != np.int32:
            raise ValueError(f"sizes of images must be ({len(self.values)}, 2) int32, got {self.size.shape}")
        if self.scale is not None and self.scale.shape != self.values.shape[:3]:
            raise ValueError(f"scales of {self.scale.shape} for features of {self.values.shape}")

    def decode(self) -> NDArray[np.float32]:
        """(A, h, w, D) float32."""
        values: NDArray[np.float32] = self.values.astype(np.float32)
        return values if self.scale is None else values * self.scale[..., None].astype(np.float32)


@dataclass(frozen=True)
class PointLabels(_Record):
    """One row per raw point.

    Attributes:
        label: (N,) uint8, class id or 255 (unlabelled).
        confidence: (N,) uint8, share of the votes that the winner holds, x 255.
        margin: (N,) uint8, lead over the second, x 255.
        instance: (N,) uint16, 0 for none.
        region: (N,) uint16, the deciding region, 65535 for none.
        camera: (N,) uint8, the deciding camera, 255 for none.
        views: (N,) uint8, number of cameras that see the point.
        reason: (N,) uint8, a `Reason`.
    """

    label: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    margin: NDArray[np.uint8]
    instance: NDArray[np.uint16]
    region: NDArray[np.uint16]
    camera: NDArray[np.uint8]
    views: NDArray[np.uint8]
    reason: NDArray[np.uint8]

    _SPEC: ClassVar[_Spec] = {
        "label": (np.uint8, ("N",)),
        "confidence": (np.uint8, ("N",)),
        "margin": (np.uint8, ("N",)),
        "instance": (np.uint16, ("N",)),
        "region": (np.uint16, ("N",)),
        "camera": (np.uint8, ("N",)),
        "views": (np.uint8, ("N",)),
        "reason": (np.uint8, ("N",)),
    }

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True)
class Failure:
    """A frame that could not be labelled."""

    frame_id: str
    source_id: str
    stage: str
    error_type: str
    message: str
    traceback: str


@dataclass(frozen=True)
class FrameRecord:
    """All that is stored for one labelled frame.

    Attributes:
        frame_id, scene_id, timestamp_us, source_id: as in the `Frame`.
        status: a `FrameStatus`.
        notes: one line for each thing that went wrong and did not fail the frame (a corrupt image).
        source_hashes: {path: blake2b-128 hex of the bytes that were read}.
        views, view_region: the views and, per view, the region that its pixel falls in:
            (V,) uint16, the smallest one; 65535 for none.
        regions, semantics, labels: the stages' results.
        points: the cloud itself, stored on request only.
        dense: image features on a grid, stored on request only.
        hits: regions under each view, all of them; None where they were not kept (an older run).
        seconds: time per stage, for the report; never part of what is compared.
    """

    frame_id: str
    scene_id: str
    timestamp_us: int
    source_id: str
    status: FrameStatus
    notes: tuple[str, ...]
    source_hashes: dict[str, str]
    views: Views
    view_region: NDArray[np.uint16]
    regions: Regions
    semantics: Semantics
    labels: PointLabels
    xyz: NDArray[np.float32] | None = None
    intensity: NDArray[np.float32] | None = None
    dense: DenseFeatures | None = None
    hits: RegionHits | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n, v, k = len(self.labels), len(self.views), len(self.regions)
        if self.view_region.shape != (v,) or self.view_region.dtype != np.uint16:
            raise ValueError(f"frame {self.frame_id}: view_region must be ({v},) uint16")
        if len(self.semantics) != k:
            raise ValueError(f"frame {self.frame_id}: {len(self.semantics)} semantics for {k} regions")
        if v and int(self.views.point.max()) >= n:
            raise ValueError(f"frame {self.frame_id}: a view names a point beyond the {n} points")
        named = self.view_region[self.view_region != NO_REGION]
        if len(named) and int(named.max()) >= k:
            raise ValueError(f"frame {self.frame_id}: a view names a region beyond the {k} regions")
        if self.hits is not None:
            offsets, under = self.hits.offsets, self.hits.region
            if len(offsets) != v + 1 or offsets[0] != 0 or offsets[-1] != len(under):
                raise ValueError(f"frame {self.frame_id}: hits do not belong to these {v} views")
            if len(under) and not 0 <= under.min() <= under.max() < k:
                raise ValueError(f"frame {self.frame_id}: a hit names a region beyond the {k} regions")
        for name in ("xyz", "intensity"):
            array = getattr(self, name)
            if array is not None and len(array) != n:
                raise ValueError(f"frame {self.frame_id}: {name} has {len(array)} rows for {n} points")
