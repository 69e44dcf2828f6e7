"""Offline pseudo-labels and 2D feature caches for LiDAR point clouds.

>>> import labelgen
>>> run = labelgen.open_run("runs/demo")   # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelgen.data import LabelDataset, ShardStream
    from labelgen.runs import open_run

__version__ = "0.1.0"
__all__ = ["LabelDataset", "ShardStream", "__version__", "open_run"]


def __getattr__(name: str) -> Any:
    """Import on first use: workers and ``labelgen --help`` must not wait for what they do not need."""
    if name == "open_run":
        from labelgen.runs import open_run

        return open_run
    if name in ("LabelDataset", "ShardStream"):
        from labelgen import data

        return getattr(data, name)
    raise AttributeError(f"module 'labelgen' has no attribute {name!r}")
