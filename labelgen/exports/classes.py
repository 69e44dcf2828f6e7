"""Classes of a run's points, in its own ids and in those of the data set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.core.records import UNLABELLED
from labelgen.runs import Run, RunFrame


def class_ids(frame: RunFrame) -> NDArray[np.uint8]:
    """(N,) uint8 class ids, 255 for unlabelled.

    Raises:
        UserError: a label that the taxonomy lacks.
    """
    label, taxonomy = frame.labels.label, frame.run.taxonomy
    known = label[label != UNLABELLED]
    if len(known) and int(known.max()) >= len(taxonomy):
        raise UserError(
            f"frame {frame.frame_id}: label {int(known.max())}; taxonomy {taxonomy.name} has "
            f"{len(taxonomy)} classes"
        )
    return label


def dataset_ids(run: Run) -> NDArray[np.uint8]:
    """(256,) uint8: the data set's own id of each class, one for each; 0 for unlabelled.

    Of a class that stands for several of the data set's categories, the first one is taken.

    Raises:
        UserError: the plan knows no categories, or none of a class.
    """
    table, categories = np.zeros(256, np.uint8), run.dataset.categories
    for spec in run.taxonomy.classes:
        ids = [categories[name] for name in spec.source if name in categories]
        if not ids:
            raise UserError(
                f"class {spec.name}: the data set's tables contain none of {list(spec.source)}; "
                "the plan needs a data set with label tables"
            )
        table[spec.id] = ids[0]
    if len(set(table[: len(run.taxonomy)].tolist())) != len(run.taxonomy):
        raise UserError(f"taxonomy {run.taxonomy.name}: two classes share a category of the data set")
    return table
