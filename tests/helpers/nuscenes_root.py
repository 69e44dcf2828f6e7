"""A tiny but complete nuScenes data root, made from scratch: tables, clouds, images and truth.

A car drives down a street between two walls and passes parked cars. The points lie exactly on those
surfaces, each camera fires at a time of its own while the car moves, and nuscenes-devkit loads the result.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from scipy.spatial.transform import Rotation

VERSION = "v1.0-mini"
#: The first is in the devkit's split mini_train, the second in mini_val, and so on.
SCENES = ("scene-0061", "scene-0103", "scene-0553", "scene-0916", "scene-0655", "scene-0757")
#: {channel: (yaw in degrees, time in microseconds from the LiDAR's, focal length at 1600 pixels)}
CAMERAS = {
    "CAM_FRONT": (0.0, -35_000, 1266.0),
    "CAM_FRONT_RIGHT": (-56.0, -28_000, 1260.0),
    "CAM_BACK_RIGHT": (-110.0, -20_000, 1259.0),
    "CAM_BACK": (180.0, -10_000, 809.0),
    "CAM_BACK_LEFT": (109.0, -1_000, 1256.0),
    "CAM_FRONT_LEFT": (55.0, -43_000, 1272.0),
}
#: In the order of their ids. Not from the devkit, whose import takes seconds.
CATEGORIES = [
    "noise",
    "animal",
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.construction_worker",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.stroller",
    "human.pedestrian.wheelchair",
    "movable_object.barrier",
    "movable_object.debris",
    "movable_object.pushable_pullable",
    "movable_object.trafficcone",
    "static_object.bicycle_rack",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.car",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.motorcycle",
    "vehicle.trailer",
    "vehicle.truck",
    "flat.driveable_surface",
    "flat.other",
    "flat.sidewalk",
    "flat.terrain",
    "static.manmade",
    "static.other",
    "static.vegetation",
    "vehicle.ego",
]
COLORS = {
    "flat.driveable_surface": (105, 105, 110),
    "flat.sidewalk": (160, 150, 150),
    "static.manmade": (170, 120, 90),
    "vehicle.car": (200, 30, 40),
}
LIDAR_HEIGHT = 1.84


def make_dataroot(
    tmp_path: Path,
    scenes: int = 2,
    samples: int = 3,
    points: int = 500,
    image_size: tuple[int, int] = (160, 90),
    seed: int = 0,
) -> Path:
    """Write a nuScenes data root of version `VERSION` with lidarseg and panoptic truth.

    Args:
        tmp_path: an existing folder; the data root is made in it.
        scenes: how many, at most ``len(SCENES)``.
        samples: keyframes per scene, half a second apart.
        points: per cloud; the last two are NaN, and lie in class "noise".
        image_size: width and height in pixels.
        seed: of the points; equal arguments give equal files.
    """
    root = tmp_path / "nuscenes"
    writer = _Writer(root, image_size, points, np.random.default_rng(seed))
    for name in SCENES[:scenes]:
        writer.scene(name, samples)
    writer.finish()
    return root


def edit_table(root: Path, table: str, change: Any) -> None:
    """Load a table, let ``change(records)`` alter it (or return another), and write it back."""
    path = root / VERSION / f"{table}.json"
    records = json.loads(path.read_text())
    path.write_text(json.dumps(change(records) or records, indent=0))


def token(*parts: object) -> str:
    return hashlib.md5("/".join(map(str, parts)).encode()).hexdigest()


def ego_pose(time_us: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) and translation (3,) global_from_ego: 8 m/s along a gentle curve."""
    seconds = time_us * 1e-6
    yaw = 0.4 + 0.15 * seconds
    x = 411.3 + 8 / 0.15 * (np.sin(yaw) - np.sin(0.4))
    y = 1180.9 - 8 / 0.15 * (np.cos(yaw) - np.cos(0.4))
    return Rotation.from_euler("zyx", [yaw, 0.004, -0.003]).as_matrix(), np.array([x, y, 0.0])


def _quaternion(rotation: np.ndarray) -> list[float]:
    x, y, z, w = Rotation.from_matrix(rotation).as_quat().tolist()
    return [w, x, y, z]


@dataclass
class _Writer:
    root: Path
    image_size: tuple[int, int]
    points: int
    rng: np.random.Generator
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        empty = ("attribute", "visibility", "instance", "sample_annotation", "sample_data", "ego_pose")
        self.tables = {name: [] for name in (*empty, "scene", "sample", "lidarseg", "panoptic")}
        self.tables["category"] = [
            {"token": token("category", name), "name": name, "description": "", "index": index}
            for index, name in enumerate(CATEGORIES)
        ]
        self.tables["log"] = [
            {
                "token": token("log"),
                "logfile": "made",
                "vehicle": "n0",
                "date_captured": "2018-07-24",
                "location": "boston-seaport",
            }
        ]
        self.tables["map"] = [
            {
                "token": token("map"),
                "category": "semantic_prior",
                "filename": "maps/made.png",
                "log_tokens": [token("log")],
            }
        ]
        self._rig()
        for folder in (VERSION, "maps", f"lidarseg/{VERSION}", f"panoptic/{VERSION}", "samples/LIDAR_TOP"):
            (self.root / folder).mkdir(parents=True)
        for channel in CAMERAS:
            (self.root / "samples" / channel).mkdir()
        Image.new("L", (4, 4)).save(self.root / "maps" / "made.png")

    def _rig(self) -> None:
        width, height = self.image_size
        turned = Rotation.from_euler("z", -89.9, degrees=True).as_matrix()
        calibration = {"LIDAR_TOP": (turned, [0.94, 0.0, LIDAR_HEIGHT], [])}
        forward = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], float)  # ego axes of the camera's x, y, z
        for channel, (yaw, _, focal) in CAMERAS.items():
            turn = Rotation.from_euler("z", yaw, degrees=True).as_matrix()
            f = focal * width / 1600
            intrinsics = [[f, 0.0, (width - 1) / 2], [0.0, f, (height - 1) / 2], [0.0, 0.0, 1.0]]
            position = turn @ [0.7, 0.0, 0.0] + [0.94, 0.0, 1.5]
            calibration[channel] = (turn @ forward, position.tolist(), intrinsics)
        self.calibration = calibration
        self.tables["sensor"] = [
            {
                "token": token("sensor", channel),
                "channel": channel,
                "modality": "lidar" if channel == "LIDAR_TOP" else "camera",
            }
            for channel in calibration
        ]
        self.tables["calibrated_sensor"] = [
            {
                "token": token("calibration", channel),
                "sensor_token": token("sensor", channel),
                "translation": list(translation),
                "rotation": _quaternion(rotation),
                "camera_intrinsic": intrinsics,
            }
            for channel, (rotation, translation, intrinsics) in calibration.items()
        ]

    def scene(self, name: str, samples: int) -> None:
        number = len(self.tables["scene"])
        tokens = [token(name, index) for index in range(samples)]
        self.tables["scene"].append(
            {
                "token": token(name),
                "log_token": token("log"),
                "nbr_samples": samples,
                "first_sample_token": tokens[0],
                "last_sample_token": tokens[-1],
                "name": name,
                "description": "made for a test",
            }
        )
        begin = 1_532_402_927_000_000 + number * 60_000_000
        for index, sample in enumerate(tokens):
            time = begin + index * 500_000
            self.tables["sample"].append(
                {
                    "token": sample,
                    "timestamp": time,
                    "prev": tokens[index - 1] if index else "",
                    "next": tokens[index + 1] if index + 1 < samples else "",
                    "scene_token": token(name),
                }
            )
            self._lidar(name, sample, time, time - begin)
            for channel, (_, offset, _) in CAMERAS.items():
                self._camera(name, channel, sample, time + offset, time + offset - begin)

    def _lidar(self, scene: str, sample: str, time: int, since: int) -> None:
        filename = f"samples/LIDAR_TOP/{scene}__LIDAR_TOP__{time}.pcd.bin"
        record = self._sample_data("LIDAR_TOP", sample, time, since, filename, (0, 0))
        # a sweep between two keyframes: it is in the tables, and of no use to a plan
        sweep = "sweeps/LIDAR_TOP/absent.pcd.bin"
        self._sample_data("LIDAR_TOP", sample, time + 50_000, since + 50_000, sweep, (0, 0), key=False)
        cloud, category = self._cloud(since)
        cloud.tofile(self.root / filename)
        category.tofile(self.root / f"lidarseg/{VERSION}/{record}_lidarseg.bin")
        instance = np.where(category == CATEGORIES.index("vehicle.car"), 1, 0)
        panoptic = (category.astype(np.uint16) * 1000 + instance).astype(np.uint16)
        np.savez_compressed(self.root / f"panoptic/{VERSION}/{record}_panoptic.npz", data=panoptic)
        for table, ending in (("lidarseg", "lidarseg.bin"), ("panoptic", "panoptic.npz")):
            path = f"{table}/{VERSION}/{record}_{ending}"
            self.tables[table].append({"token": record, "sample_data_token": record, "filename": path})

    def _camera(self, scene: str, channel: str, sample: str, time: int, since: int) -> None:
        filename = f"samples/{channel}/{scene}__{channel}__{time}.jpg"
        self._sample_data(channel, sample, time, since, filename, self.image_size)
        self._image(channel, since).save(self.root / filename, quality=90)

    def _sample_data(
        self,
        channel: str,
        sample: str,
        time: int,
        since: int,
        filename: str,
        size: tuple[int, int],
        key: bool = True,
    ) -> str:
        record = token("sample_data", sample, channel, time)
        rotation, translation = ego_pose(since)
        self.tables["ego_pose"].append(
            {
                "token": record,
                "timestamp": time,
                "rotation": _quaternion(rotation),
                "translation": translation.tolist(),
            }
        )
        self.tables["sample_data"].append(
            {
                "token": record,
                "sample_token": sample,
                "ego_pose_token": record,
                "calibrated_sensor_token": token("calibration", channel),
                "timestamp": time,
                "fileformat": "pcd" if channel == "LIDAR_TOP" else "jpg",
                "is_key_frame": key,
                "height": size[1],
                "width": size[0],
                "filename": filename,
                "prev": "",
                "next": "",
            }
        )
        return record

    def _cloud(self, since: int) -> tuple[np.ndarray, np.ndarray]:
        """(N, 5) float32 records in the LiDAR frame and (N,) uint8 categories."""
        patches = list(_patches())
        chosen = self.rng.integers(0, len(patches), self.points)
        spots = self.rng.uniform(0, 1, (self.points, 2))
        corner = np.array([patches[k][1] for k in chosen])
        sides = np.array([patches[k][2] for k in chosen])
        world = corner + np.einsum("ns,nsd->nd", spots, sides)
        rotation, translation, _ = self.calibration["LIDAR_TOP"]
        ego_rotation, ego_translation = ego_pose(since)
        xyz = ((world - ego_translation) @ ego_rotation - translation) @ rotation
        cloud = np.zeros((self.points, 5), np.float32)
        cloud[:, :3] = xyz
        cloud[:, 3] = self.rng.integers(0, 256, self.points)
        cloud[:, 4] = self.rng.integers(0, 32, self.points)
        category = np.array([CATEGORIES.index(patches[k][0]) for k in chosen], np.uint8)
        cloud[-2:, :3] = np.nan
        category[-2:] = CATEGORIES.index("noise")
        return cloud, category

    def _image(self, channel: str, since: int) -> Image.Image:
        """Patches painted back to front in flat colours, with some noise."""
        width, height = self.image_size
        rotation, translation, intrinsics = self.calibration[channel]
        ego_rotation, ego_translation = ego_pose(since)
        image = Image.new("RGB", self.image_size, (150, 190, 235))
        draw = ImageDraw.Draw(image)
        painted = []
        for name, corner, sides in _patches(pieces=24):
            square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
            world = corner + square @ sides
            camera = ((world - ego_translation) @ ego_rotation - translation) @ rotation
            if camera[:, 2].min() > 0.5:
                uvw = camera @ np.array(intrinsics).T
                painted.append((camera[:, 2].mean(), name, uvw[:, :2] / uvw[:, 2:]))
        for _, name, uv in sorted(painted, key=lambda entry: -entry[0]):
            draw.polygon([tuple(pixel) for pixel in uv], fill=COLORS[name])
        noise = self.rng.normal(0, 6, (height, width, 3))
        return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))

    def finish(self) -> None:
        for name, records in self.tables.items():
            (self.root / VERSION / f"{name}.json").write_text(json.dumps(records, indent=0))


def _patches(pieces: int = 1) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(category, corner (3,), sides (2, 3)) of flat rectangles in global coordinates, metres."""
    rotation, start = ego_pose(0)
    yaw = np.arctan2(rotation[1, 0], rotation[0, 0])
    turn = Rotation.from_euler("z", yaw).as_matrix()

    def patch(name: str, corner: list[float], one: list[float], two: list[float]) -> Iterator[Any]:
        for k in range(pieces):
            begin = np.array(corner) + np.array(one) * k / pieces
            yield name, turn @ begin + start, np.array([turn @ one / pieces, turn @ two])

    yield from patch("flat.driveable_surface", [-30, -5, 0], [80, 0, 0], [0, 10, 0])
    for side in (-1, 1):
        yield from patch("flat.sidewalk", [-30, 5 * side, 0.1], [80, 0, 0], [0, 3 * side, 0])
        yield from patch("static.manmade", [-30, 8 * side, 0], [80, 0, 0], [0, 0, 6])
        for x in (-12, 6, 22):
            near = 3.2 * side
            yield from patch("vehicle.car", [x, near, 0.3], [4.4, 0, 0], [0, 0, 1.3])
            yield from patch("vehicle.car", [x, near, 0.3], [0, 1.7 * side, 0], [0, 0, 1.3])
            yield from patch("vehicle.car", [x + 4.4, near, 0.3], [0, 1.7 * side, 0], [0, 0, 1.3])
