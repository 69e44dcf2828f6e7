"""What a training needs of a run: the arrays of its batches, clouds, and what heads are built from."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.core.returns import returned
from labelgen.core.taxonomy import Taxonomy
from labelgen.datasets.roots import clouds
from labelgen.distill.methods.base import CacheInfo
from labelgen.runs import POINTS, Run, RunFrame, open_run

#: {field of `Batch`: arrays of the run that it is made from}.
SOURCES: dict[str, tuple[str, ...]] = {
    "label": ("points/label",),
    "confidence": ("points/confidence",),
    "instance": ("points/label", "points/instance"),
    "view_point": ("views/point", "views/visible"),
    "view_camera": ("views/camera",),
    "view_uv": ("views/uv",),
    "view_region": ("views/region", "regions/camera"),
    "region_frame": ("regions/camera",),
    "region_camera": ("regions/camera",),
    "region_label": ("regions/label",),
    "region_scores": ("regions/class_scores",),
    "region_feature": ("regions/feature",),
    "caption_feature": ("regions/caption_feature",),
}
#: Fields that can be made from the data set's truth instead.
OF_TRUTH = ("label", "confidence", "instance")
#: What makes an array that a run may lack.
MADE_BY = {
    "regions/caption_feature": "label with captions: `labelgen run --set semantics.captions=blip2`",
}
_LABEL_ANEW = (
    "it holds labels only: train on the run that it was derived from, or label one with `labelgen run`"
)


def open_for_training(path: str | Path, dataroot: Path | None = None) -> Run:
    """Open a run to be trained on: without its plan's cameras, which no training reads.

    Args:
        path: its folder or its address.
        dataroot: where the raw files are now; None takes what the plan records.

    Raises:
        UserError: as `labelgen.open_run`, or as `check_readable`.
    """
    run = open_run(path, dataroot)
    check_readable(run)
    return run.without_cameras()


def check_readable(run: Run) -> None:
    """Refuse a run whose clouds no network can read.

    Raises:
        UserError: it has no labelled frames, or the data root is wrong where it stores no points.
    """
    run.check_labelled()
    if not run.arrays >= POINTS:
        run.need(clouds)


def info_of(run: Run) -> CacheInfo:
    """What methods build their heads from."""
    frame = run.frame(run.frames[0])
    text, encoder = frame.attributes.get("text_embeddings"), frame.attributes.get("text_encoder")
    return CacheInfo(
        taxonomy=run.taxonomy,
        text_embeddings=None if text is None else np.array(text, np.float32),
        feature_width=frame.layout["regions/feature"][0] if "regions/feature" in run.arrays else None,
        vocabulary=partial(_vocabulary, run.info.config, encoder, run.taxonomy),
    )


def arrays_for(run: Run, needs: Sequence[str], truth: bool = False) -> tuple[str, ...]:
    """Arrays of a run that a method's fields are made from.

    Args:
        run: to be trained on.
        needs: fields of `Batch`.
        truth: whether labels are to be the data set's instead of the run's.

    Raises:
        UserError: the run stores one not, or the data set has no truth; says what makes it.
    """
    wanted = [field for field in needs if not (truth and field in OF_TRUTH)]
    arrays = dict.fromkeys(array for field in wanted for array in SOURCES[field])
    for array in arrays:
        if array not in run.arrays:
            raise UserError(f"{run.url} does not store {array}; {MADE_BY.get(array, _LABEL_ANEW)}")
    if truth and not run.dataset.categories:
        raise UserError(f"data set {run.dataset.dataset} of {run.url} has no truth to train on")
    return tuple(arrays)


def cloud_of(frame: RunFrame) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(N, 3) metres and (N,) intensity as stored: of the run where it stores points, else the raw file.

    Points that are no return are NaN, whatever stands for them in the file: a network never sees them.

    Raises:
        FrameError: the raw file is missing or damaged, or has another number of points than the run.
    """
    xyz = frame.xyz
    return np.where(returned(xyz)[:, None], xyz, np.float32(np.nan)), frame.intensity


def _vocabulary(config: dict[str, Any], encoder: Any, taxonomy: Taxonomy) -> Any:
    from labelgen.distill.vocabulary import load_vocabulary

    return load_vocabulary(config.get("semantics", {}), encoder, taxonomy)
