"""Data sets by name: from a data root to the frames of a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from labelgen.datasets.info import DatasetInfo
from labelgen.datasets.manifest import read_frames
from labelgen.datasets.nuscenes import plan_nuscenes
from labelgen.datasets.semantickitti import plan_semantickitti
from labelgen.datasets.sources import with_source_ids
from labelgen.errors import UserError
from labelgen.frame import Frame


def plan_manifest(dataroot: Path, version: str = "", split: str = "") -> tuple[list[Frame], DatasetInfo]:
    """The frames of a ``frames.parquet``.

    Args:
        dataroot: the file itself, whose paths are then relative to the data root that it records; or the
            data root, which then holds ``frames.parquet``, whatever data root that records.
        version: must be empty.
        split: a comma list of scene ids, or empty for all.

    Raises:
        UserError: as `read_frames`, or no such scene.
    """
    if version:
        raise UserError(f"a frames.parquet has no versions; leave out version {version!r}")
    dataroot = Path(dataroot).absolute()
    frames, info = read_frames(dataroot / "frames.parquet" if dataroot.is_dir() else dataroot)
    if dataroot.is_dir():
        info = replace(info, dataroot=str(dataroot))
    wanted = {name.strip() for name in split.split(",") if name.strip()}
    if missing := wanted - {frame.scene_id for frame in frames}:
        raise UserError(f"{dataroot}: no scene {', '.join(sorted(missing))}")
    chosen = [frame for frame in frames if not wanted or frame.scene_id in wanted]
    return chosen, replace(info, split=split)


#: {name: reader of (dataroot, version, split)}. "demo" is the simulated city, a nuScenes data root.
DATASETS: dict[str, Callable[[Path, str, str], tuple[list[Frame], DatasetInfo]]] = {
    "demo": plan_nuscenes,
    "manifest": plan_manifest,
    "nuscenes": plan_nuscenes,
    "semantickitti": plan_semantickitti,
}


def plan_frames(
    name: str, dataroot: Path, version: str = "", split: str = "", threads: int = 32, sweeps: int = 0
) -> tuple[list[Frame], DatasetInfo]:
    """The frames of a data set, each with the identity of its source files.

    Args:
        name: a key of `DATASETS`.
        dataroot: as the reader takes it.
        version: of the data set; empty for the only one there is.
        split: of the data set, a comma list of scenes, or empty for all.
        threads: that look at the source files.
        sweeps: nuScenes: so many between one keyframe and the next are frames, too.

    Returns:
        The frames in the order in which they are to be labelled, and what holds for all of them.

    Raises:
        UserError: unknown name; wrong data root, version or split; broken tables; not one LiDAR file there.
    """
    if name not in DATASETS:
        raise UserError(f"unknown data set {name!r}; there is {', '.join(sorted(DATASETS))}")
    if sweeps and DATASETS[name] is not plan_nuscenes:
        raise UserError(f"data set {name} has no sweeps between its frames; leave out sweeps={sweeps}")
    if sweeps:
        frames, info = plan_nuscenes(Path(dataroot), version, split, sweeps)
    else:
        frames, info = DATASETS[name](Path(dataroot), version, split)
    root = Path(info.dataroot)
    frames, missing = with_source_ids(root, frames, threads)
    if missing and not any((root / frame.lidar_path).is_file() for frame in frames):
        raise UserError(
            f"data root {root} holds none of the {len(frames)} LiDAR files, such as {frames[0].lidar_path}; "
            "extract the data set's files next to its tables, or correct the data root"
        )
    return frames, replace(info, dataset=name, missing_files=missing)
