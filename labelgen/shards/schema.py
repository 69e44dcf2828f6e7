"""The shard format, version 1: every array that a shard can hold, as one table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from labelgen.core.records import NO_CAMERA, NO_REGION, UNLABELLED

#: Version of everything below a run's folder. Raised when an old reader would misread a new file.
FORMAT_VERSION = 1
#: Most frames, labelled and failed together, that one shard stands for.
MAX_FRAMES = 64
#: Bytes kept for a frame's id.
ID_BYTES = 64
#: Finest steps per pixel of ``views/uv``.
UV_STEPS = 32
#: Level that compressed arrays are written with; readers need not know it.
ZSTD_LEVEL = 3

# What the axes' letters mean; "F+1" and "R+1" are offsets.
AXES = {
    "F": "frames",
    "N": "points of the longest frame",
    "V": "views of all frames",
    "R": "regions of all frames",
    "H": "regions under the views of all frames",
    "C": "classes",
    "D": "width of the features",
    "B": "bytes of all run-length codes",
    "T": "bytes of all captions",
    "A": "cameras of the frame with most",
    "h": "rows of the grid over an image",
    "w": "columns of the grid over an image",
}


@dataclass(frozen=True)
class ArraySpec:
    """One array of a shard.

    Attributes:
        name: ``group/array``.
        dtype: numpy's and Zarr's name of the type; little-endian on disk.
        axes: a key of `AXES`, ``KEY+1`` or a fixed size for each axis.
        chunk: rows (first axis) of one inner chunk, which spans all other axes; fewer in a shorter array.
        text: what a value means.
        fill: value of the padding.
        optional: may be absent.
        compressed: False for float16 vectors, which zstd makes 8 % smaller and many times slower to read.
    """

    name: str
    dtype: str
    axes: tuple[str | int, ...]
    chunk: int
    text: str
    fill: int | float = 0
    optional: bool = False
    compressed: bool = True

    @property
    def group(self) -> str:
        """The part of the name before the slash."""
        return self.name.partition("/")[0]

    def chunk_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of an inner chunk in an array of ``shape``."""
        return (max(1, min(self.chunk, shape[0])), *(max(1, size) for size in shape[1:]))

    def shard_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of the one shard that holds the whole array: full inner chunks."""
        rows, *others = self.chunk_shape(shape)
        return (max(1, math.ceil(shape[0] / rows)) * rows, *others)


def _points(name: str, dtype: str, text: str, fill: float = 0, **more: bool) -> ArraySpec:
    return ArraySpec(f"points/{name}", dtype, ("F", "N"), 1, text, fill, **more)


_FRAME = MAX_FRAMES + 1
_ROWS = 8192
_HITS = 32768

ARRAYS: dict[str, ArraySpec] = {
    spec.name: spec
    for spec in (
        ArraySpec("frame/id", "uint8", ("F", ID_BYTES), _FRAME, "frame id, ASCII, padded with zero bytes"),
        ArraySpec("frame/timestamp_us", "int64", ("F",), _FRAME, "time of the LiDAR sweep, microseconds"),
        ArraySpec(
            "frame/num_points", "int32", ("F",), _FRAME, "points of the frame: the valid start of its rows"
        ),
        ArraySpec(
            "frame/status", "uint8", ("F",), _FRAME, "0 ok, 1 partial (a camera was missing or unreadable)"
        ),
        ArraySpec(
            "frame/view_offsets", "int64", ("F+1",), _FRAME, "rows of `views/*` of frame f: [f] to [f + 1]"
        ),
        ArraySpec(
            "frame/region_offsets",
            "int64",
            ("F+1",),
            _FRAME,
            "rows of `regions/*` of frame f: [f] to [f + 1]",
        ),
        ArraySpec(
            "frame/hit_offsets",
            "int64",
            ("F+1",),
            _FRAME,
            "rows of `hits/*` of frame f: [f] to [f + 1]",
            optional=True,
        ),
        _points("label", "uint8", "class id, 255 for unlabelled", UNLABELLED),
        _points("confidence", "uint8", "share of the votes that the winner holds, x 255"),
        _points("margin", "uint8", "lead over the second class, x 255"),
        _points("instance", "uint16", "instance within the frame, 0 for none"),
        _points("region", "uint16", "deciding region, counted within the frame, 65535 for none", NO_REGION),
        _points("camera", "uint8", "deciding camera, 255 for none", NO_CAMERA),
        _points("views", "uint8", "number of cameras that see the point"),
        _points("reason", "uint8", "why there is no label: see below"),
        ArraySpec(
            "points/xyz",
            "float32",
            ("F", "N", 3),
            1,
            "position in the LiDAR frame, metres",
            math.nan,
            optional=True,
        ),
        _points("intensity", "float32", "as stored in the raw file", math.nan, optional=True),
        ArraySpec("views/point", "uint32", ("V",), _ROWS, "point, counted within the frame"),
        ArraySpec("views/camera", "uint8", ("V",), _ROWS, "camera of the frame"),
        ArraySpec("views/uv", "uint16", ("V", 2), _ROWS, "pixel in fixed point: see below"),
        ArraySpec(
            "views/region",
            "uint16",
            ("V",),
            _ROWS,
            "smallest region there, within the frame, or 65535",
            NO_REGION,
        ),
        ArraySpec("views/depth", "float16", ("V",), _ROWS, "metres along the camera's axis"),
        ArraySpec(
            "views/depth_residual", "float16", ("V",), _ROWS, "metres behind the nearest surface, 0 in front"
        ),
        ArraySpec(
            "views/visible", "bool", ("V",), _ROWS, "false where the occlusion test holds the point hidden"
        ),
        ArraySpec("views/hits", "uint16", ("V",), _ROWS, "number of regions there", optional=True),
        ArraySpec(
            "hits/region",
            "uint16",
            ("H",),
            _HITS,
            "regions under each view, within the frame, smallest first",
            optional=True,
        ),
        ArraySpec(
            "hits/inside",
            "uint8",
            ("H",),
            _HITS,
            "how much of the region is around the pixel: see below",
            optional=True,
        ),
        ArraySpec("regions/camera", "uint8", ("R",), _ROWS, "camera of the frame; ascending within a frame"),
        ArraySpec(
            "regions/label", "uint8", ("R",), _ROWS, "best class, 255 where void words win", UNLABELLED
        ),
        ArraySpec(
            "regions/box_xyxy", "float32", ("R", 4), 2048, "left, top, right, bottom (exclusive), pixels"
        ),
        ArraySpec("regions/area", "int32", ("R",), _ROWS, "pixels"),
        ArraySpec(
            "regions/score", "float16", ("R",), _ROWS, "the proposer's estimate of the mask's quality, 0 to 1"
        ),
        ArraySpec(
            "regions/stability", "float16", ("R",), _ROWS, "stability under the mask's threshold, 0 to 1"
        ),
        ArraySpec(
            "regions/parent",
            "int32",
            ("R",),
            _ROWS,
            "containing region, within the frame, or -1",
            optional=True,
        ),
        ArraySpec(
            "regions/class_scores", "float16", ("R", "C"), 1024, "probabilities; the rest to 1 is void"
        ),
        ArraySpec(
            "regions/feature", "float16", ("R", "D"), 128, "L2-normalised image feature", compressed=False
        ),
        ArraySpec(
            "regions/rle_bytes",
            "uint8",
            ("B",),
            65536,
            "COCO's compressed run-length codes, one after another",
        ),
        ArraySpec("regions/rle_offsets", "int64", ("R+1",), _ROWS, "bytes of region r: [r] to [r + 1]"),
        ArraySpec("regions/caption_bytes", "uint8", ("T",), 65536, "captions in UTF-8", optional=True),
        ArraySpec(
            "regions/caption_offsets",
            "int64",
            ("R+1",),
            _ROWS,
            "bytes of region r: [r] to [r + 1]",
            optional=True,
        ),
        ArraySpec(
            "regions/caption_feature",
            "float16",
            ("R", "D"),
            128,
            "text feature of the caption, 0 for none",
            optional=True,
            compressed=False,
        ),
        ArraySpec(
            "dense/feature",
            "float16",
            ("F", "A", "h", "w", "D"),
            1,
            "features on a grid; 0 without an image",
            optional=True,
            compressed=False,
        ),
        ArraySpec(
            "dense/quantised",
            "int8",
            ("F", "A", "h", "w", "D"),
            1,
            "the same in steps of `dense/scale`",
            optional=True,
        ),
        ArraySpec("dense/scale", "float16", ("F", "A", "h", "w"), 1, "size of a step", optional=True),
        ArraySpec(
            "dense/size", "int32", ("F", "A", 2), _FRAME, "width and height of each image", optional=True
        ),
    )
}

GROUPS = tuple(dict.fromkeys(spec.group for spec in ARRAYS.values()))
#: Stored apart from the rest, below ``features/``, and can be removed without harm to it.
DENSE = "dense"
#: What every shard holds, a derived one too.
CORE = ("frame/id", "frame/timestamp_us", "frame/num_points", "frame/status")
#: Offsets that go with a group.
OFFSETS = {
    "views": "frame/view_offsets",
    "regions": "frame/region_offsets",
    "hits": "frame/hit_offsets",
}


def required(groups: Iterable[str]) -> set[str]:
    """Arrays that must be there if all of ``groups`` are stored completely."""
    chosen = set(groups)
    names = {spec.name for spec in ARRAYS.values() if spec.group in chosen and not spec.optional}
    offsets = {OFFSETS[group] for group in chosen if group in OFFSETS}
    return names | set(CORE) | {name for name in offsets if not ARRAYS[name].optional}


def check_shapes(shapes: Mapping[str, tuple[str, Sequence[int]]]) -> None:
    """Check that the arrays of one shard have the table's types and fit each other.

    Args:
        shapes: {name: (dtype, shape)}; names that the table lacks are passed over.

    Raises:
        ValueError: naming the array and what was expected.
    """
    sizes: dict[str, tuple[int, str]] = {}
    for name in CORE:
        if name not in shapes:
            raise ValueError(f"{name} is missing")
    for name, (dtype, shape) in shapes.items():
        spec = ARRAYS.get(name)
        if spec is None:
            continue
        if dtype != spec.dtype or len(shape) != len(spec.axes):
            raise ValueError(
                f"{name} is {dtype} with {len(shape)} axes; {spec.dtype} with {len(spec.axes)} is expected"
            )
        if spec.group in OFFSETS and OFFSETS[spec.group] not in shapes:
            raise ValueError(f"{name} is there without {OFFSETS[spec.group]}")
        for axis, size in zip(spec.axes, shape, strict=True):
            if isinstance(axis, int):
                want, source = axis, "the format"
            else:
                plus = 1 if axis.endswith("+1") else 0
                known, source = sizes.setdefault(axis.removesuffix("+1"), (size - plus, name))
                want = known + plus
            if size != want or size < 0:
                raise ValueError(f"{name} has shape {tuple(shape)}; {source} makes axis {axis} {want} long")
    frames = sizes["F"][0]
    if not 1 <= frames <= MAX_FRAMES:
        raise ValueError(f"frame/id holds {frames} frames; 1 to {MAX_FRAMES} are possible")
