"""Instances followed over a scene: the same number in every frame, and which of them move."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from labelgen.labels.settings import TrackSettings

#: Most pairs of a track and an instance that are compared: a street has some hundreds of either.
MOST_PAIRS = 1 << 23


@dataclass
class _Track:
    number: int
    label: int
    at: NDArray[np.float64]
    time_us: int
    velocity: NDArray[np.float64] | None = None


@dataclass
class Tracker:
    """Follows the instances of one scene, frame by frame.

    Attributes:
        settings: when an instance continues a track.
        moving: numbers of the tracks that have moved so far.
    """

    settings: TrackSettings = field(default_factory=TrackSettings)
    moving: set[int] = field(default_factory=set)
    _tracks: list[_Track] = field(default_factory=list)
    _count: int = 0

    def update(
        self,
        time_us: int,
        global_from_lidar: NDArray[np.float64],
        xyz: NDArray[np.float32],
        label: NDArray[np.uint8],
        instance: NDArray[np.uint16],
    ) -> NDArray[np.uint16]:
        """Give the instances of the next frame the numbers of their tracks.

        A track is where its last seen speed takes it. Tracks and instances are assigned to each other with
        the least sum of distances (`scipy.optimize.linear_sum_assignment`); an instance that none reaches
        begins a track.

        Args:
            time_us: of the frame, later than that of the frame before.
            global_from_lidar: (4, 4) pose.
            xyz: (N, 3) float32 metres in the LiDAR frame.
            label: (N,) uint8 class ids.
            instance: (N,) uint16, 0 for none.

        Returns:
            (N,) uint16 numbers of tracks, 0 for none.

        Raises:
            ValueError: the scene has more than 65535 tracks, or the frame more things than can be compared.
        """
        numbers, centres, kinds, sizes = _centres(global_from_lidar, xyz, label, instance)
        horizon = time_us - self.settings.max_gap_s * 1e6
        self._tracks = [track for track in self._tracks if track.time_us >= horizon]
        taken = self._assign(time_us, centres, kinds)
        table = np.zeros(int(instance.max(initial=0)) + 1, np.uint16)
        for k, number in enumerate(numbers):
            track = taken.get(k)
            if track is None:
                self._count += 1
                if self._count > np.iinfo(np.uint16).max:
                    raise ValueError("more than 65535 tracks in one scene; raise min_points of the instances")
                track = _Track(self._count, int(kinds[k]), centres[k], time_us)
                self._tracks.append(track)
            else:
                self._move(track, time_us, centres[k], int(kinds[k]), float(sizes[k]))
            table[number] = track.number
        return table[instance]

    def _assign(
        self, time_us: int, centres: NDArray[np.float64], kinds: NDArray[np.int64]
    ) -> dict[int, _Track]:
        if not self._tracks or not len(centres):
            return {}
        if len(self._tracks) * len(centres) > MOST_PAIRS:
            raise ValueError(
                f"{len(centres)} things after {len(self._tracks)} in the frames before are too many to "
                "follow; raise min_points of the instances"
            )
        settings = self.settings
        passed = np.array([(time_us - track.time_us) * 1e-6 for track in self._tracks])
        known = np.array([track.velocity is not None for track in self._tracks])
        ahead = [
            track.at if track.velocity is None else track.at + track.velocity * dt
            for track, dt in zip(self._tracks, passed, strict=True)
        ]
        reach = settings.slack + np.where(
            known, 0.5 * settings.max_change * passed**2 + 0.5 * passed, settings.max_speed * passed
        )
        cost = np.linalg.norm(np.array(ahead)[:, None] - centres, axis=2)
        other = np.array([track.label for track in self._tracks])[:, None] != kinds
        cost = cost + settings.other_class * other
        allowed = cost <= reach[:, None]
        # What is out of reach costs more than all that is within: it is taken only if nothing else is left.
        far = float(reach.max()) * (min(cost.shape) + 1)
        rows, columns = linear_sum_assignment(np.where(allowed, cost, far))
        return {int(k): self._tracks[t] for t, k in zip(rows, columns, strict=True) if allowed[t, k]}

    def _move(self, track: _Track, time_us: int, at: NDArray[np.float64], label: int, size: float) -> None:
        passed = max((time_us - track.time_us) * 1e-6, 1e-6)
        velocity = (at - track.at) / passed
        if track.velocity is not None and size <= self.settings.largest:
            now, before = velocity[:2], track.velocity[:2]
            speed, earlier = float(np.linalg.norm(now)), float(np.linalg.norm(before))
            goes_on = float(now @ before) > 0.8 * speed * earlier and 0.5 < speed / max(earlier, 1e-9) < 2
            if goes_on and min(speed, earlier) > self.settings.moving_speed:
                self.moving.add(track.number)
        track.velocity, track.at, track.time_us, track.label = velocity, at, time_us, label


def _centres(
    global_from_lidar: NDArray[np.float64],
    xyz: NDArray[np.float32],
    label: NDArray[np.uint8],
    instance: NDArray[np.uint16],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Numbers of the instances; middles of their boxes, globally; commonest classes; longest sides."""
    rows = np.flatnonzero(instance)
    rows = rows[np.argsort(instance[rows], kind="stable")]
    if not len(rows):
        return np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0, np.int64), np.zeros(0)
    numbers, begins = np.unique(instance[rows], return_index=True)
    points = xyz[rows] @ global_from_lidar[:3, :3].T + global_from_lidar[:3, 3]
    low, high = np.minimum.reduceat(points, begins), np.maximum.reduceat(points, begins)
    kinds = [int(np.bincount(label[part]).argmax()) for part in np.split(rows, begins[1:])]
    return numbers.astype(np.int64), (low + high) / 2, np.array(kinds, np.int64), (high - low).max(axis=1)
