"""One picture of one frame: every camera, the cloud from above and by direction, the truth, a legend."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from labelgen.core.frame import Frame, PointCloud
from labelgen.core.records import UNLABELLED, FrameRecord, FrameStatus
from labelgen.core.taxonomy import Taxonomy
from labelgen.inspection import drawing
from labelgen.inspection.birdseye import draw_birdseye
from labelgen.inspection.camera import draw_camera
from labelgen.inspection.instances import instance_boxes
from labelgen.inspection.layout import forward_direction, place_cameras
from labelgen.inspection.legend import draw_legend
from labelgen.inspection.range_image import ROWS, draw_range

#: Colours of no, middling and full confidence.
_RAMP = ((205, 40, 40), (240, 165, 60), (30, 95, 175))


def draw_frame(
    frame: Frame,
    cloud: PointCloud | None,
    images: Sequence[NDArray[np.uint8] | None],
    record: FrameRecord,
    taxonomy: Taxonomy,
    *,
    truth: NDArray[np.uint8] | None = None,
    width: int = 2400,
) -> NDArray[np.uint8]:
    """Draw all that is known about a labelled frame; from above, instances have an outline.

    Args:
        frame: the frame; N points.
        cloud: its points, or None: taken from the record where it stores them, else left out.
        images: one (H, W, 3) uint8 RGB array per camera; None where there is no image.
        record: the frame's views, regions and labels.
        taxonomy: names and colours of the classes.
        truth: (N,) uint8 class ids, 255 = not labelled; drawn beside the labels. Without it the labels'
            confidence stands there.
        width: of the picture, pixels; at least 480.

    Returns:
        (H, width, 3) uint8 RGB.

    Raises:
        ValueError: where the arrays do not belong to the same frame.
    """
    n = len(record.labels)
    xyz = record.xyz if cloud is None else cloud.xyz
    for name, array in (("cloud", xyz), ("truth", truth)):
        if array is not None and len(array) != n:
            raise ValueError(
                f"frame {frame.frame_id}: the {name} has {len(array):,} points, the labels have {n:,}"
            )
    if len(images) != len(frame.cameras):
        raise ValueError(f"frame {frame.frame_id}: {len(images)} images for {len(frame.cameras)} cameras")
    if width < 480:
        raise ValueError(f"a picture {width} pixels wide is too small; the minimum is 480")

    gap = max(4, width // 300)
    colors = taxonomy.colors()
    colors[UNLABELLED] = drawing.BARE
    panels, cameras_height = place_cameras(frame.cameras, width - 2 * gap, gap)
    head = width // 28
    cell = (width - 4 * gap) // 3
    strip = max(ROWS, width // 16)
    canvas = drawing.blank(head + cameras_height + gap * (3 if panels else 2) + cell + strip, width)
    _draw_header(canvas, head, gap, frame, record)

    def place(picture: NDArray[np.uint8], x: int, y: int) -> None:
        canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture

    for panel in panels:
        picture = draw_camera(
            frame.cameras[panel.camera],
            panel.camera,
            images[panel.camera],
            record,
            colors,
            xyz=xyz,
            width=panel.width,
            height=panel.height,
        )
        place(picture, gap + panel.x, head + panel.y)

    forward = forward_direction(frame.cameras)
    label = record.labels.label
    bare = label == UNLABELLED
    range_image = draw_range(xyz, colors[label], bare, forward, width=width - 2 * gap, height=strip)
    y = canvas.shape[0] - cell - gap
    place(range_image, gap, y - gap - strip)
    if truth is None:
        beside, bare, title = (
            _confidence_colors(record),
            label == UNLABELLED,
            "confidence: red is doubtful, blue is sure",
        )
    else:
        beside, bare, title = colors[truth], truth == UNLABELLED, "truth"
    boxes = None if xyz is None else instance_boxes(xyz, record.labels)[:2]
    above = draw_birdseye(
        xyz, colors[label], label == UNLABELLED, forward, title="labels", width=cell, height=cell, boxes=boxes
    )
    place(above, gap, y)
    place(draw_birdseye(xyz, beside, bare, forward, title=title, width=cell, height=cell), 2 * gap + cell, y)
    x = 3 * gap + 2 * cell
    place(draw_legend(record.labels, taxonomy, truth, width=width - gap - x, height=cell), x, y)
    return canvas


def _confidence_colors(record: FrameRecord) -> NDArray[np.uint8]:
    """(N, 3) uint8 RGB by confidence; pale where a point has no label."""
    steps = np.arange(256)
    ramp = np.stack([np.interp(steps, (0, 128, 255), stops) for stops in zip(*_RAMP, strict=True)], axis=1)
    colors = ramp.astype(np.uint8)[record.labels.confidence]
    colors[record.labels.label == UNLABELLED] = drawing.BARE
    return colors


def _draw_header(canvas: NDArray[np.uint8], head: int, gap: int, frame: Frame, record: FrameRecord) -> None:
    n = len(record.labels)
    labelled = int(np.count_nonzero(record.labels.label != UNLABELLED))
    size = head * 0.36
    try:
        time = datetime.fromtimestamp(frame.timestamp_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S.%f UTC")
    except (ValueError, OverflowError, OSError):
        time = f"{frame.timestamp_us} us"
    status = FrameStatus(record.status)
    facts = [
        (f"frame {frame.frame_id}", drawing.INK),
        (f"scene {frame.scene_id}, number {frame.index}", drawing.MUTED),
        (time, drawing.MUTED),
        (f"{n:,} points, {labelled / max(n, 1):.1%} labelled", drawing.INK),
        (status.name.lower(), drawing.MUTED if status is FrameStatus.OK else drawing.WARNING),
    ]
    x, items = 2.0 * gap, []
    for fact, color in facts:
        text = drawing.fit_text(fact, size, canvas.shape[1] - x - gap)
        items.append((x, head * 0.34 if record.notes else head * 0.5, text, size, color, "lm"))
        x += drawing.text_width(text, size) + 2 * size
    if record.notes:
        notes = drawing.fit_text("notes: " + "; ".join(record.notes), size * 0.8, canvas.shape[1] - 4 * gap)
        items.append((2.0 * gap, head * 0.78, notes, size * 0.8, drawing.WARNING, "lm"))
    drawing.draw_text(canvas, items)
