"""Boxes of things with tracks through a scene: nuScenes' instance and sample_annotation tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelgen.datasets.nuscenes_categories import CATEGORIES
from labelgen.demo.world import rig
from labelgen.demo.world.categories import EGO, FIRST_STUFF
from labelgen.demo.world.city import City, Item
from labelgen.demo.world.keyframe import Sighting
from labelgen.demo.world.tables import Tables, link, token

#: Annotators leave some room around a thing; so do these boxes, in metres on each side.
MARGIN = 0.04


def annotate(
    tables: Tables,
    city: City,
    scene: str,
    frames: list[Sighting],
    samples: list[str],
    origin: NDArray[np.float64],
) -> None:
    """Add every thing that a beam met, in all frames between the first and the last time it did."""
    things = [
        i for i in city.items.values() if i.body >= 0 and i.category < FIRST_STUFF and i.category != EGO
    ]
    for item in things:
        hit = [k for k, frame in enumerate(frames) if frame.points_on.get(item.object_id, 0)]
        if not hit:
            continue
        instance, rows = token("instance", scene, item.object_id), []
        for k in range(hit[0], hit[-1] + 1):
            translation, rotation, size = box_of(city, item, frames[k].time_s)
            rows.append(
                tables.add(
                    "sample_annotation",
                    token=token("annotation", scene, item.object_id, k),
                    sample_token=samples[k],
                    instance_token=instance,
                    visibility_token=_visibility(frames[k], item),
                    attribute_tokens=[
                        token("attribute", name) for name in _attributes(city, item, frames[k].time_s)
                    ],
                    translation=np.round(translation + origin, 3).tolist(),
                    size=np.round(size, 3).tolist(),
                    rotation=rotation.tolist(),
                    prev="",
                    next="",
                    num_lidar_pts=int(frames[k].points_on.get(item.object_id, 0)),
                    num_radar_pts=0,
                )
            )
        link(rows)
        tables.add(
            "instance",
            token=instance,
            category_token=token("category", CATEGORIES[item.category]),
            nbr_annotations=len(rows),
            first_annotation_token=rows[0]["token"],
            last_annotation_token=rows[-1]["token"],
        )


def box_of(
    city: City, item: Item, time_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Centre (3,), unit quaternion (4,) and width, length, height (3,) of a thing's box in its scene."""
    x, y, z, yaw, _ = city.traffic.poses(time_s)[item.body]
    c, s = np.cos(yaw), np.sin(yaw)
    mx, my, mz = item.middle
    centre = np.array([x + c * mx - s * my, y + s * mx + c * my, z + mz])
    length, width, height = item.size
    return centre, rig.euler_quaternion(yaw), np.array([width, length, height]) + 2 * MARGIN


def _visibility(frame: Sighting, item: Item) -> str:
    """NuScenes' level 1..4 of the share of a thing that the pictures show."""
    return str(1 + int(np.searchsorted([0.4, 0.6, 0.8], frame.shown_of.get(item.object_id, 0.0))))


def _attributes(city: City, item: Item, time_s: float) -> list[str]:
    name = CATEGORIES[item.category]
    if name in ("vehicle.bicycle", "vehicle.motorcycle"):
        return ["cycle.with_rider" if item.rider else "cycle.without_rider"]
    if name.startswith("vehicle."):
        if not item.moving:
            return ["vehicle.parked"]
        poses = [city.traffic.poses(time_s + dt)[item.body, :2] for dt in (-0.25, 0.25)]
        return ["vehicle.moving" if np.linalg.norm(poses[1] - poses[0]) > 0.1 else "vehicle.stopped"]
    if name.startswith("human.pedestrian."):
        return ["pedestrian.moving" if item.moving else "pedestrian.standing"]
    return []
