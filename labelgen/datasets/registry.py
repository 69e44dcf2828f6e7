"""Data sets by name: from a data root to the frames of a plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from labelgen.core.errors import UserError
from labelgen.core.frame import Frame
from labelgen.core.registry import Registry
from labelgen.datasets.info import DatasetInfo
from labelgen.datasets.manifest import plan_manifest
from labelgen.datasets.nuscenes import plan_nuscenes
from labelgen.datasets.reader import Planned, Reader
from labelgen.datasets.semantickitti import plan_semantickitti
from labelgen.datasets.sources import with_source_ids

#: All that ``dataset`` may name.
DATASETS: Registry[Reader] = Registry(
    "data set",
    "labelgen.datasets",
    Reader,
    {
        "demo": Reader(
            "the simulated city, a nuScenes data root; `labelgen run` builds it", plan_nuscenes, plan_nuscenes
        ),
        "nuscenes": Reader(
            "DATAROOT with samples/ and a folder of tables, such as v1.0-trainval/",
            plan_nuscenes,
            plan_nuscenes,
        ),
        "semantickitti": Reader(
            "DATAROOT with sequences/NN/velodyne, image_2, calib.txt and poses.txt", plan_semantickitti
        ),
        "manifest": Reader(
            "your own frames.parquet, or the DATAROOT that holds it: docs/frames-parquet.md", plan_manifest
        ),
    },
)


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
    reader = DATASETS[name]
    if sweeps and reader.plan_sweeps is None:
        raise UserError(f"data set {name} has no sweeps between its frames; leave out sweeps={sweeps}")

    def planned(reader: Reader) -> Planned:
        if sweeps and reader.plan_sweeps is not None:
            return reader.plan_sweeps(Path(dataroot), version, split, sweeps)
        return _checked(reader.plan(Path(dataroot), version, split))

    frames, info = DATASETS.use(name, planned)
    root = Path(info.dataroot)
    frames, missing = with_source_ids(root, frames, threads)
    if missing and not any((root / frame.lidar_path).is_file() for frame in frames):
        raise UserError(
            f"data root {root} holds none of the {len(frames)} LiDAR files, such as {frames[0].lidar_path}; "
            "extract the data set's files next to its tables, or correct the data root"
        )
    return frames, replace(info, dataset=name, missing_files=missing)


def _checked(planned: Planned) -> Planned:
    """What a reader gave, if it is what it should be: packages are not always type-checked."""
    frames, info = planned
    if not frames or not all(isinstance(frame, Frame) for frame in frames):
        raise TypeError("a list of one labelgen.core.frame.Frame or more is expected")
    if not isinstance(info, DatasetInfo):
        raise TypeError(f"a labelgen.datasets.DatasetInfo is expected, not a {type(info).__name__}")
    return list(frames), info
