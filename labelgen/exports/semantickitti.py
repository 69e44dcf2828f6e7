"""SemanticKITTI: ``sequences/XX/predictions/NNNNNN.label``, as semantic-kitti-api reads it."""

from __future__ import annotations

import re

import numpy as np

from labelgen.errors import UserError
from labelgen.exports.output import Output
from labelgen.exports.source import Source

_SCAN = re.compile(r"(?:.*/)?sequences/(\d\d)/velodyne/(\d{6})\.bin$")


def write_semantickitti(source: Source, out: Output, folder: str = "predictions") -> None:
    """uint32 per point: the data set's original class id in the low 16 bits, the instance in the high ones.

    Only things have one; of stuff, and of points without a label, it is 0.

    Unlabelled points are 0, which the evaluation counts as wrong where the truth has a class. Every file is
    named after its own scan: the evaluation pairs sorted lists and would not notice a shift.

    Raises:
        UserError: a frame's LiDAR file is not one of SemanticKITTI's, or the plan has no categories.
    """
    table, things = source.dataset_ids().astype(np.uint32), source.taxonomy.things()
    for frame, stored in source.frames():
        match = _SCAN.match(frame.lidar_path)
        if match is None:
            raise UserError(
                f"frame {frame.frame_id}: {frame.lidar_path} is not sequences/XX/velodyne/NNNNNN.bin"
            )
        sequence, scan = match.groups()
        label = source.labels(stored)
        instance = np.where(things[label], stored.labels.instance, 0).astype(np.uint32)
        values = instance << 16 | table[label]
        out.array(f"sequences/{sequence}/{folder}/{scan}.label", values)


def write_overlay(source: Source, out: Output) -> None:
    """A data root whose ``labels`` are the run's, with links to the scans and everything else.

    Raises:
        UserError: as `write_semantickitti`.
    """
    used = {frame.lidar_path.rpartition("/velodyne/")[0] for frame, _ in source.frames()}
    for sequence in sorted(used):
        for entry in sorted((source.root / sequence).iterdir()):
            if entry.name not in ("labels", "predictions"):
                out.link(f"{sequence}/{entry.name}", entry)
    write_semantickitti(source, out, "labels")
