"""Solids that everything in the city is made of, and how they are collected and placed in the world.

A part is a box, hull (box with a narrower top), cone frustum, ellipsoid or tube in the frame of a body.
Body frame: x forward, y left, z up, origin on the ground.
"""

# mypy: allow-untyped-defs, allow-untyped-calls
# (numba infers the types of kernels)

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelgen.demo.world.hits import CONE, ELLIPSOID, TUBE
from labelgen.demo.world.jit import kernel

FloatArray = NDArray[np.float64]
Colour = tuple[float, float, float]
Triple = tuple[float, float, float]


class Kind(IntEnum):
    """Shape of a part; ``half`` are its half extents along its own axes."""

    BOX = 0
    HULL = 1  #: shape = (rear, front, side): top face spans rear*hx..front*hx and +-side*hy
    CONE = 2  #: elliptic frustum along z; shape[0] = radius at the top relative to the bottom
    ELLIPSOID = 3
    TUBE = 4  #: ring around z; shape[0] = inner radius relative to the outer


class Prims(NamedTuple):
    """Parts of a scene as arrays of P rows (what the kernels read).

    Attributes:
        kind: (P,) uint8, a `Kind`.
        centre: (P, 3) float64 metres.
        axes: (P, 3, 3) float64; columns are the part's axes.
        half: (P, 3) float64 metres.
        shape: (P, 3) float64, see `Kind`.
        open: (P, 2) float64: share of holes (0 solid, > 0 random holes, < 0 bars) and their pitch in metres.
        body: (P,) int32, row of the body that it is fixed to.
        swing: (P,) float64 radians by which it swings about its upper end while its body walks.
        object_id: (P,) uint16.
        category: (P,) uint8, general category.
        material: (P,) uint8.
        colour: (P, 2, 3) float32, linear RGB in 0..1.
        tex: (P, 2) float64, parameters of the material.
        seed: (P,) int64 for its noise.
    """

    kind: NDArray[np.uint8]
    centre: FloatArray
    axes: FloatArray
    half: FloatArray
    shape: FloatArray
    open: FloatArray
    body: NDArray[np.int32]
    swing: FloatArray
    object_id: NDArray[np.uint16]
    category: NDArray[np.uint8]
    material: NDArray[np.uint8]
    colour: NDArray[np.float32]
    tex: FloatArray
    seed: NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """One solid of an assembly, in the assembly's frame."""

    kind: Kind
    centre: Triple
    half: Triple
    material: int
    colour: Colour
    colour2: Colour
    turn: Triple = (0.0, 0.0, 0.0)  #: yaw, pitch, roll in radians
    shape: Triple = (0.0, 0.0, 0.0)
    open: tuple[float, float] = (0.0, 0.0)
    swing: float = 0.0
    tex: tuple[float, float] = (0.0, 0.0)


@dataclass
class Assembly:
    """Parts that make one thing: a car, a tree, a house."""

    parts: list[Part] = field(default_factory=list)
    _bounds: tuple[int, FloatArray] | None = field(default=None, repr=False, compare=False)

    def box(self, centre: Triple, half: Triple, material: int, colour: Colour, **more: object) -> None:
        """Add a box."""
        self._add(Kind.BOX, centre, half, material, colour, more)

    def hull(
        self, centre: Triple, half: Triple, top: Triple, material: int, colour: Colour, **more: object
    ) -> None:
        """Add a box with a narrower top."""
        self._add(Kind.HULL, centre, half, material, colour, {**more, "shape": top})

    def cone(
        self, centre: Triple, half: Triple, top: float, material: int, colour: Colour, **more: object
    ) -> None:
        """Add an upright frustum; ``top`` = 1 is a cylinder."""
        self._add(Kind.CONE, centre, half, material, colour, {**more, "shape": (top, 0.0, 0.0)})

    def ball(self, centre: Triple, half: Triple, material: int, colour: Colour, **more: object) -> None:
        """Add an ellipsoid."""
        self._add(Kind.ELLIPSOID, centre, half, material, colour, more)

    def tube(
        self, centre: Triple, half: Triple, inner: float, material: int, colour: Colour, **more: object
    ) -> None:
        """Add a ring around z."""
        self._add(Kind.TUBE, centre, half, material, colour, {**more, "shape": (inner, 0.0, 0.0)})

    def rod(self, a: Triple, b: Triple, radius: float, material: int, colour: Colour, **more: object) -> None:
        """Add a cylinder from a to b."""
        dx, dy, dz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        length = math.sqrt(dx * dx + dy * dy + dz * dz)
        turn = (math.atan2(dy, dx), math.acos(min(max(dz / length, -1.0), 1.0)), 0.0)
        centre = ((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, (a[2] + b[2]) / 2)
        self.cone(centre, (radius, radius, length / 2), 1.0, material, colour, turn=turn, **more)

    def add(self, other: Assembly, at: Triple = (0.0, 0.0, 0.0), yaw: float = 0.0) -> None:
        """Add all parts of another assembly, turned and moved."""
        c, s = np.cos(yaw), np.sin(yaw)
        for part in other.parts:
            x, y, z = part.centre
            centre = (float(c * x - s * y + at[0]), float(s * x + c * y + at[1]), z + at[2])
            turn = (part.turn[0] + yaw, part.turn[1], part.turn[2])
            self.parts.append(Part(**{**part.__dict__, "centre": centre, "turn": turn}))

    def _add(
        self, kind: Kind, centre: Triple, half: Triple, material: int, colour: Colour, more: dict[str, object]
    ) -> None:
        colour2 = more.pop("colour2", colour)
        self.parts.append(Part(kind, centre, half, int(material), colour, colour2, **more))  # type: ignore[arg-type]

    def bounds(self) -> FloatArray:
        """(2, 3) lower and upper corner of all parts, swinging limbs at their extremes."""
        if self._bounds is None or self._bounds[0] != len(self.parts):
            rows = np.array([(*p.turn, *p.centre, *p.half, p.swing, p.kind) for p in self.parts])
            self._bounds = (len(self.parts), _bounds(rows))
        return self._bounds[1]


@kernel
def _bounds(rows):
    """Lower and upper corner (2, 3) of parts; rows hold turn, centre, half, swing and kind."""
    axes, centre, half, swing = turn_matrices(rows[:, :3]), rows[:, 3:6], rows[:, 6:9], rows[:, 9]
    kind = rows[:, 10]
    out = np.empty((2, 3))
    out[0], out[1] = np.inf, -np.inf
    for i in range(len(centre)):
        ball, round_ = kind[i] == ELLIPSOID, kind[i] == CONE or kind[i] == TUBE
        for turn in range(-1, 2):
            if turn != 0 and swing[i] == 0.0:
                continue
            angle = turn * swing[i]
            c, s = np.cos(angle), np.sin(angle)
            for k in range(3):
                # Row k of the part's axes after the swing about its upper end.
                reach, lever, upper = 0.0, 0.0, 0.0
                for j in range(3):
                    a = axes[i, k, j]
                    if k == 0:
                        a = c * axes[i, 0, j] + s * axes[i, 2, j]
                    elif k == 2:
                        a = -s * axes[i, 0, j] + c * axes[i, 2, j]
                    h = a * half[i, j]
                    if ball:
                        reach += h * h
                    elif round_ and j < 2:
                        lever += h * h
                    else:
                        reach += abs(h)
                    if j == 2:
                        upper = axes[i, k, 2] * half[i, 2] - h
                if ball:
                    reach = np.sqrt(reach)
                reach += np.sqrt(lever)
                at = centre[i, k] + upper
                out[0, k], out[1, k] = min(out[0, k], at - reach), max(out[1, k], at + reach)
    return out


@kernel
def turn_matrices(turns):
    """(N, 3, 3) rotations Rz(yaw) Ry(pitch) Rx(roll) of (N, 3) angles."""
    axes = np.empty((len(turns), 3, 3))
    for i in range(len(turns)):
        cy, cp, cr = np.cos(turns[i, 0]), np.cos(turns[i, 1]), np.cos(turns[i, 2])
        sy, sp, sr = np.sin(turns[i, 0]), np.sin(turns[i, 1]), np.sin(turns[i, 2])
        axes[i, 0, 0], axes[i, 0, 1], axes[i, 0, 2] = cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr
        axes[i, 1, 0], axes[i, 1, 1], axes[i, 1, 2] = sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr
        axes[i, 2, 0], axes[i, 2, 1], axes[i, 2, 2] = -sp, cp * sr, cp * cr
    return axes


def collect(parts: Sequence[tuple[Part, int, int, int]], seed: int) -> Prims:
    """Arrays of (part, body, object id, category) rows, still in body frames."""
    n = len(parts)
    axes = turn_matrices(np.array([p.turn for p, *_ in parts], np.float64).reshape(n, 3))

    def column(name: str, width: int) -> FloatArray:
        return np.array([getattr(p, name) for p, *_ in parts], np.float64).reshape(n, width)

    return Prims(
        kind=column("kind", 1)[:, 0].astype(np.uint8),
        centre=column("centre", 3),
        axes=axes,
        half=column("half", 3),
        shape=column("shape", 3),
        open=column("open", 2),
        body=np.array([row[1] for row in parts], np.int32),
        swing=column("swing", 1)[:, 0].copy(),
        object_id=np.array([row[2] for row in parts], np.uint16),
        category=np.array([row[3] for row in parts], np.uint8),
        material=column("material", 1)[:, 0].astype(np.uint8),
        colour=np.stack([column("colour", 3), column("colour2", 3)], 1).astype(np.float32),
        tex=column("tex", 2),
        seed=np.arange(n, dtype=np.int64) * 7919 + seed,
    )


def place(prims: Prims, rows: NDArray[np.int64], poses: FloatArray) -> Prims:
    """Those rows in world coordinates.

    Args:
        prims: in body frames.
        rows: (Q,) rows to take.
        poses: (B, 5) per body: x, y, z in metres, yaw and walking phase in radians.
    """
    taken = Prims._make(column[rows] for column in prims)
    _place(taken.centre, taken.axes, taken.half, taken.body, taken.swing, poses)
    return taken


@kernel
def _place(centre, axes, half, body, swing, poses):
    for i in range(len(centre)):
        x, y, z, yaw, phase = poses[body[i]]
        if swing[i] != 0.0:
            angle = swing[i] * np.sin(phase)
            c, s = np.cos(angle), np.sin(angle)
            lever = np.empty(3)
            for k in range(3):
                lever[k] = axes[i, k, 2] * half[i, 2]
            centre[i, 0] += lever[0] - (c * lever[0] + s * lever[2])
            centre[i, 2] += lever[2] - (-s * lever[0] + c * lever[2])
            for k in range(3):
                a, b = axes[i, 0, k], axes[i, 2, k]
                axes[i, 0, k] = c * a + s * b
                axes[i, 2, k] = -s * a + c * b
        c, s = np.cos(yaw), np.sin(yaw)
        a, b = centre[i, 0], centre[i, 1]
        centre[i, 0] = c * a - s * b + x
        centre[i, 1] = s * a + c * b + y
        centre[i, 2] += z
        for k in range(3):
            a, b = axes[i, 0, k], axes[i, 1, k]
            axes[i, 0, k] = c * a - s * b
            axes[i, 1, k] = s * a + c * b


def joined(first: Prims, second: Prims) -> Prims:
    """Rows of both."""
    return Prims._make(np.concatenate([a, b]) for a, b in zip(first, second, strict=True))
