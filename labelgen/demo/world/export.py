"""Writes scenes as a nuScenes dataroot with lidarseg and panoptic truth, and finer truth beside it."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labelgen.core.errors import UserError
from labelgen.datasets.nuscenes_categories import CATEGORIES
from labelgen.demo import seeds
from labelgen.demo.world import rig
from labelgen.demo.world.annotate import annotate
from labelgen.demo.world.categories import CLASS_OF_CATEGORY, FIRST_STUFF
from labelgen.demo.world.city import City
from labelgen.demo.world.keyframe import Keyframe, Sighting, take
from labelgen.demo.world.maps import draw_map
from labelgen.demo.world.render import check_image_size
from labelgen.demo.world.tables import LOCATION, VERSION, Tables, link, scene_names, token
from labelgen.io.scratch import keep, scratch

Progress = Callable[[int, int, str], None]
FORMAT = 1
#: Scenes lie this far from the origin of the global frame, as real maps do.
ORIGIN = np.array([300.0, 300.0, 0.0])
MAX_FRAMES = 1200
_START_US = 1_700_000_000_000_000


@dataclass(frozen=True)
class Summary:
    """What `build` wrote.

    Attributes:
        out: the dataroot; version: for ``NuScenes(version, dataroot)``.
        scenes, frames: frames in all; points in all; annotations in all; seeds: of each scene.
        class_points: points of each of the 17 challenge classes (0 = ignored).
    """

    out: Path
    version: str
    scenes: int
    frames: int
    points: int
    annotations: int
    seeds: tuple[int, ...]
    class_points: tuple[int, ...]


def build(
    out: Path,
    *,
    scenes: int,
    frames: int,
    seed: int = seeds.DEFAULT_SEED,
    image_size: tuple[int, int] = rig.NATIVE_SIZE,
    progress: Progress | None = None,
) -> Summary:
    """Write ``scenes`` cities (seeds ``seed``, ``seed + 1``, ...) of ``frames`` keyframes each.

    Everything is written to a folder beside ``out`` that is renamed at the end: ``out`` is whole or absent.

    Args:
        out: folder to make; it may exist if it is empty.
        scenes: 1 to 1000.
        frames: keyframes per scene (2 per second), 1 to 1200.
        seed: of the first scene.
        image_size: (width, height) of the pictures.
        progress: called with (frames done, frames in all, what is being done).

    Raises:
        UserError: impossible numbers or sizes, ``out`` is not empty or not writable, the disk is full.
    """
    image_size = check_image_size(image_size)
    if not 1 <= scenes <= 1000:
        raise UserError(f"{scenes} scenes: give 1 to 1000 with --scenes")
    if not 1 <= frames <= MAX_FRAMES:
        raise UserError(f"{frames} frames per scene: give 1 to {MAX_FRAMES} with --frames")
    if seed < 0:
        raise UserError(f"seed {seed} is negative; give 0 or more with --seed")
    out = Path(out)
    _check_target(out)
    _check_room(out, scenes * frames, image_size)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with scratch(out.parent, f".{out.name}.partial-") as partial:
            summary = _write(partial, out, scenes, frames, seed, image_size, progress)
            keep(partial, out)
            return summary
    except OSError as error:
        reason = (
            "the disk is full"
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else str(error.strerror or error)
        )
        raise UserError(f"cannot write {out}: {reason}; nothing was left there") from error


def _check_target(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UserError(f"{out} exists and is not a folder; choose another --out")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty; choose another --out or remove it first")


def _check_room(out: Path, total: int, image_size: tuple[int, int]) -> None:
    """Refuse at once what cannot fit; the estimate is on the low side."""
    folder = out.resolve()
    while not folder.exists():
        folder = folder.parent
    needed = total * (700_000 + 6 * image_size[0] * image_size[1] // 8)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{total} keyframes need at least {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f} GB left; "
            "free some space or ask for fewer or smaller pictures"
        )


def _write(
    root: Path,
    out: Path,
    scenes: int,
    frames: int,
    seed: int,
    image_size: tuple[int, int],
    progress: Progress | None,
) -> Summary:
    tables = Tables(image_size)
    for folder in (VERSION, "maps", f"lidarseg/{VERSION}", f"panoptic/{VERSION}", "truth"):
        (root / folder).mkdir(parents=True)
    points = np.zeros(len(CATEGORIES), np.int64)
    done, total = 0, scenes * frames
    names = scene_names(scenes)
    for number, name in enumerate(names):
        city = City(seed + number)
        writer = _Scene(root, tables, city, name)
        for index in range(frames):
            if progress:
                progress(done, total, f"{name} frame {index + 1} of {frames}")
            points += writer.add(index, image_size)
            done += 1
        writer.close()
    (root / "truth/README.json").write_text(json.dumps(_TRUTH_README, indent=1))
    for table, rows in tables.rows.items():
        (root / VERSION / f"{table}.json").write_text(json.dumps(rows, indent=0))
    record = {
        "format": FORMAT,
        "seed": seed,
        "scenes": scenes,
        "frames": frames,
        "image_size": list(image_size),
    }
    (root / "world.json").write_text(json.dumps(record, indent=1))
    if progress:
        progress(total, total, "done")
    classes = np.bincount(CLASS_OF_CATEGORY[: len(CATEGORIES)], weights=points, minlength=17).astype(int)
    return Summary(
        out,
        VERSION,
        scenes,
        total,
        int(points.sum()),
        len(tables.rows["sample_annotation"]),
        tuple(range(seed, seed + scenes)),
        tuple(int(n) for n in classes),
    )


class _Scene:
    """Adds one scene's frames to the tables and the disk."""

    def __init__(self, root: Path, tables: Tables, city: City, name: str) -> None:
        self.root, self.tables, self.city, self.name = root, tables, city, name
        self.key = f"{city.seed}"
        self.calibrations = {s.name: tables.add_calibration(self.key, s) for s in (rig.LIDAR, *rig.CAMERAS)}
        self.start_us = _START_US + city.seed * 1_000_000_000
        self.log = f"world-{city.seed}"
        self.samples: list[dict[str, object]] = []
        self.data: dict[str, list[dict[str, object]]] = {s: [] for s in self.calibrations}
        self.seen: list[Sighting] = []
        for folder in ("samples", "truth/category", "truth/object"):
            for sensor in rig.CAMERA_NAMES:
                (root / folder / sensor).mkdir(parents=True, exist_ok=True)
        (root / "samples" / rig.LIDAR_NAME).mkdir(exist_ok=True)
        (root / "truth/visibility").mkdir(exist_ok=True)

    def add(self, index: int, image_size: tuple[int, int]) -> NDArray[np.int64]:
        """Simulate and write one keyframe; gives its points per general category."""
        time_s = 1.0 + index * rig.KEYFRAME_SECONDS
        frame = take(self.city, time_s, image_size, lambda name, view: self._picture(index, name, view))
        sample = token("sample", self.key, index)
        stamp = self.start_us + round(time_s * 1e6)
        self.samples.append(
            self.tables.add(
                "sample",
                token=sample,
                timestamp=stamp,
                prev="",
                next="",
                scene_token=token("scene", self.key),
            )
        )
        for sensor in (rig.LIDAR, *rig.CAMERAS):
            at = frame.fired_s[sensor.name]
            lidar = sensor is rig.LIDAR
            data = token("sample_data", self.key, index, sensor.name)
            translation, rotation = self.city.ego_pose(at)
            when = self.start_us + round(at * 1e6)
            self.tables.add(
                "ego_pose",
                token=data,
                timestamp=when,
                rotation=rotation.tolist(),
                translation=(translation + ORIGIN).tolist(),
            )
            self.data[sensor.name].append(
                self.tables.add(
                    "sample_data",
                    token=data,
                    sample_token=sample,
                    ego_pose_token=data,
                    calibrated_sensor_token=self.calibrations[sensor.name],
                    timestamp=when,
                    fileformat="pcd" if lidar else "jpg",
                    is_key_frame=True,
                    height=0 if lidar else image_size[1],
                    width=0 if lidar else image_size[0],
                    filename=self._file(index, sensor.name),
                    prev="",
                    next="",
                )
            )
        self._cloud(index, frame)
        self.seen.append(frame.sighting)
        return np.bincount(frame.sweep.category, minlength=len(CATEGORIES)).astype(np.int64)

    def close(self) -> None:
        """Write what spans the scene: links, annotations, the map and the list of objects."""
        link(self.samples)
        for rows in self.data.values():
            link(rows)
        annotate(self.tables, self.city, self.key, self.seen, [str(s["token"]) for s in self.samples], ORIGIN)
        self.tables.add(
            "scene",
            token=token("scene", self.key),
            log_token=token("log", self.key),
            nbr_samples=len(self.samples),
            first_sample_token=self.samples[0]["token"],
            last_sample_token=self.samples[-1]["token"],
            name=self.name,
            description=f"simulated city, seed {self.city.seed}",
        )
        self.tables.add(
            "log",
            token=token("log", self.key),
            logfile=self.log,
            vehicle="world",
            date_captured="2023-11-14",
            location=LOCATION,
        )
        picture = f"maps/{token('map', self.key)}.png"
        draw_map(self.city, ORIGIN[:2]).save(self.root / picture, compress_level=1)
        self.tables.add(
            "map",
            token=token("map", self.key),
            category="semantic_prior",
            filename=picture,
            log_tokens=[token("log", self.key)],
        )
        objects = {
            str(item.object_id): {
                "category": CATEGORIES[item.category],
                "noun": item.noun,
                "colour": item.colour,
                "instance": item.instance,
            }
            for item in self.city.items.values()
        }
        (self.root / "truth" / f"objects-{self.name}.json").write_text(json.dumps(objects, indent=0))

    def _file(self, index: int, sensor: str) -> str:
        ending = "pcd.bin" if sensor == rig.LIDAR_NAME else "jpg"
        return f"samples/{sensor}/{self.log}__{sensor}__{index:04d}.{ending}"

    def _picture(self, index: int, name: str, view: object) -> None:
        rgb, category, object_id = view.rgb, view.category, view.object_id  # type: ignore[attr-defined]
        Image.fromarray(rgb).save(self.root / self._file(index, name), quality=self.city.look.quality)
        data = token("sample_data", self.key, index, name)
        Image.fromarray(category).save(self.root / f"truth/category/{name}/{data}.png", compress_level=1)
        Image.fromarray(object_id).save(self.root / f"truth/object/{name}/{data}.png", compress_level=1)

    def _cloud(self, index: int, frame: Keyframe) -> None:
        data = token("sample_data", self.key, index, rig.LIDAR_NAME)
        sweep = frame.sweep
        sweep.points.tofile(self.root / self._file(index, rig.LIDAR_NAME))
        lidarseg = f"lidarseg/{VERSION}/{data}_lidarseg.bin"
        sweep.category.tofile(self.root / lidarseg)
        panoptic = f"panoptic/{VERSION}/{data}_panoptic.npz"
        np.savez_compressed(
            self.root / panoptic, data=panoptic_of(self.city, sweep.category, sweep.object_id)
        )
        for table, file in (("lidarseg", lidarseg), ("panoptic", panoptic)):
            self.tables.add(table, token=data, sample_data_token=data, filename=file)
        np.savez_compressed(
            self.root / f"truth/visibility/{data}.npz", bits=frame.visibility, object_id=sweep.object_id
        )


def panoptic_of(city: City, category: NDArray[np.uint8], object_id: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """(N,) uint16: general category * 1000 + instance; the instance is 0 for stuff."""
    instance = np.zeros(int(object_id.max(initial=0)) + 1, np.uint16)
    for item in city.items.values():
        if item.object_id < len(instance) and item.category < FIRST_STUFF:
            instance[item.object_id] = item.instance
    return (category.astype(np.uint16) * 1000 + instance[object_id]).astype(np.uint16)


_TRUTH_README = {
    "category": "<channel>/<sample_data token>.png, 8 bits: index of nuScenes' general category; 255 sky, "
    "31 the ego vehicle",
    "object": "<channel>/<sample_data token>.png, 16 bits: key of objects-<scene>.json, 0 sky; every house, "
    "tree and connected piece of ground has its own, the same in all frames of a scene",
    "visibility": "<lidar sample_data token>.npz: object_id (N,) uint16; bits (N, 6) uint8: 1 in image, "
    f"2 truly seen, 4 its pixel shows its object; columns are {', '.join(rig.CAMERA_NAMES)}",
}

__all__ = ["Summary", "build", "panoptic_of"]
