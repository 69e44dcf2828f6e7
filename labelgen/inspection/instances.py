"""The objects of one frame, for those who look at it: how many, and boxes around them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from labelgen.core.records import UNLABELLED, PointLabels
from labelgen.core.taxonomy import Taxonomy
from labelgen.inspection.tables import plain

_FEWEST = 5  # points of an instance that gets a box


def instance_boxes(
    xyz: NDArray[np.float32], labels: PointLabels
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]]:
    """Boxes along the axes around the points of each instance: centres, half sizes (M, 3) metres, classes."""
    instance, label = labels.instance, labels.label
    use = (instance > 0) & (label != UNLABELLED) & np.isfinite(xyz).all(axis=1)
    centers, halves, classes = [], [], []
    for value in np.unique(instance[use]).tolist():
        mine = use & (instance == value)
        if np.count_nonzero(mine) >= _FEWEST:
            low, high = xyz[mine].min(axis=0), xyz[mine].max(axis=0)
            centers.append((low + high) / 2)
            halves.append((high - low) / 2)
            classes.append(int(np.bincount(label[mine]).argmax()))
    shape = (len(centers), 3)
    return (
        np.array(centers, np.float32).reshape(shape),
        np.array(halves, np.float32).reshape(shape),
        np.array(classes, np.uint16),
    )


def count_instances(labels: PointLabels, taxonomy: Taxonomy) -> dict[str, int]:
    """{name of a class of things: its instances}, of those that have any."""
    chosen = taxonomy.things()[labels.label] & (labels.instance > 0)
    pairs = np.unique(np.stack([labels.label[chosen], labels.instance[chosen]]).astype(np.int64), axis=1)
    counts = np.bincount(pairs[0], minlength=len(taxonomy)).tolist()
    return {spec.name: counts[spec.id] for spec in taxonomy.classes if counts[spec.id]}


def render_instances(console: Console, counts: Mapping[str, int]) -> None:
    """Print what `count_instances` gives, on one line; nothing where there are none."""
    if counts:
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        console.print(plain(f"instances: {told}"))
