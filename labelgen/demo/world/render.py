"""One camera's picture of a city at a moment, with exact truth for every pixel."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.demo.world import camera, picture, rig
from labelgen.demo.world.camera import Bins, Lens
from labelgen.demo.world.city import City
from labelgen.demo.world.light import SunGrid, sun_grid
from labelgen.demo.world.primitives import Prims

SHADOW_REACH = 90.0
#: The exposure meter: width of its thumbnail, mean grey level it aims at, how far it goes to get there.
METER_WIDTH, METER_LEVEL, METER_STRENGTH = 64, 118.0, 1.1
SMALLEST_SIDE, LARGEST_SIDE = 32, 8192


@dataclass(frozen=True)
class View:
    """A picture and its truth.

    Attributes:
        rgb: (H, W, 3) uint8.
        category: (H, W) uint8 general category (0..31), 255 for sky.
        object_id: (H, W) uint16 key of `City.items`, 0 for sky.
        depth: (H, W) float32 metres along the camera's axis, infinite for sky.
        city, time_s, camera: where and when it was taken.
    """

    rgb: NDArray[np.uint8]
    category: NDArray[np.uint8]
    object_id: NDArray[np.uint16]
    depth: NDArray[np.float32]
    city: City
    time_s: float
    camera: str


@dataclass(frozen=True)
class Shot:
    """A camera aimed at a moment: what rays through its pixels need."""

    prims: Prims
    lens: Lens
    bins: Bins


def check_image_size(image_size: tuple[int, int]) -> tuple[int, int]:
    """The size as integers (width, height).

    Raises:
        UserError: a side is below 32 or above 8192 pixels, or the shape is beyond 1:8.
    """
    width, height = (int(side) for side in image_size)
    for side in (width, height):
        if not SMALLEST_SIDE <= side <= LARGEST_SIDE:
            raise UserError(
                f"image size {width}x{height} is impossible: each side must be "
                f"{SMALLEST_SIDE} to {LARGEST_SIDE} pixels; try 1600x900"
            )
    if max(width, height) > 8 * min(width, height):
        raise UserError(
            f"image size {width}x{height} is impossible: one side is over 8 times the other; try 1600x900"
        )
    return width, height


def aim(city: City, time_s: float, camera_name: str, image_size: tuple[int, int]) -> Shot:
    """Aim a camera of the ego vehicle at a moment; ``image_size`` is (width, height)."""
    sensor = rig.camera_named(camera_name)
    pose = city.world_from_ego(time_s) @ sensor.ego_from_sensor
    k = sensor.intrinsics(image_size)
    lens = Lens(
        float(k[0, 0]),
        float(k[1, 1]),
        float(k[0, 2]),
        float(k[1, 2]),
        int(image_size[0]),
        int(image_size[1]),
        np.ascontiguousarray(pose[:3, 3]),
        np.ascontiguousarray(pose[:3, :3]),
    )
    prims = city.parts(time_s)
    return Shot(prims, lens, camera.bin_parts(prims, lens))


def render_view(
    city: City, time_s: float, camera_name: str, image_size: tuple[int, int] = rig.NATIVE_SIZE
) -> View:
    """Take one picture.

    Args:
        city: the scene.
        time_s: seconds since the scene's start.
        camera_name: one of `labelgen.demo.world.rig.CAMERA_NAMES`.
        image_size: (width, height) in pixels.

    Raises:
        UserError: impossible image size.
        KeyError: no such camera.
    """
    image_size = check_image_size(image_size)
    return expose(city, time_s, camera_name, aim(city, time_s, camera_name, image_size))


def expose(city: City, time_s: float, camera_name: str, shot: Shot) -> View:
    """Render what an aimed camera sees."""
    lens, look = shot.lens, city.look
    index = rig.CAMERA_NAMES.index(camera_name)
    shape = (lens.height, lens.width)
    raw, rgb = np.empty((*shape, 3), np.float32), np.empty((*shape, 3), np.uint8)
    category, object_id = np.empty(shape, np.uint8), np.empty(shape, np.uint16)
    depth = np.empty(shape, np.float32)
    sun = sun_grid(shot.prims, city.weather.sun, lens.place, SHADOW_REACH)
    exposure = _metered(city, time_s, shot, sun) * look.offset[index]
    exposure *= 1.0 + look.drift * np.sin(look.rate * time_s + index)
    scene = (shot.prims, shot.bins, city.ground, lens, sun, city.weather, exposure)

    def rows(first: int, last: int) -> None:
        picture.render_rows(*scene, first, last, *_work_space(), raw, category, object_id, depth)

    def edges(first: int, last: int) -> None:
        picture.soften_rows(*scene, first, last, object_id, raw)

    noise_seed = city.seed * 1_000_003 + round(time_s * 1e6) * 7 + index

    def finish(first: int, last: int) -> None:
        picture.develop(raw, float(look.blur[index]), look.grain, noise_seed, first, last, rgb)

    in_bands(rows, (lens.height + camera.TILE - 1) // camera.TILE)
    in_bands(edges, lens.height)
    in_bands(finish, lens.height)
    return View(rgb, category, object_id, depth, city, time_s, camera_name)


def _metered(city: City, time_s: float, shot: Shot, sun: SunGrid) -> float:
    """Exposure that an automatic camera would choose, from a thumbnail of the scene."""
    scale = METER_WIDTH / shot.lens.width
    height = max(int(shot.lens.height * scale), 1)
    lens = shot.lens._replace(
        fx=shot.lens.fx * scale,
        fy=shot.lens.fy * scale,
        cx=shot.lens.cx * scale,
        cy=shot.lens.cy * scale,
        width=METER_WIDTH,
        height=height,
    )
    shape = (height, METER_WIDTH)
    raw, grey = np.empty((*shape, 3), np.float32), city.look.exposure
    scene = (shot.prims, camera.bin_parts(shot.prims, lens), city.ground, lens, sun, city.weather, grey)
    truth = np.empty(shape, np.uint8), np.empty(shape, np.uint16), np.empty(shape, np.float32)
    picture.render_rows(*scene, 0, (height + camera.TILE - 1) // camera.TILE, *_work_space(), raw, *truth)
    return float(grey * (METER_LEVEL / max(float(raw.mean()), 1.0)) ** METER_STRENGTH)


def _work_space() -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    return np.empty((camera.TILE, camera.TILE)), np.empty((camera.TILE, camera.TILE), np.int32)


def thread_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def _pool(pid: int) -> ThreadPoolExecutor:
    # Keyed by the process: a pool does not survive a fork.
    return ThreadPoolExecutor(thread_count(), thread_name_prefix="labelgen-world")


def in_bands(work: Callable[[int, int], None], total: int) -> None:
    """Run ``work(first, last)`` over 0..total in bands, on all cores."""
    threads = thread_count()
    if threads == 1:
        work(0, total)
        return
    edges = np.linspace(0, total, min(threads * 6, total) + 1).astype(int)
    for job in [_pool(os.getpid()).submit(work, a, b) for a, b in pairwise(edges)]:
        job.result()
