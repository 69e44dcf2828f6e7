"""Made-up sweeps of made-up LiDARs, as columns, and how files hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

#: Layouts of files by name, as `labelgen.core.frame.parse_layout` reads them.
LAYOUTS = {
    "xyz": "x:f4,y:f4,z:f4",
    "kitti": "x:f4,y:f4,z:f4,intensity:f4",
    "nuscenes": "x:f4,y:f4,z:f4,intensity:f4,ring:f4",
    "six": "x:f4,y:f4,z:f4,intensity:f4,ring:f4,time:f4",
    "normals": "x:f4,y:f4,z:f4,nx:f4,ny:f4,nz:f4",
    "colours": "x:f4,y:f4,z:f4,intensity:f4,red:f4,green:f4,blue:f4",
    "padded": "x:f4,y:f4,z:f4,p:f4,intensity:f4,ring:f4,q:f4,r:f4",
    "mixed": "x:f4,y:f4,z:f4,intensity:u1,ring:u2",
    "sustech": "x:f4,y:f4,z:f4,intensity:f4,time:f4,ring:u2",
    "double": "x:f8,y:f8,z:f8,intensity:f8",
    "bare double": "x:f8,y:f8,z:f8",
}
#: How the points of a sweep follow each other.
ORDERS = ("firing", "alternating", "rings", "raster", "random", "few")
SCENES = ("street", "tunnel", "room")


def sweep(order: str, scene: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Columns x, y, z (metres), intensity (0..1 or 0..255), ring, time (seconds) and some others."""
    direction, ring, time = _rays(order, rng)
    far = _cast(direction, scene, rng)
    hit = np.isfinite(far)
    xyz = direction * np.where(hit, far, 0)[:, None]
    if rng.random() < 0.5:
        xyz = np.round(xyz, 3)
    intensity = np.clip(rng.gamma(2, 0.12, len(xyz)), 0, 1)
    intensity = [intensity, np.round(intensity * 255) / 255, np.round(intensity * 255)][rng.integers(3)]
    normal = rng.normal(0, 1, xyz.shape)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    columns = {
        "x": xyz[:, 0],
        "y": xyz[:, 1],
        "z": xyz[:, 2],
        "intensity": intensity,
        "ring": ring,
        "time": time,
    }
    columns |= {"nx": normal[:, 0], "ny": normal[:, 1], "nz": normal[:, 2]}
    columns |= {name: rng.integers(0, 256, len(xyz)) for name in ("red", "green", "blue")}
    columns |= {name: np.zeros(len(xyz)) for name in "pqr"}
    if rng.random() < 0.5 and hit.sum() > 300:  # else points without a return stay, at the origin
        columns = {name: column[hit] for name, column in columns.items()}
    return columns


def packed(columns: Mapping[str, np.ndarray], layout: str, order: str = "<") -> np.ndarray:
    """Records of a layout; ``order`` of bytes."""
    names = [column.partition(":") for column in layout.split(",")]
    out = np.zeros(len(columns["x"]), [(name, order + kind) for name, _, kind in names])
    for name, _, kind in names:
        values = columns[name]
        if name == "intensity" and kind[0] == "u" and values.max() <= 1:
            values = np.round(values * 255)
        out[name] = values
    return out


def _rays(order: str, rng: np.random.Generator) -> Sequence[np.ndarray]:
    """(N, 3) unit vectors, (N,) rings and (N,) seconds."""
    if order == "raster":
        rows, columns = 60, 120
        up, side = np.linspace(12, -12, rows), np.radians(np.linspace(60, -60, columns))
        elevation, azimuth = np.repeat(up, columns), np.tile(side, rows)
        ring, time = np.repeat(np.arange(rows), columns), np.linspace(0, 0.1, rows * columns)
    elif order in ("random", "few"):
        count = 600 if order == "few" else 6000
        azimuth, elevation = rng.uniform(-np.pi, np.pi, count), rng.uniform(-25, 12, count)
        ring, time = ((elevation + 25) / 37 * 32).astype(int), rng.uniform(0, 0.1, count)
    else:
        rings, columns = 32, 240
        up, turn = np.linspace(-25, 12, rings), np.linspace(0, 2 * np.pi, columns, endpoint=False)
        of_ring = np.arange(rings)
        if order == "alternating":  # lower and upper half in turn, as some LiDARs fire
            of_ring = of_ring.reshape(2, -1).T.ravel()
        elevation, azimuth, ring = (
            np.tile(up[of_ring], columns),
            np.repeat(turn, rings),
            np.tile(of_ring, columns),
        )
        time = np.repeat(np.linspace(0, 0.1, columns), rings)
        if order == "rings":
            sort = np.argsort(-ring, kind="stable")
            elevation, azimuth, ring, time = elevation[sort], azimuth[sort], ring[sort], time[sort]
    elevation = np.radians(elevation) + rng.normal(0, 1e-4, len(azimuth))
    flat = np.cos(elevation)
    direction = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=1)
    return direction, ring, time


def _cast(direction: np.ndarray, scene: str, rng: np.random.Generator) -> np.ndarray:
    """(N,) metres to what a ray meets; infinite for nothing."""
    far = np.full(len(direction), np.inf)
    height = rng.uniform(1.2, 2.2)

    def wall(normal: Sequence[float], away: float, half_width: float = np.inf, top: float = np.inf) -> None:
        nonlocal far
        with np.errstate(divide="ignore", invalid="ignore"):
            at = away / (direction @ np.asarray(normal, float))
            point = direction * at[:, None]
            beside = np.abs(point @ np.array([-normal[1], normal[0], 0.0]))
        good = (at > 0.3) & (beside < half_width) & (point[:, 2] < top)
        far = np.where(good & (at < far), at, far)

    wall((0, 0, -1), height)
    if scene == "room":
        for normal in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)):
            wall(normal, rng.uniform(3, 9))
        wall((0, 0, 1), rng.uniform(1, 2.5))
    elif scene == "tunnel":
        for normal in ((0, 1, 0), (0, -1, 0), (0, 0, 1)):
            wall(normal, rng.uniform(3, 6))
    else:
        for angle in rng.uniform(-np.pi, np.pi, 12):  # fronts of houses, cars and trees
            normal = (np.cos(angle), np.sin(angle), 0)
            wall(normal, rng.uniform(4, 50), rng.choice([0.3, 2, 15]), rng.uniform(-0.5, 9))
    far = np.where(far < 100, far, np.inf)
    return far + rng.normal(0, 0.01, len(far))
