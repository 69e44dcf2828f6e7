"""What a format that forbids unlabelled points gets in their place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.core.records import UNLABELLED
from labelgen.exports.classes import class_ids
from labelgen.runs import RunFrame


def filled(frame: RunFrame, policy: str) -> NDArray[np.uint8]:
    """Labels without unlabelled points.

    Args:
        frame: of the run.
        policy: ``refuse``; ``nearest``: the label of the nearest labelled point in space; or a class's name.

    Returns:
        (N,) uint8 class ids.

    Raises:
        UserError: unlabelled points under ``refuse``, no labelled point, or an unknown policy.
        FrameError: ``nearest`` needs the points, and they cannot be read.
    """
    label, names = class_ids(frame).copy(), frame.run.taxonomy.names
    bare = label == UNLABELLED
    if not bare.any():
        return label
    if policy == "refuse":
        raise UserError(
            f"frame {frame.frame_id}: {int(bare.sum())} of {len(label)} points have no label, which this "
            "format forbids; choose --fill nearest or --fill CLASS"
        )
    if policy == "nearest":
        xyz = frame.xyz
        known = ~bare & np.isfinite(xyz).all(axis=1)
        if not known.any():
            raise UserError(f"frame {frame.frame_id} has no labelled point to fill from")
        # A point that is nowhere is as near to the sensor as to anything.
        from scipy.spatial import cKDTree  # not for exports that fill nothing

        _, nearest = cKDTree(xyz[known]).query(np.nan_to_num(xyz[bare]))
        label[bare] = label[known][nearest]
    elif policy in names:
        label[bare] = names.index(policy)
    else:
        raise UserError(f"--fill {policy}: refuse, nearest or a class is expected: {', '.join(names)}")
    return label
