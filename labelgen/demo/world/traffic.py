"""How bodies move: along roads in lanes that share one speed, towards a stop line, on foot, or not at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelgen.demo.world.roads import Road
from labelgen.demo.world.surface import HEIGHT, Ground, surfaces

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Track:
    """Motion of one body along a road.

    Attributes:
        road: its row; s: metres along it at time 0; d: metres to the left.
        heading: +1 with the road, -1 against it.
        lane: row of `Traffic.speed` that drives it, or -1 for its own speed.
        speed: metres per second of its own.
        stop: metres after which it comes to rest; infinite for never.
        stride: radians of walking phase per metre; 0 for what does not walk.
    """

    road: int
    s: float
    d: float
    heading: float
    lane: int = -1
    speed: float = 0.0
    stop: float = np.inf
    stride: float = 0.0


class Traffic:
    """Poses of all bodies at any time.

    Args:
        roads: the network; ground: its surfaces, on which people walk.
        resting: (B, 5) x, y, z, yaw, phase of every body at rest; rows of tracked bodies are ignored.
        tracks: {body row: track}.
        speed: (L, 4) per lane: mean speed in m/s, relative swing, angular frequency in rad/s, phase.
    """

    def __init__(
        self,
        roads: list[Road],
        ground: Ground,
        resting: FloatArray,
        tracks: dict[int, Track],
        speed: FloatArray,
    ) -> None:
        self._roads, self._ground, self._resting, self._speed = roads, ground, resting, speed
        self.rows = np.array(sorted(tracks), np.int64)
        ordered = [tracks[int(row)] for row in self.rows]
        self._road = np.array([t.road for t in ordered], np.int64)
        self._values = np.array([[t.s, t.d, t.heading, t.speed, t.stop, t.stride] for t in ordered]).reshape(
            -1, 6
        )
        self._lane = np.array([t.lane for t in ordered], np.int64)

    def driven(self, time_s: float) -> FloatArray:
        """(L,) metres that each lane has moved since time 0."""
        mean, swing, omega, phase = self._speed.T
        metres: FloatArray = mean * (
            time_s + swing / omega * (np.cos(phase) - np.cos(omega * time_s + phase))
        )
        return metres

    def poses(self, time_s: float) -> FloatArray:
        """(B, 5) x, y, z in metres, yaw and walking phase in radians of all bodies."""
        out = self._resting.copy()
        s0, d, heading, speed, stop, stride = self._values.T
        own = speed * time_s
        ends = np.isfinite(stop)
        own[ends] = stop[ends] * (1.0 - np.exp(-own[ends] / stop[ends]))
        moved = np.where(self._lane >= 0, self.driven(time_s)[self._lane], own)
        s = s0 + heading * moved
        for row, road in enumerate(self._roads):
            mine = self._road == row
            if mine.any():
                x, y, yaw = road.at(s[mine], d[mine])
                yaw = yaw + np.where(heading[mine] > 0, 0.0, np.pi)
                zero = np.zeros_like(x)
                out[self.rows[mine]] = np.stack([x, y, zero, yaw, zero], 1)
        out[self.rows, 4] = self._resting[self.rows, 4] + stride * moved
        walking = self.rows[stride > 0]
        kinds, _, _ = surfaces(self._ground, out[walking, 0], out[walking, 1])
        out[walking, 2] = HEIGHT[kinds]
        return out
