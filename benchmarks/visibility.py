"""How many hidden points the occlusion test finds, and at what price, in the simulated city.

The city knows for every LiDAR point which cameras truly see it (rays at each camera's own firing time).
Claims, over all views of validation scenes:
- ``hidden_found``: share of the truly hidden views that are held to be hidden.
- ``false_alarms``: share of the truly visible views that are held to be hidden.
The curve over thresholds is printed beside them.
"""

from __future__ import annotations

import harness
import numpy as np
from rich.console import Console

from labelgen.core.frame import Camera, Frame, PointCloud
from labelgen.demo.world import VAL_SEEDS, City, rig
from labelgen.demo.world.lidar import scan
from labelgen.demo.world.render import aim
from labelgen.demo.world.visibility import IN_IMAGE, SEEN, seen_by
from labelgen.geometry import ProjectionSettings, project

SIZE = (1600, 900)
TEST = ProjectionSettings()


def keyframe(seed: int, time_s: float) -> tuple[Frame, PointCloud, np.ndarray]:
    """A frame of the city, its points, and (N, 6) bits of truth."""
    city = City(seed=seed)
    sweep = scan(city, time_s)
    world_from_lidar = city.world_from_ego(sweep.time_s) @ rig.LIDAR.ego_from_sensor
    cameras, truth = [], []
    for camera in rig.CAMERAS:
        fired = time_s - rig.SWEEP_SECONDS * (1 - camera.sweep_fraction)
        truth.append(seen_by(city, sweep, aim(city, fired, camera.name, SIZE), fired))
        world_from_camera = city.world_from_ego(fired) @ camera.ego_from_sensor
        pose = np.linalg.inv(world_from_camera) @ world_from_lidar
        cameras.append(Camera(camera.name, "", *SIZE, camera.intrinsics(SIZE), pose, 0))
    frame = Frame(f"{seed}-{time_s}", str(seed), 0, 0, "", "nuscenes", world_from_lidar, tuple(cameras))
    points = np.ascontiguousarray(sweep.points)
    cloud = PointCloud(np.ascontiguousarray(points[:, :3]), np.ascontiguousarray(points[:, 3]))
    return frame, cloud, np.stack(truth, 1)


def run(quick: bool) -> list[harness.Claim]:
    """Project and compare."""
    hidden, residual, tolerance = [], [], []
    for seed in VAL_SEEDS[: 4 if quick else 12]:
        for time_s in (1.0, 4.0):
            frame, cloud, truth = keyframe(seed, time_s)
            views = project(frame, cloud)
            bits = truth[views.point, views.camera]
            inside = (bits & IN_IMAGE) > 0
            hidden.append((bits & SEEN)[inside] == 0)
            residual.append(views.depth_residual[inside])
            limit = np.maximum(TEST.max_residual, TEST.max_residual_relative * views.depth)
            tolerance.append(limit[inside])
    truly, behind, allowed = (np.concatenate(part) for part in (hidden, residual, tolerance))
    console = Console(stderr=True)
    console.print(
        f"{len(truly)} views, {truly.mean():.1%} hidden; "
        f"threshold x ({TEST.max_residual} m, {TEST.max_residual_relative:.0%}):"
    )
    for factor in (0.25, 0.5, 1, 2, 4, 8):
        found = behind > factor * allowed
        console.print(
            f"  x {factor:<5} found {found[truly].mean():.3f}  false alarms {found[~truly].mean():.4f}"
        )
    found = behind > allowed
    return [
        harness.score("hidden_found", float(found[truly].mean()), goal=0.85, unit="share"),
        harness.score(
            "false_alarms", float(found[~truly].mean()), goal=0.03, unit="share", lower_is_better=True
        ),
    ]


if __name__ == "__main__":
    harness.main("visibility", __doc__, run)
