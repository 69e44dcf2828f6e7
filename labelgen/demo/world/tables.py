"""The tables of a nuScenes dataroot, as nuscenes-devkit reads them.

Tokens are hashes of what they stand for, so the same city always gets the same tokens.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any

from labelgen.datasets.nuscenes_categories import CATEGORIES
from labelgen.datasets.nuscenes_splits import official_splits
from labelgen.demo.world import rig

Row = dict[str, Any]

VERSION = "v1.0-mini"
LOCATION = "labelgen-world"
VISIBILITY = ("v0-40", "v40-60", "v60-80", "v80-100")
ATTRIBUTES: dict[str, str] = {
    "vehicle.moving": "Vehicle is moving.",
    "vehicle.stopped": "Vehicle, with a driver in it, is stationary but has an intent to move.",
    "vehicle.parked": "Vehicle is stationary with no immediate intent to move.",
    "cycle.with_rider": "There is a rider on the bicycle or motorcycle.",
    "cycle.without_rider": "There is no rider on the bicycle or motorcycle.",
    "pedestrian.sitting_lying_down": "The human is sitting or lying down.",
    "pedestrian.standing": "The human is standing.",
    "pedestrian.moving": "The human is moving.",
}


def token(*what: object) -> str:
    """32 hex digits that stand for the given things."""
    return hashlib.blake2b("/".join(str(part) for part in what).encode(), digest_size=16).hexdigest()


def scene_names(count: int) -> list[str]:
    """Names that nuscenes-devkit's splits know: the two of ``mini_val``, the eight of ``mini_train``, others.

    The devkit evaluates a split only if all its scenes are there: ``mini_val`` from two scenes on,
    ``mini_train`` from ten on.
    """
    splits = official_splits()
    known = [*splits["mini_val"], *splits["mini_train"]]
    known += [name for split in ("val", "train", "test") for name in splits[split] if name not in set(known)]
    known += [f"scene-{number}" for number in range(2001, 2001 + max(0, count - len(known)))]
    return known[:count]


class Tables:
    """All tables of one dataroot while it is being written."""

    NAMES = (
        "category",
        "attribute",
        "visibility",
        "instance",
        "sensor",
        "calibrated_sensor",
        "ego_pose",
        "log",
        "scene",
        "sample",
        "sample_data",
        "sample_annotation",
        "map",
        "lidarseg",
        "panoptic",
    )

    def __init__(self, image_size: tuple[int, int]) -> None:
        self.rows: dict[str, list[Row]] = {name: [] for name in self.NAMES}
        self.image_size = image_size
        for index, name in enumerate(CATEGORIES):
            self.add("category", token=token("category", name), name=name, description="", index=index)
        for name, description in ATTRIBUTES.items():
            self.add("attribute", token=token("attribute", name), name=name, description=description)
        for level, name in enumerate(VISIBILITY, start=1):
            low, high = name[1:].split("-")
            text = f"visibility of whole object is between {low} and {high}%"
            self.add("visibility", token=str(level), level=name, description=text)
        for sensor in (rig.LIDAR, *rig.CAMERAS):
            kind = "lidar" if sensor is rig.LIDAR else "camera"
            self.add("sensor", token=token("sensor", sensor.name), channel=sensor.name, modality=kind)

    def add(self, table: str, **row: Any) -> Row:
        """Append a row and give it back."""
        self.rows[table].append(row)
        return row

    def add_calibration(self, scene: str, sensor: rig.Sensor) -> str:
        """A sensor's calibration in a scene; gives its token."""
        matrix = [] if sensor is rig.LIDAR else sensor.intrinsics(self.image_size).tolist()
        return str(
            self.add(
                "calibrated_sensor",
                token=token("calibrated_sensor", scene, sensor.name),
                sensor_token=token("sensor", sensor.name),
                translation=list(sensor.translation),
                rotation=list(sensor.rotation),
                camera_intrinsic=matrix,
            )["token"]
        )


def link(rows: list[Row]) -> None:
    """Fill ``prev`` and ``next`` of rows that follow each other."""
    for earlier, later in pairwise(rows):
        earlier["next"], later["prev"] = later["token"], earlier["token"]
