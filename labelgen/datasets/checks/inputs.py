"""What checks look at: a plan with a sample of its files, and a frame with its points in hand."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import FrameError
from labelgen.core.frame import Camera, Frame, PointCloud, parse_layout
from labelgen.core.records import Views
from labelgen.datasets.images import Picture, open_picture, read_image
from labelgen.datasets.info import DatasetInfo
from labelgen.datasets.loading import CLOUD_LIMIT, load_cloud
from labelgen.geometry.settings import ProjectionSettings
from labelgen.io.paths import read_file

#: Frames of a plan whose points are read, at equal distances.
SAMPLE = 5
#: Least number of pixels along the shorter side that are kept of an image of theirs.
THUMBNAIL = 128
#: Points of a frame that are looked at where some tell as much as all.
SAMPLE_POINTS = 4000
#: LiDAR files of a plan whose size is looked up, at equal distances.
MOST_SIZES = 1000


class Lens(NamedTuple):
    """One calibration that cameras of a plan share: the same name, size, intrinsics and distortion.

    Attributes:
        camera: the first one of them.
        frame_id: its frame.
        number: how many there are.
    """

    camera: Camera
    frame_id: str
    number: int


class Shots(NamedTuple):
    """All cameras of all frames of a plan, M of them, as arrays.

    Attributes:
        camera: (M,) int64, which of ``names``.
        names: of the cameras, each once.
        frame: (M,) int64, row of the plan.
        offset_us: (M,) int64, the image after its sweep.
        pose: (M, 4, 4) float64, ``camera_from_lidar``.
    """

    camera: NDArray[np.int64]
    names: list[str]
    frame: NDArray[np.int64]
    offset_us: NDArray[np.int64]
    pose: NDArray[np.float64]

    def by_name(self) -> Iterator[tuple[str, NDArray[np.int64]]]:
        """Each camera with the rows that are its own."""
        order = np.argsort(self.camera, kind="stable")
        ends = np.cumsum(np.bincount(self.camera, minlength=len(self.names)))
        yield from zip(self.names, np.split(order, ends[:-1]), strict=True)


@dataclass(frozen=True)
class PlanInput:
    """A plan, as checks see it; what is derived from it is worked out once.

    Attributes:
        root: the data root.
        frames: all of them.
        info: of the data set.
        settings: of the run that is planned, as plain data by section (``taxonomy``, ``projection`` …); empty
            where there is no run, as in ``datasets check``.
        projection: how points are projected.
        sample: so many frames are read; 0: the tables alone are looked at.
    """

    root: Path
    frames: Sequence[Frame]
    info: DatasetInfo
    settings: Mapping[str, Any] = field(default_factory=dict)
    projection: ProjectionSettings = field(default_factory=ProjectionSettings)
    sample: int = SAMPLE

    @property
    def sampled(self) -> Sequence[Frame]:
        """Some frames, spread over all."""
        if not self.sample:
            return ()
        return self.frames[:: max(1, len(self.frames) // self.sample)][: self.sample]

    @cached_property
    def pictures(self) -> list[Picture | FrameError]:
        """The images of those frames, with every nth pixel; the error of those that cannot be used."""
        pictures: list[Picture | FrameError] = []
        for frame in self.sampled:
            for camera in frame.cameras:
                try:
                    data, _ = read_image(self.root, camera, frame.frame_id)
                    picture = open_picture(data, camera, frame.frame_id)
                    step = max(1, min(picture.pixels.shape[:2]) // THUMBNAIL)
                    pictures.append(replace(picture, pixels=picture.pixels[::step, ::step].copy()))
                except FrameError as error:
                    pictures.append(error)
        return pictures

    @cached_property
    def frame_inputs(self) -> list[FrameInput | FrameError]:
        """Some frames with their points, spread over all; the error of those that cannot be read."""
        found: list[FrameInput | FrameError] = []
        for frame in self.sampled:
            try:
                cloud, _ = load_cloud(self.root, frame)
                from labelgen.geometry import project  # compiled: not for who asks for the names

                views = project(frame, cloud, self.projection)
                found.append(FrameInput(frame, cloud, views, root=self.root))
            except FrameError as error:
                found.append(error)
            except ValueError as error:  # a calibration that cannot be used
                found.append(FrameError(str(error), frame_id=frame.frame_id))
        return found

    @cached_property
    def scenes(self) -> dict[str, list[Frame]]:
        """{scene: its frames in the order of their index}."""
        scenes: dict[str, list[Frame]] = {}
        for frame in self.frames:
            scenes.setdefault(frame.scene_id, []).append(frame)
        for frames in scenes.values():
            frames.sort(key=lambda frame: frame.index)
        return scenes

    @cached_property
    def lenses(self) -> list[Lens]:
        """The different calibrations (name, size, intrinsics, distortion) of all cameras of all frames."""
        found: dict[tuple[object, ...], Lens] = {}
        for frame in self.frames:
            for camera in frame.cameras:
                bent = None if camera.distortion is None else camera.distortion.tobytes()
                key = (camera.name, camera.width, camera.height, camera.intrinsics.tobytes(), bent)
                before = found.get(key)
                if before is None:
                    found[key] = Lens(camera, frame.frame_id, 1)
                else:
                    found[key] = before._replace(number=before.number + 1)
        return list(found.values())

    @cached_property
    def shots(self) -> Shots:
        """All cameras of all frames, as arrays."""
        numbers: dict[str, int] = {}
        camera = [numbers.setdefault(c.name, len(numbers)) for frame in self.frames for c in frame.cameras]
        offset = [c.timestamp_us - frame.timestamp_us for frame in self.frames for c in frame.cameras]
        poses = [c.camera_from_lidar for frame in self.frames for c in frame.cameras]
        return Shots(
            np.array(camera, np.int64),
            list(numbers),
            np.repeat(np.arange(len(self.frames)), [len(frame.cameras) for frame in self.frames]),
            np.array(offset, np.int64),
            np.concatenate(poses).reshape(-1, 4, 4) if poses else np.empty((0, 4, 4)),
        )

    @cached_property
    def sizes(self) -> dict[str, int]:
        """{frame id: bytes of its LiDAR file}, of at most `MOST_SIZES` frames; those that are there."""
        some = self.frames[:: -(-len(self.frames) // MOST_SIZES)]

        def size(frame: Frame) -> int:
            try:
                return os.stat(self.root / frame.lidar_path).st_size
            except (OSError, ValueError):
                return -1

        with ThreadPoolExecutor(16) as pool:
            found = zip(some, pool.map(size, some), strict=True)
            return {frame.frame_id: bytes_ for frame, bytes_ in found if bytes_ >= 0}


@dataclass(frozen=True)
class FrameInput:
    """A frame, its points and where they fall, as checks see it in a worker.

    Attributes:
        frame: of the plan.
        cloud: its points.
        views: where they fall in the images.
        hashes: {path: hash of the file's bytes}, of the files that were read whole.
        root: the data root, where the LiDAR file's bytes are looked at again; None: they are not.
    """

    frame: Frame
    cloud: PointCloud
    views: Views
    hashes: Mapping[str, str] = field(default_factory=dict)
    root: Path | None = None

    @cached_property
    def cloud_data(self) -> bytes:
        """The LiDAR file's bytes, which were read before; empty where they cannot be read again."""
        try:
            if self.root is not None:
                return read_file(self.root, self.frame.lidar_path, self.frame.frame_id, CLOUD_LIMIT)
        except FrameError:
            pass
        return b""

    @cached_property
    def sample(self) -> NDArray[np.int64]:
        """Rows of some returns, at equal distances: at most `SAMPLE_POINTS`, in the file's order."""
        step = len(self.cloud) // SAMPLE_POINTS + 1
        return np.flatnonzero(self.cloud.returned[::step]) * step

    @cached_property
    def there(self) -> NDArray[np.float64]:
        """(n, 3) some of the finite points that are not at the origin, at most `SAMPLE_POINTS`."""
        step = -(-len(self.cloud) // SAMPLE_POINTS) or 1
        with np.errstate(invalid="ignore"):
            x, y, z = self.cloud.xyz[::step].astype(np.float64).T
        keep = np.isfinite(x) & np.isfinite(y) & np.isfinite(z) & ((x != 0) | (y != 0) | (z != 0))
        return np.column_stack([x[keep], y[keep], z[keep]])

    @cached_property
    def distance(self) -> NDArray[np.float32]:
        """(N,) float32 metres from the LiDAR's origin; NaN or infinite where a coordinate is."""
        with np.errstate(over="ignore", invalid="ignore"):
            x, y, z = np.square(self.cloud.xyz).T
            return np.asarray(np.sqrt(x + y + z))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of the LiDAR file."""
        return parse_layout(self.frame.lidar_layout).record.names or ()

    def cameras(self) -> Iterator[tuple[Camera, slice]]:
        """Each camera with the rows of its views."""
        for number, camera in enumerate(self.frame.cameras):
            yield camera, self.views.camera_slice(number)
