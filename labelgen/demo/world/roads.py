"""The road network: a closed circuit that the ego vehicle follows for ever, and the streets that cross it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from labelgen.demo.world import surface as sf
from labelgen.demo.world.surface import Ground, Surface

FloatArray = NDArray[np.float64]
LOT_LENGTH = 22.0
LOT_DEPTH = 34.0
CELL = 6.0
PIECE_CELL = 0.75
_QUARTERS = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))


@dataclass
class Road:
    """A street's centre line as lines and arcs, and its cross profile.

    Attributes:
        pieces: (S, 8) float64 rows as in `Ground.seg`; kinds: (S,) uint8.
        length: metres.
        closed: whether the end meets the beginning.
        half_width: metres from the centre line to the kerb.
        median: half width of the strip in the middle, 0 for none; median_kind: its surface.
        lanes: per direction; lane_width, parking: widths in metres.
    """

    kinds: NDArray[np.uint8]
    pieces: FloatArray
    length: float
    closed: bool
    half_width: float
    median: float
    median_kind: Surface
    lanes: int
    lane_width: float
    parking: float

    def at(self, s: FloatArray, d: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """x, y and heading (N,) of places (s along, d to the left) of the road."""
        s = np.asarray(s, np.float64)
        d = np.asarray(d, np.float64)
        if self.closed:
            s = np.mod(s, self.length)
        start = self.pieces[:, 5]
        row = np.clip(np.searchsorted(start, s, side="right") - 1, 0, len(start) - 1)
        seg, u = self.pieces[row], s - start[row]
        line = self.kinds[row] == sf.LINE
        angle = seg[..., 3] + u / np.where(line, 1.0, seg[..., 2])
        radius = seg[..., 2] - d
        x = np.where(
            line, seg[..., 0] + seg[..., 2] * u - seg[..., 3] * d, seg[..., 0] + radius * np.cos(angle)
        )
        y = np.where(
            line, seg[..., 1] + seg[..., 3] * u + seg[..., 2] * d, seg[..., 1] + radius * np.sin(angle)
        )
        heading = np.where(line, np.arctan2(seg[..., 3], seg[..., 2]), angle + np.pi / 2)
        return x, y, heading


def circuit(half_x: float, half_y: float, radii: FloatArray, **profile: object) -> Road:
    """A rounded rectangle, driven counter-clockwise from the middle of its lower side."""
    kinds, rows, s = [], [], 0.0
    corners = [(half_x, -half_y), (half_x, half_y), (-half_x, half_y), (-half_x, -half_y)]
    x, y = 0.0, -half_y
    for k, ((cx, cy), radius) in enumerate(zip(corners, radii, strict=True)):
        dx, dy = _QUARTERS[k]
        length = (cx - x) * dx + (cy - y) * dy - radius
        kinds += [sf.LINE, sf.ARC]
        rows.append([x, y, dx, dy, length, s, 0, 0, 0, 0])
        s += length
        x, y = x + dx * length, y + dy * length
        centre = (x - dy * radius, y + dx * radius)
        rows.append([*centre, radius, (k - 1) * np.pi / 2, np.pi / 2, s, dy, -dx, dx, dy])
        s += radius * np.pi / 2
        x, y = centre[0] + dx * radius, centre[1] + dy * radius
    kinds.append(sf.LINE)
    rows.append([x, y, 1.0, 0.0, -x, s, 0, 0, 0, 0])
    s += -x
    return Road(np.array(kinds, np.uint8), np.array(rows, np.float64), s, True, **profile)  # type: ignore[arg-type]


def straight(x: float, y: float, heading: float, length: float, **profile: object) -> Road:
    """A straight street from (x, y)."""
    row = [x, y, round(np.cos(heading), 12), round(np.sin(heading), 12), length, 0.0, 0, 0, 0, 0]
    return Road(np.array([sf.LINE], np.uint8), np.array([row], np.float64), length, False, **profile)  # type: ignore[arg-type]


def ground_of(
    roads: list[Road],
    lot: NDArray[np.uint8],
    verge: NDArray[np.uint8],
    profile: FloatArray,
    first_id: int,
) -> tuple[Ground, dict[int, Surface]]:
    """The ground's tables, and the surface of each object id given to a connected piece of it.

    Args:
        roads: R roads.
        lot: (R, 2, K) uint8 surfaces, see `Ground`.
        verge: (R, 2, K) uint8 surfaces, see `Ground`.
        profile: (6,) see `Ground`.
        first_id: first object id to give.
    """
    seg_kind = np.concatenate([road.kinds for road in roads])
    seg = np.concatenate([road.pieces for road in roads])
    seg_road = np.repeat(np.arange(len(roads)), [len(road.kinds) for road in roads]).astype(np.int32)
    reach = max(r.half_width for r in roads) + profile[0] + profile[1] + profile[2] + CELL
    outline = np.concatenate(
        [np.stack(r.at(np.linspace(0, r.length, 200), np.zeros(200))[:2], 1) for r in roads]
    )
    low = outline.min(0) - reach
    cols, rows = np.ceil((outline.max(0) + reach - low) / CELL).astype(int)
    near = _nearest_segments(roads, seg_kind, seg, seg_road, low, (int(cols), int(rows)), reach)
    counts = np.array([len(cell) for cell in near])
    table = np.array(
        [
            [
                r.half_width,
                r.median,
                r.median_kind,
                r.lanes,
                r.lane_width,
                r.parking,
                r.length,
                float(r.closed),
            ]
            for r in roads
        ]
    )
    ground = Ground(
        seg_kind,
        seg,
        seg_road,
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        np.array([i for cell in near for i in cell], np.int32),
        np.array([low[0], low[1], CELL, cols]),
        table,
        lot,
        verge,
        profile,
        np.zeros((1, 1), np.uint16),
        np.zeros((1, 1), np.uint8),
        np.zeros(len(Surface), np.uint16),
        np.zeros(3),
    )
    return _with_pieces(ground, low, np.array([cols, rows]) * CELL, first_id)


def _nearest_segments(
    roads: list[Road],
    kind: NDArray[np.uint8],
    seg: FloatArray,
    seg_road: NDArray[np.int32],
    low: FloatArray,
    size: tuple[int, int],
    reach: float,
) -> list[list[int]]:
    """By cell of the search grid, segments that may be on the nearest or second nearest road in it."""
    x, y = np.meshgrid(low[0] + (np.arange(size[0]) + 0.5) * CELL, low[1] + (np.arange(size[1]) + 0.5) * CELL)
    x, y = x.ravel(), y.ravel()
    half = CELL * 0.7072
    least = np.empty((len(seg), len(x)))  # beyond the kerb, were the segment's ends round
    sure = np.full((len(roads), len(x)), np.inf)  # the same where the whole cell lies beside the segment
    for i, v in enumerate(seg):
        p, q = x - v[0], y - v[1]
        if kind[i] == sf.LINE:
            s = p * v[2] + q * v[3]
            d = np.hypot(s - np.clip(s, 0, v[4]), q * v[2] - p * v[3])
            beside = (s > half) & (s < v[4] - half)
        else:
            past = np.minimum(v[6] * q - v[7] * p, p * v[9] - q * v[8])
            ends = [np.hypot(p - v[2] * v[k], q - v[2] * v[k + 1]) for k in (6, 8)]
            d = np.where(past > 0, np.abs(np.hypot(p, q) - v[2]), np.minimum(*ends))
            beside = past > half
        least[i] = d - roads[seg_road[i]].half_width
        sure[seg_road[i]] = np.minimum(sure[seg_road[i]], np.where(beside, least[i], np.inf))
    second = np.sort(sure, 0)[1] if len(roads) > 1 else np.full(len(x), np.inf)
    keep = (least <= second + 2 * half) & (least <= reach + half)
    return [np.flatnonzero(column).tolist() for column in keep.T]


def _with_pieces(
    ground: Ground, low: FloatArray, extent: FloatArray, first_id: int
) -> tuple[Ground, dict[int, Surface]]:
    """Number the connected pieces of each surface on a grid."""
    cols, rows = (extent / PIECE_CELL).astype(int)
    xs = low[0] + (np.arange(cols) + 0.5) * PIECE_CELL
    ys = low[1] + (np.arange(rows) + 0.5) * PIECE_CELL
    gx, gy = np.meshgrid(xs, ys)
    kinds, beyond, _ = (a.reshape(rows, cols) for a in sf.surfaces(ground, gx.ravel(), gy.ravel()))
    # Driveways join the road without a visible edge; kerb stones along a verge join the sidewalk.
    kinds[kinds == Surface.DRIVEWAY] = Surface.ROAD
    kinds[(kinds == Surface.GRASS) & (beyond >= 0.0) & (beyond < PIECE_CELL)] = Surface.SIDEWALK
    piece, spare = np.zeros((rows, cols), np.uint16), np.zeros(len(Surface), np.uint16)
    surface_of: dict[int, Surface] = {}
    following = first_id
    for kind in Surface:
        if kind == Surface.DRIVEWAY:
            continue
        mask = kinds == kind
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        piece[mask] = (labels[mask] + following - 1).astype(np.uint16)
        spare[kind] = following
        count = max(int(count), 1)
        surface_of.update(dict.fromkeys(range(following, following + count), kind))
        following += count
    return (
        ground._replace(
            piece=piece, piece_kind=kinds, spare=spare, piece_grid=np.array([low[0], low[1], PIECE_CELL])
        ),
        surface_of,
    )
