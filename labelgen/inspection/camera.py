"""Picture of one camera: its image, the regions' tints and outlines, the points it sees."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from labelgen.core.frame import Camera
from labelgen.core.records import UNLABELLED, FrameRecord
from labelgen.geometry import rle
from labelgen.inspection import drawing
from labelgen.inspection.drawing import Canvas

#: Opacity of a region's area and of its outline.
_TINT, _OUTLINE = 0.22, 0.85


def draw_camera(
    camera: Camera,
    number: int,
    image: NDArray[np.uint8] | None,
    record: FrameRecord,
    colors: NDArray[np.uint8],
    *,
    xyz: NDArray[np.float32] | None,
    width: int,
    height: int,
) -> Canvas:
    """Draw one camera of a frame.

    Args:
        camera: name and image size.
        number: its index in ``Frame.cameras``.
        image: (H, W, 3) uint8 RGB, or None where there is none: the panel is grey and says why.
        record: the frame's views, regions and labels.
        colors: (256, 3) uint8 RGB by label.
        xyz: (N, 3) float32, the cloud in the LiDAR frame, or None: then the views' own depth decides what
            covers what (shards do not store it).
        width: of the picture, pixels.
        height: of the picture, pixels.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    scale = np.array([width / camera.width, height / camera.height])
    if image is None:
        canvas = drawing.blank(height, width, drawing.GREY_PANEL)
    else:
        canvas = np.ascontiguousarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    _tint_regions(canvas, camera, number, record, colors)

    rows = record.views.camera_slice(number)
    seen = np.flatnonzero(record.views.visible[rows]) + rows.start
    point = record.views.point[seen]
    label = record.labels.label[point]
    depth = record.views.depth[seen] if xyz is None else xyz[point] @ camera.camera_from_lidar[2, :3]
    # Unlabelled points first, then from far to near: what is near covers what is far.
    order = np.lexsort((-depth, label != UNLABELLED))
    seen, label = seen[order], label[order]
    xy = (record.views.uv[seen] + 0.5) * scale - 0.5
    radius = min(max(drawing.CLEAR, width / 440), 2.2)
    bare = int(np.count_nonzero(label == UNLABELLED))
    drawing.draw_dots(canvas, xy[:bare], drawing.BARE, radius * 0.55, alpha=0.8)
    drawing.draw_dots(canvas, xy[bare:], colors[label[bare:]], radius, halo=radius * 0.45)

    size = min(max(10.0, width / 45), 26.0)
    name = f"{camera.name} · {len(seen):,} points"
    if regions := int(np.count_nonzero(record.regions.camera == number)):
        name += f" · {regions:,} regions"
    items = [(size * 0.6, size * 0.5, drawing.fit_text(name, size, width - size), size, drawing.PAPER, "lt")]
    if image is None:
        why = drawing.fit_text(_reason(camera, record.notes), size, width - size)
        items.append((width / 2, height / 2, why, size, (255, 214, 150), "mm"))
    drawing.draw_text(canvas, items, edge=drawing.INK)
    return canvas


def _reason(camera: Camera, notes: tuple[str, ...]) -> str:
    """The note about this camera, or what can be said without one."""
    for note in notes:
        if camera.image_path in note or camera.name in note.replace(":", " ").replace(",", " ").split():
            return note
    return "no image here: missing, unreadable, or the data root is elsewhere"


def _tint_regions(
    canvas: Canvas, camera: Camera, number: int, record: FrameRecord, colors: NDArray[np.uint8]
) -> None:
    """Lay the camera's regions over the picture; where they overlap, the smallest is on top."""
    rows = record.regions.camera_slice(number)
    count = rows.stop - rows.start
    if not count:
        return
    owner = np.zeros((camera.height, camera.width), np.int32)
    for k in np.argsort(-record.regions.area[rows], kind="stable"):
        mask = rle.decode(record.regions.rle[rows.start + k], camera.height, camera.width)
        owner[mask] = k + 1
    # Twice the picture's size: the step down to it smooths the outlines.
    height, width = canvas.shape[:2]
    y = np.minimum((np.arange(2 * height) + 0.5) * camera.height / (2 * height), camera.height - 1)
    x = np.minimum((np.arange(2 * width) + 0.5) * camera.width / (2 * width), camera.width - 1)
    owner = owner[y.astype(np.intp)[:, None], x.astype(np.intp)]
    edge = np.zeros(owner.shape, bool)
    for axis in (0, 1):
        step = np.diff(owner, axis=axis) != 0
        before, after = [slice(None)] * 2, [slice(None)] * 2
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        edge[tuple(before)] |= step
        edge[tuple(after)] |= step

    label = np.concatenate(([UNLABELLED], record.semantics.label[rows]))
    known = label != UNLABELLED
    area = np.zeros((count + 1, 4), np.float32)  # colour times opacity, opacity
    line = np.zeros((count + 1, 4), np.float32)
    area[known, :3], area[known, 3] = colors[label[known]] * _TINT, _TINT
    opacity = np.where(known, _OUTLINE, _OUTLINE / 2)[1:, None]
    outline = np.where(known[1:, None], colors[label[1:]], drawing.MUTED)
    line[1:, :3], line[1:, 3:] = outline * opacity, opacity
    layer = area[owner]
    layer[edge] = line[owner[edge]]
    layer = cv2.resize(layer, (width, height), interpolation=cv2.INTER_AREA)
    canvas[:] = np.clip(canvas * (1 - layer[..., 3:]) + layer[..., :3] + 0.5, 0, 255).astype(np.uint8)
