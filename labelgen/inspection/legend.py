"""Picture of a legend: the classes of a frame with their points, and why points have no label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelgen.core.records import UNLABELLED, PointLabels, Reason
from labelgen.core.taxonomy import Taxonomy
from labelgen.inspection import drawing
from labelgen.inspection.drawing import Canvas, Color

#: In words, why points have no label.
REASON_TEXT: dict[Reason, str] = {
    Reason.LABELLED: "labelled",
    Reason.NO_CAMERA: "in no camera",
    Reason.OCCLUDED: "hidden from every camera",
    Reason.EGO: "on or near the ego vehicle",
    Reason.NO_REGION: "in no region",
    Reason.TOO_CLOSE: "votes too close",
    Reason.VOID: "region of no known class",
    Reason.CAMERA_MISSING: "camera missing",
    Reason.NO_RETURN: "no return",
}


def draw_legend(
    labels: PointLabels, taxonomy: Taxonomy, truth: NDArray[np.uint8] | None, *, width: int, height: int
) -> Canvas:
    """Draw the legend of a frame.

    Args:
        labels: the frame's labels.
        taxonomy: names and colours.
        truth: (N,) uint8 class ids, 255 = not labelled; adds a column. Or None.
        width: of the picture, pixels.
        height: of the picture, pixels.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    canvas = drawing.blank(height, width, drawing.PANEL)
    ours = np.bincount(labels.label, minlength=256)
    true = np.zeros(256, np.int64) if truth is None else np.bincount(truth, minlength=256)
    columns = ["points"] if truth is None else ["points", "truth"]
    rows: list[tuple[str, Color | None, list[int]]] = [
        (spec.name, spec.color, [int(ours[spec.id]), int(true[spec.id])][: len(columns)])
        for spec in taxonomy.classes
        if ours[spec.id] or true[spec.id]
    ]
    rows.sort(key=lambda row: -max(row[2]))
    reasons = np.bincount(labels.reason[labels.label == UNLABELLED], minlength=256)
    why = [(REASON_TEXT[r], None, [int(reasons[r])]) for r in Reason if reasons[r]]

    size = min(height / 34, width / 26)
    line = size * 1.45
    room = int((height - 5 * line) / line) - len(why)
    if len(rows) > max(room, 1):
        rest = rows[max(room - 1, 0) :]
        sums = [sum(row[2][k] for row in rest) for k in range(len(columns))]
        rows = [*rows[: max(room - 1, 0)], (f"{len(rest)} more classes", None, sums)]

    ends = [width - size - k * size * 5.5 for k in reversed(range(len(columns)))]
    items: list[tuple[float, float, str, float, Color, str]] = []
    y = size * 1.2

    def write(name: str, values: list[str], ink: Color, left: float = size * 2.6) -> None:
        fitted = drawing.fit_text(name, size, ends[0] - size * 5 - left)
        items.append((left, y, fitted, size, ink, "lm"))
        items.extend((end, y, value, size, ink, "rm") for end, value in zip(ends, values, strict=False))

    write("classes", columns, drawing.MUTED, size)
    for name, color, counts in rows:
        y += line
        if color is not None:
            drawing.draw_dots(canvas, [(size * 1.6, y)], color, size * 0.42, halo=1)
        write(name, [f"{count:,}" for count in counts], drawing.INK)
    y += 1.6 * line
    total = len(labels)
    bare = [int(ours[UNLABELLED]), int(true[UNLABELLED])][: len(columns)]
    write("not labelled", [f"{count:,}" for count in bare], drawing.MUTED, size)
    for name, _, counts in why:
        y += line
        share = f"  {counts[0] / max(total, 1):.1%}"
        write(name + share, [f"{counts[0]:,}"], drawing.MUTED)
    drawing.draw_text(canvas, items)
    return canvas
