"""Is a data set read as it should be? Reads some frames whole, and draws their points over the images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import FrameError
from labelgen.core.frame import Frame
from labelgen.core.records import Views
from labelgen.datasets import DatasetInfo, load_cloud, load_truth
from labelgen.datasets.checks import FrameInput, check_frame, check_image
from labelgen.datasets.images import open_picture, read_image
from labelgen.geometry import ProjectionSettings, project
from labelgen.inspection import drawing
from labelgen.inspection.layout import place_cameras

#: Metres at which the colours of depth end.
FARTHEST = 60.0


@dataclass
class FrameCheck:
    """What one frame looks like.

    Attributes:
        frame_id, scene_id: of the frame.
        points: in its cloud; ``finite``: those with finite coordinates.
        cameras: {camera: {"points": in its image, "visible": not hidden, "seconds": image after sweep}}.
        problems: what is surely or probably wrong, one line each.
    """

    frame_id: str
    scene_id: str
    points: int = 0
    finite: int = 0
    cameras: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def look_at_frame(
    root: Path,
    frame: Frame,
    info: DatasetInfo,
    settings: ProjectionSettings | None = None,
    allow: Collection[str] = (),
) -> tuple[FrameCheck, Views | None, list[NDArray[np.uint8] | None]]:
    """Read everything that belongs to a frame, project its points, and check what it says.

    Returns:
        What was found; the views, None where there are none; and each camera's image, None where unreadable.
    """
    found = FrameCheck(frame.frame_id, frame.scene_id)
    images: list[NDArray[np.uint8] | None] = []
    hashes: dict[str, str] = {}
    for camera in frame.cameras:
        try:
            data, hashes[camera.image_path] = read_image(root, camera, frame.frame_id)
            picture = open_picture(data, camera, frame.frame_id)
            images.append(picture.pixels)
            found.problems += [str(odd) for _, odd in check_image(picture, allow)]
        except FrameError as error:
            images.append(None)
            found.problems.append(str(error))
    try:
        cloud, _ = load_cloud(root, frame)
        views = project(frame, cloud, settings or ProjectionSettings())
    except FrameError as error:
        found.problems.append(str(error))
        return found, None, images
    found.points = len(cloud)
    found.finite = int(np.isfinite(cloud.xyz).all(axis=1).sum())
    for number, camera in enumerate(frame.cameras):
        rows = views.camera_slice(number)
        seconds = (camera.timestamp_us - frame.timestamp_us) * 1e-6
        seen = int(views.visible[rows].sum())
        found.cameras[camera.name] = {
            "points": rows.stop - rows.start,
            "visible": seen,
            "seconds": round(seconds, 4),
        }
    given = FrameInput(frame, cloud, views, hashes, root)
    found.problems += [str(odd) for _, odd in check_frame(given, allow)]
    if frame.label_path is not None and info.categories:
        try:
            load_truth(root, frame, np.zeros(max(info.categories.values()) + 1, np.uint8), len(cloud))
        except FrameError as error:
            found.problems.append(str(error))
    return found, views, images


def draw_points(
    frame: Frame, views: Views, images: Sequence[NDArray[np.uint8] | None], width: int = 2400
) -> NDArray[np.uint8]:
    """Points over the images, near ones red and far ones blue; hidden ones are left out.

    Args:
        frame: with its cameras.
        views: of its points.
        images: (H, W, 3) uint8 RGB per camera, or None.
        width: of the picture, pixels.

    Returns:
        (H, width, 3) uint8 RGB.
    """
    gap = max(4, width // 300)
    panels, height = place_cameras(frame.cameras, width - 2 * gap, gap)
    canvas = drawing.blank(height + 2 * gap, width)
    shades = cv2.applyColorMap(np.arange(255, -1, -1, dtype=np.uint8), cv2.COLORMAP_TURBO)[:, 0, ::-1]
    for panel in panels:
        camera, image = frame.cameras[panel.camera], images[panel.camera]
        picture = drawing.blank(panel.height, panel.width, drawing.GREY_PANEL)
        if image is not None:
            shape = (panel.width, panel.height)
            picture = np.ascontiguousarray(cv2.resize(image, shape, interpolation=cv2.INTER_AREA))
        rows = views.camera_slice(panel.camera)
        seen = np.flatnonzero(views.visible[rows]) + rows.start
        seen = seen[np.argsort(-views.depth[seen])]
        scale = np.array([panel.width / camera.width, panel.height / camera.height])
        # Depth by its logarithm, as pixels see it.
        near = np.clip(np.log(views.depth[seen] / 2) / np.log(FARTHEST / 2), 0, 1)
        xy = (views.uv[seen] + 0.5) * scale - 0.5
        drawing.draw_dots(
            picture, xy, shades[(near * 255).astype(np.uint8)], max(drawing.CLEAR, width / 1600)
        )
        size = min(max(10.0, panel.width / 45), 26.0)
        text = drawing.fit_text(f"{camera.name} · {len(seen):,} points", size, panel.width - size)
        drawing.draw_text(
            picture, [(size * 0.6, size * 0.5, text, size, drawing.PAPER, "lt")], edge=drawing.INK
        )
        canvas[gap + panel.y : gap + panel.y + panel.height, gap + panel.x : gap + panel.x + panel.width] = (
            picture
        )
    return canvas
