"""Small scenes of boxes on flat ground, seen by a LiDAR and a camera, with exact truth of what is hidden."""

from __future__ import annotations

import numpy as np

#: The LiDAR stands at the origin, so high above the ground.
GROUND = -1.84
ELEVATIONS = np.radians(np.linspace(-30.67, 10.67, 32))


def sweep(boxes, azimuth=(-60, 60), slope=0.0, ground=GROUND, max_range=80.0):
    """Points (N, 3) of one sweep in file order (by firing, then ring) and what each lies on.

    The LiDAR frame is x right, y forward, z up. Boxes are rows of (x, y, z) minima and maxima; azimuth is in
    degrees from forward. Returned are the points and the box of each, -1 for the ground.
    """
    yaw = np.radians(np.arange(*azimuth, 360 / 1084))
    yaw, elevation = (a.ravel() for a in np.meshgrid(yaw, ELEVATIONS, indexing="ij"))
    rays = np.stack([np.sin(yaw) * np.cos(elevation), np.cos(yaw) * np.cos(elevation), np.sin(elevation)], 1)
    fall = rays[:, 2] - slope * rays[:, 1]
    with np.errstate(divide="ignore"):
        distance = np.where(fall < 0, ground / fall, np.inf)
    on = np.full(len(rays), -1)
    for k, box in enumerate(boxes):
        near = entry(np.zeros(3), rays, box)
        closer = near < distance
        distance[closer], on[closer] = near[closer], k
    hit = distance < max_range
    return (rays[hit] * distance[hit, None]).astype(np.float32), on[hit]


def entry(start, rays, box):
    """Distance along each ray at which it enters a box, infinite where it misses."""
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = (np.asarray(box[:3]) - start) / rays, (np.asarray(box[3:]) - start) / rays
    low, high = np.nanmax(np.minimum(a, b), axis=1), np.nanmin(np.maximum(a, b), axis=1)
    return np.where((low < high) & (low > 0), low, np.inf)


def hidden(points, on, centre, boxes):
    """(N,) bool: a box other than the point's own stands between the camera's centre and the point."""
    rays = points - centre
    out = np.zeros(len(points), bool)
    for k, box in enumerate(boxes):
        out |= entry(centre, rays, box) < 1 - 1e-3 - 10.0 * (on == k)
    return out
