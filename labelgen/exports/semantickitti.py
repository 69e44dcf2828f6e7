"""SemanticKITTI: ``sequences/XX/predictions/NNNNNN.label``, as semantic-kitti-api reads it."""

from __future__ import annotations

import re

import numpy as np

from labelgen.core.errors import UserError
from labelgen.datasets.roots import no_files
from labelgen.exports.classes import class_ids, dataset_ids
from labelgen.exports.output import Output
from labelgen.runs import Run

_SCAN = re.compile(r"(?:.*/)?sequences/(\d\d)/velodyne/(\d{6})\.bin$")


def write_semantickitti(run: Run, out: Output, folder: str = "predictions") -> None:
    """uint32 per point: the data set's original class id in the low 16 bits, the instance in the high ones.

    Only things have one; of stuff, and of points without a label, it is 0.

    Unlabelled points are 0, which the evaluation counts as wrong where the truth has a class. Every file is
    named after its own scan: the evaluation pairs sorted lists and would not notice a shift.

    Raises:
        UserError: a frame's LiDAR file is not one of SemanticKITTI's, or the plan has no categories.
    """
    table, things = dataset_ids(run).astype(np.uint32), run.taxonomy.things()
    for frame in map(run.frame, run.frames):
        path = frame.planned.lidar_path
        match = _SCAN.match(path)
        if match is None:
            raise UserError(f"frame {frame.frame_id}: {path} is not sequences/XX/velodyne/NNNNNN.bin")
        sequence, scan = match.groups()
        label = class_ids(frame)
        instance = np.where(things[label], frame.labels.instance, 0).astype(np.uint32)
        values = instance << 16 | table[label]
        out.array(f"sequences/{sequence}/{folder}/{scan}.label", values)


def write_overlay(run: Run, out: Output) -> None:
    """A data root whose ``labels`` are the run's, with links to the scans and everything else.

    Raises:
        UserError: as `write_semantickitti`.
    """
    root = run.need(no_files)
    used = {run.planned(frame_id).lidar_path.rpartition("/velodyne/")[0] for frame_id in run.frames}
    for sequence in sorted(used):
        for entry in sorted((root / sequence).iterdir()):
            if entry.name not in ("labels", "predictions"):
                out.link(f"{sequence}/{entry.name}", entry)
    write_semantickitti(run, out, "labels")
