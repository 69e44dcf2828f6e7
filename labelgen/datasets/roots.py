"""Where the raw files of a plan are now: the data root, looked at before anything is done with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from labelgen.core.errors import FrameError, RawFileError, UserError
from labelgen.core.frame import Frame, PointCloud
from labelgen.datasets.info import DatasetInfo
from labelgen.datasets.loading import load_cloud

#: Frames, spread over the plan, whose files are looked for.
_SAMPLE = 8

#: Paths of a frame's files of some kind, relative to the data root; None where it has none.
Files = Callable[[Frame], Iterable[str | None]]


def clouds(frame: Frame) -> Iterable[str | None]:
    """The LiDAR file."""
    return (frame.lidar_path,)


def truth(frame: Frame) -> Iterable[str | None]:
    """Files of the true labels."""
    return (frame.label_path, frame.panoptic_path)


def images(frame: Frame) -> Iterable[str | None]:
    """The cameras' files."""
    return (camera.image_path for camera in frame.cameras)


def no_files(frame: Frame) -> Iterable[str | None]:
    """None: the root itself is enough, as for tables."""
    return ()


def any_files(frame: Frame) -> Iterable[str | None]:
    """All of the frame's files."""
    return (*clouds(frame), *truth(frame), *images(frame))


def find_root(
    frames: Sequence[Frame],
    info: DatasetInfo,
    given: Path | None,
    labelled: Mapping[str, int],
    needs: Files | None = None,
) -> Path:
    """The data root of a run: the one that was given, else the one that its plan records.

    A sample of the frames is looked at. The root passes if it holds files of any of them, and not another
    number of points in all clouds that can be read: what a few frames lack is found out when they are read.

    Args:
        frames: of the plan.
        info: what holds for all of them.
        given: by the user; it must pass, whatever is needed.
        labelled: {frame id: points} of the run's labelled frames.
        needs: kind of files that the caller cannot do without; None: the recorded root may be gone.

    Returns:
        The absolute path.

    Raises:
        UserError: the root does not pass; names it, and ``--dataroot``.
    """
    root = (Path(info.dataroot) if given is None else given).absolute()
    if given is None and needs is None:
        return root
    known = [frame for frame in frames if frame.frame_id in labelled] or list(frames)
    sample = known[:: max(1, len(known) // _SAMPLE)][:_SAMPLE]
    if needs is None:  # the tables of the data set's version are a sign of it, too
        needs = no_files if info.version and (root / info.version).is_dir() else any_files
    if problem := _problem(root, sample, labelled, needs):
        raise UserError(f"the data root {root} {problem}; give the right one with --dataroot")
    return root


def read_labelled(root: Path, frame: Frame, points: int) -> PointCloud:
    """The cloud of a labelled frame, from its raw file.

    Args:
        root: the data root.
        frame: of the plan.
        points: how many were labelled.

    Raises:
        RawFileError: missing or damaged, or with another number of points.
    """
    try:
        cloud = load_cloud(root, frame)[0]
    except FrameError as error:
        problem = f"{error.message} (searched below {root}; --dataroot sets another)"
        raise RawFileError(problem, frame_id=frame.frame_id, path=frame.lidar_path) from error
    if len(cloud) != points:
        raise RawFileError(
            f"{len(cloud)} points, but {points} were labelled; the file has changed since, or the data root "
            f"{root} is the wrong one (--dataroot)",
            frame_id=frame.frame_id,
            path=frame.lidar_path,
        )
    return cloud


def _problem(root: Path, sample: Sequence[Frame], labelled: Mapping[str, int], needs: Files) -> str:
    """What is wrong with a data root, as the end of a sentence; empty if it passes."""
    if not root.is_dir():
        return "is not a folder" if root.exists() else "is not a folder that exists"
    paths = [path for frame in sample for path in needs(frame) if path]
    if paths and not any(os.path.isfile(root / path) for path in paths):
        return f"holds none of the run's files, such as {paths[0]}"
    other = ""
    for frame in sample:
        if frame.frame_id not in labelled or not os.path.isfile(root / frame.lidar_path):
            continue
        try:
            found = len(load_cloud(root, frame)[0])
        except FrameError:
            continue  # damaged: this frame will say so
        if found == labelled[frame.frame_id]:
            return ""
        known = f"{found} points, but {labelled[frame.frame_id]} were labelled"
        other = other or f"belongs to other data: {frame.lidar_path} has {known}"
    return other
