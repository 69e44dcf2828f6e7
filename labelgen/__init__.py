"""Offline pseudo-labels and 2D feature caches for LiDAR point clouds.

>>> import labelgen
>>> run = labelgen.open_run("runs/demo")   # doctest: +SKIP

What can be done with driving logs and runs is in `labelgen.api`, and offered here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelgen.core.lazy import loads

if TYPE_CHECKING:
    from labelgen.api import (
        check,
        distill_run,
        evaluate,
        export,
        frame_steps,
        fuse,
        import_labels,
        label,
        label_frame,
        plan,
        predict,
        refine,
        relabel,
        report,
        revote,
        train,
    )
    from labelgen.data import LabelDataset, ShardStream
    from labelgen.runs import open_run

__version__ = "0.1.0"
__all__ = [
    "LabelDataset",
    "ShardStream",
    "__version__",
    "check",
    "distill_run",
    "evaluate",
    "export",
    "frame_steps",
    "fuse",
    "import_labels",
    "label",
    "label_frame",
    "open_run",
    "plan",
    "predict",
    "refine",
    "relabel",
    "report",
    "revote",
    "train",
]

# Workers and ``labelgen --help`` must not wait for what they do not need.
__getattr__ = loads(
    __name__,
    dict.fromkeys(__all__, "labelgen.api")
    | dict.fromkeys(("LabelDataset", "ShardStream"), "labelgen.data")
    | {"open_run": "labelgen.runs"},
)
