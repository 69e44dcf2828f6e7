"""An export: labels of each frame as a NumPy archive."""

from __future__ import annotations

import io

import numpy as np

from labelgen.exports.format import Format, Options
from labelgen.exports.output import Output
from labelgen.runs import Run


def write(run: Run, out: Output, options: Options) -> None:
    """``FRAME.npz``: ``label`` (N,) uint8, 255 for none, ``confidence`` (N,) float32; ``classes.json``."""
    for frame in map(run.frame, run.frames):
        labels, content = frame.labels, io.BytesIO()
        confidence = labels.confidence.astype(np.float32) / 255
        np.savez_compressed(content, label=labels.label, confidence=confidence)
        out.write(f"{frame.frame_id}.npz", content.getvalue())
    out.json("classes.json", run.taxonomy.names)


NPZ = Format(about="a NumPy archive of labels and confidences per frame", write=write)
