"""What layout the records of a LiDAR file have, told from its bytes: is the one that is given theirs?

Records repeat: a byte is equal to the one a record later far more often than to any other, whatever the
columns are and in whatever order the points come. That gives the length of a record without knowing what is
in it. Which numbers are in it, trying out says: coordinates are finite, within a LiDAR's reach, and no whole
numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelgen.core.frame import parse_layout

#: Shortest and longest records that are looked for, in bytes.
SHORTEST, LONGEST = 12, 64
#: Bytes that are looked at: so many pieces, spread over the file, of so many bytes.
_PIECES, _PIECE = 4, 4096
#: Rows that are tried out.
_ROWS = 2000
#: Numbers that coordinates may be stored as, in the order in which they are tried; metres of one unit.
_NUMBERS = (
    ("<f4", 1.0),
    ("<f8", 1.0),
    (">f4", 1.0),
    (">f8", 1.0),
    ("<f2", 1.0),
    ("<i4", 1e-3),
    ("<i2", 1e-2),
)
_WORDS = {">f4": "big-endian float32", ">f8": "big-endian float64", "<i4": "whole millimetres as int32"}
_WORDS |= {"<i2": "whole centimetres as int16"}
#: float32 and the upper half of float64 that stand for "not a number", as little-endian bytes.
_NAN = (0x7FC00000, 0xFFC00000, 0x7FFFFFFF, 0x7FF80000, 0xFFF80000)


@dataclass(frozen=True)
class Rhythm:
    """How often bytes are equal to those some bytes later.

    Attributes:
        equal: (LONGEST + 1,) share of bytes by distance; 0 for 5 and below 4. Zeros and "not a number",
            which are equal wherever they stand, do not count.
        bytes: how many were looked at.
    """

    equal: NDArray[np.float64]
    bytes: int

    @property
    def best(self) -> int:
        """The shortest distance with most equal bytes, of those that records of three numbers can have."""
        found = self.equal[SHORTEST:]
        return SHORTEST + int(np.argmax(found >= 0.9 * found.max()))  # twice as far, they may be a few more

    def beats(self, one: int, other: int, by: float) -> bool:
        """Whether bytes are equal at one distance clearly more often than at another."""
        a, b = self.equal[one], self.equal[other]
        return bool(b < by * a and (a - b) * self.bytes > 6 * np.sqrt(a * self.bytes))


def rhythm(data: bytes) -> Rhythm:
    """Look at some pieces of a file."""
    raw = np.frombuffer(data, np.uint8)
    size = min(len(raw), _PIECE)
    starts = np.unique(np.linspace(0, len(raw) - size, _PIECES).astype(int)) if len(raw) > size else [0]
    pieces = np.stack([raw[start : start + size] for start in starts]).astype(np.int16)
    void = pieces == 0
    if size >= 4:
        high = pieces[:, 3:] & 127 == 127  # of exponents with all bits set, as "not a number" has them
        if high.mean() > 0.01:
            word = np.zeros((len(pieces), size - 3), np.uint32)
            for place in range(4):
                word |= pieces[:, place : size - 3 + place].astype(np.uint32) << np.uint32(8 * place)
            nan = np.isin(word, np.array(_NAN, np.uint32))
            for place in range(4):
                void[:, place : size - 3 + place] |= nan
    left, right = np.where(void, -1, pieces).astype(np.int16), np.where(void, -2, pieces).astype(np.int16)
    equal = np.zeros(LONGEST + 1)
    for lag in (4, *range(6, min(LONGEST + 1, size))):
        equal[lag] = np.count_nonzero(left[:, lag:] == right[:, :-lag]) / (len(pieces) * (size - lag))
    return Rhythm(equal, pieces.size)


def column_major(data: bytes) -> bool:
    """Whether a file holds all x, then all y, and so on, as float32.

    Then parts of the file differ, and the words of a record do not.
    """
    words = np.frombuffer(data, "<u4", len(data) // 4)
    if len(words) < 400:
        return False
    blocks = np.unique(np.linspace(0, max(0, len(words) - 600), 24).astype(int))
    rows = np.unique((blocks[:, None] + np.arange(600)).clip(max=len(words) - 1))
    rows = rows[~np.isin(words[rows], (0, *_NAN))]
    top = (words[rows] >> np.uint32(24)).astype(np.int64)  # sign and most of the exponent
    apart = max(_information(rows * columns // len(words), top) for columns in range(3, 9))
    if apart < 0.1:
        return False
    return all(apart > 0.1 + 3 * _information(rows % columns, top) for columns in range(3, 14))


def _information(part: NDArray[np.int64], value: NDArray[np.int64]) -> float:
    """Bits that a part (a small number) tells of a value (0..255), less what chance tells."""
    if not len(part):
        return 0.0
    table = np.bincount(part * 256 + value, minlength=(int(part.max()) + 1) * 256).reshape(-1, 256)
    joint = table / len(part)
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    bits = float(np.sum(joint[table > 0] * np.log2(joint[table > 0] / apart[table > 0])))
    chance = float((np.count_nonzero(table.sum(0)) - 1) * (len(table) - 1) / (2 * len(part) * np.log(2)))
    return bits - chance


def degenerate(xyz: NDArray[np.float64]) -> bool:
    """Whether numbers are no coordinates of points in space, though they may be within reach.

    Args:
        xyz: (N, 3) metres; points that are not finite, or at the origin, do not count.
    """
    xyz = xyz[np.isfinite(xyz).all(axis=1) & (xyz != 0).any(axis=1)]
    if len(xyz) < 20:
        return True
    whole = np.mean(np.rint(xyz) == xyz, axis=0)
    low, high = np.percentile(xyz, (2, 98), axis=0)
    distance = np.sqrt((xyz**2).sum(axis=1))
    share = (xyz[:, :2].min(axis=0) >= 0) & (xyz[:, :2].max(axis=0) <= 1)
    return bool(
        (whole > 0.98).any()
        or (high - low < 0.02).any()
        or (share & (high[:2] - low[:2] > 0)).any()
        or distance.std() < 1e-3 * distance.mean()
    )


def plausible(xyz: NDArray[np.float64]) -> bool:
    """Whether numbers can be the coordinates of a LiDAR's points.

    Args:
        xyz: (N, 3) metres; points that are not finite, or at the origin, do not count, if they are not most.
    """
    there = np.isfinite(xyz).all(axis=1) & (xyz != 0).any(axis=1)
    xyz = xyz[there]
    if len(xyz) < 20 or there.mean() < 0.1 or (np.abs(xyz) > 1e6).any():
        return False
    distance = np.sqrt((xyz**2).sum(axis=1))
    tiny = (np.abs(xyz) < 1e-5) & (xyz != 0)
    far, half = np.percentile(distance, (99, 50))
    return bool(far <= 400 and 0.5 <= half <= 100 and tiny.mean() < 0.02 and not degenerate(xyz))


def lengths(data: bytes) -> list[int]:
    """Lengths of records that a file's bytes speak for, the likeliest first."""
    found = rhythm(data)
    best = found.best
    # In the order of firing, two neighbours may differ more than every second one.
    parts = [d for d in range(6, best + 1) if best % d == 0 and found.equal[d] > 0.15 * found.equal[best]]
    return sorted(parts, key=lambda d: found.equal[d] < 0.35 * found.equal[best])


def guess(data: bytes, not_this: str = "") -> str:
    """In words, which layout would fit a file; empty if none that is tried does.

    Args:
        data: its content.
        not_this: layout that does not.
    """
    if column_major(data):
        return "it holds all x, then all y and so on: write it point by point"
    for layout, words in _guesses(data):
        if words:
            return f"it seems to hold {words}: write little-endian float32, metres"
        if not not_this or _place(layout) != _place(not_this):
            return f"lidar_layout {layout} would fit"
    return ""


def _place(layout: str) -> tuple[object, ...]:
    """Where a layout has the coordinates, and how long its records are."""
    record = parse_layout(layout).record
    assert record.fields is not None
    return (record.itemsize, *(record.fields[axis][:2] for axis in "xyz"))


def _guesses(data: bytes) -> Iterator[tuple[str, str]]:
    """(layout, what is wrong with it) of layouts that give plausible coordinates."""
    tables = []
    for length in lengths(data):
        for head in {0: None, len(data) % length: None}:  # a header, or a part of a record at the end
            count = (len(data) - head) // length
            table = np.frombuffer(data, np.uint8, count * length, head).reshape(count, length)
            tables.append(table[:: count // _ROWS | 1])  # an odd step, so that halves stay apart
    for kinds in (_NUMBERS[:5], _NUMBERS[5:]):
        for begin in (0, 4, 8):
            for table in tables:
                for kind, unit in kinds:
                    if begin + 3 * np.dtype(kind).itemsize > table.shape[1]:
                        continue
                    with np.errstate(over="ignore", invalid="ignore"):
                        xyz = _numbers(table, begin, kind, 3).astype(np.float64) * unit
                        # Of records twice as long, every second one may hold normals.
                        good = plausible(xyz) and not (degenerate(xyz[::2]) or degenerate(xyz[1::2]))
                    if good and kind in _WORDS:
                        yield "", _WORDS[kind]
                    elif good:
                        yield _columns(table, begin, kind), ""


def _numbers(table: NDArray[np.uint8], begin: int, kind: str, count: int) -> NDArray[np.generic]:
    size = np.dtype(kind).itemsize
    return np.ascontiguousarray(table[:, begin : begin + count * size]).view(kind)


def _columns(table: NDArray[np.uint8], begin: int, kind: str) -> str:
    """A layout whose coordinates begin at a byte; what the other columns hold is guessed."""
    code, size = kind[1:], np.dtype(kind).itemsize
    named = [f"{name}:{code}" for name in "xyz"]
    if begin:
        named.insert(0, f"a:u{begin}")
    rest = table.shape[1] - begin - 3 * size
    seen: set[str] = set()
    place = begin + 3 * size
    for number in range(rest // size):
        with np.errstate(invalid="ignore"):
            name = _meaning(_numbers(table, place, kind, 1).astype(np.float64).ravel())
        name = f"c{number + 4}" if name in seen else name or f"c{number + 4}"
        seen.add(name)
        named.append(f"{name}:{code}")
        place += size
    named += [f"d{number}:u1" for number in range(rest % size)]
    return ",".join(named)


def _meaning(values: NDArray[np.float64]) -> str:
    """``intensity`` or ``ring``, if a column can be that."""
    if not np.isfinite(values).all() or (values < 0).any() or values.max() > 65535 or values.std() == 0:
        return ""
    whole = bool((np.rint(values) == values).all())
    steps = len(np.unique(values))
    return (
        "ring"
        if whole and values.max() < 255 and steps == values.max() - values.min() + 1 < 130
        else "intensity"
    )
