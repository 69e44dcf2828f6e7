"""Is every file, and every name, that of one frame and camera alone?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from labelgen.core.frame import Camera, Frame
from labelgen.datasets.checks.inputs import FrameInput, PlanInput
from labelgen.datasets.checks.registry import Odd, check


@check("ids-by-case", "plan")
def by_case(plan: PlanInput) -> Iterator[Odd]:
    """Ids of frames or scenes, or names of cameras, differ only in case."""
    for what, names in (
        ("frames", (frame.frame_id for frame in plan.frames)),
        ("scenes", plan.scenes),
        ("cameras", plan.shots.names),
    ):
        for one, other in _alike(names):
            yield Odd(
                f"{what} {one} and {other} differ only in case",
                "their files overwrite each other on disks that ignore case (Windows, macOS)",
                what,
            )


@check("image-of-two-cameras", "plan")
def two_cameras(plan: PlanInput) -> Iterator[Odd]:
    """Two cameras of a frame have the same image file."""
    for frame in plan.frames:
        cameras: dict[str, str] = {}
        for camera in frame.cameras:
            before = cameras.setdefault(camera.image_path, camera.name)
            if before != camera.name:
                yield Odd(
                    f"frame {frame.frame_id}: cameras {before} and {camera.name} have the same image "
                    f"{camera.image_path}",
                    "does each camera have its own path?",
                )


@check("image-of-two-frames", "plan")
def two_frames(plan: PlanInput) -> Iterator[Odd]:
    """Two frames have the same image file, said to be of different times or cameras."""
    paths = [camera.image_path for frame in plan.frames for camera in frame.cameras]
    if len(set(paths)) == len(paths):
        return
    seen: dict[str, tuple[Frame, Camera]] = {}
    for frame in plan.frames:
        for camera in frame.cameras:
            other, before = seen.setdefault(camera.image_path, (frame, camera))
            # A camera may well be slower than the LiDAR: then it says the same time twice.
            same = (before.name, before.timestamp_us) == (camera.name, camera.timestamp_us)
            if other is not frame and not same:
                yield Odd(
                    f"frames {other.frame_id} (camera {before.name}) and {frame.frame_id} (camera "
                    f"{camera.name}) have the same image {camera.image_path}",
                    "does each image have its own path and time?",
                )


@check("cloud-of-two-frames", "plan")
def two_clouds(plan: PlanInput) -> Iterator[Odd]:
    """Two frames have the same LiDAR file."""
    seen: dict[str, str] = {}
    for frame in plan.frames:
        if (other := seen.setdefault(frame.lidar_path, frame.frame_id)) != frame.frame_id:
            yield Odd(
                f"frames {other} and {frame.frame_id} have the same LiDAR file {frame.lidar_path}",
                "does each frame have its own path?",
            )


@check("image-twice", "frame")
def twice(data: FrameInput) -> Iterator[Odd]:
    """The image files of two cameras of a frame hold the same bytes."""
    seen: dict[str, str] = {}
    for camera in data.frame.cameras:
        hashed = data.hashes.get(camera.image_path)
        if hashed is not None and (other := seen.setdefault(hashed, camera.name)) != camera.name:
            yield Odd(
                f"the images of cameras {other} and {camera.name} are the same, byte for byte",
                "were they copied over each other?",
                camera.name,
            )


def _alike(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    seen: dict[str, str] = {}
    for name in names:
        before = seen.setdefault(name.lower(), name)
        if before != name:
            yield before, name
