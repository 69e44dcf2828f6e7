"""Picture of a point cloud from above, with range rings and the ego vehicle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from labelgen.inspection import drawing
from labelgen.inspection.drawing import Canvas

#: Length and width of the drawn ego vehicle, metres (a nuScenes Renault Zoe).
_EGO = (4.1, 1.7)


def birdseye_pixels(
    xyz: NDArray[np.float32], forward: NDArray[np.float64], *, width: int, height: int, reach: float
) -> NDArray[np.float64]:
    """Project points from above; the driving direction points up and the LiDAR is in the middle.

    Args:
        xyz: (N, 3) float32, LiDAR frame, metres; finite.
        forward: (2,) unit vector, driving direction in the LiDAR frame.
        width: of the picture, pixels.
        height: of the picture, pixels.
        reach: metres from the middle to the nearer edge.

    Returns:
        (N, 2) float64 pixels.
    """
    scale = min(width, height) / (2 * reach)
    x, y = xyz[:, 0].astype(np.float64), xyz[:, 1].astype(np.float64)
    ahead, right = x * forward[0] + y * forward[1], x * forward[1] - y * forward[0]
    middle = ((width - 1) / 2, (height - 1) / 2)
    return np.stack([middle[0] + right * scale, middle[1] - ahead * scale], axis=1)


def draw_birdseye(
    xyz: NDArray[np.float32] | None,
    colors: NDArray[np.uint8],
    small: NDArray[np.bool_],
    forward: NDArray[np.float64],
    *,
    title: str,
    width: int,
    height: int,
    reach: float = 50.0,
    boxes: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
) -> Canvas:
    """Draw a cloud from above.

    Args:
        xyz: (N, 3) float32, LiDAR frame, metres; points that are not finite are left out. None: the panel
            says that there is no cloud.
        colors: (N, 3) uint8 RGB.
        small: (N,) bool, points to draw small and below the others.
        forward: (2,) unit vector, driving direction in the LiDAR frame.
        title: written in the upper left corner.
        width: of the picture, pixels.
        height: of the picture, pixels.
        reach: metres from the middle to the nearer edge.
        boxes: centres and half sizes (M, 3), LiDAR frame, metres; drawn as outlines.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    canvas = drawing.blank(height, width, drawing.PANEL)
    scale = min(width, height) / (2 * reach)
    middle = ((width - 1) / 2, (height - 1) / 2)
    step = 10.0
    half = int(max(width, height) / 2 / scale / step)
    for k in range(-half, half + 1):
        at = k * step * scale
        if abs(at) <= width / 2:
            drawing.draw_polyline(canvas, [(middle[0] + at, 0), (middle[0] + at, height)], drawing.FAINTER)
        if abs(at) <= height / 2:
            drawing.draw_polyline(canvas, [(0, middle[1] + at), (width, middle[1] + at)], drawing.FAINTER)
    size = max(9.0, height / 55)
    texts = []
    for ring in np.arange(step, np.hypot(width, height) / scale / 2, step):
        drawing.draw_circle(canvas, middle, ring * scale, drawing.FAINT)
        if ring * scale < height / 2 - size and ring % 20 == 0:
            texts.append((middle[0], middle[1] - ring * scale, f"{ring:.0f} m", size, drawing.MUTED, "mm"))

    if xyz is None:
        texts.append((middle[0], height * 0.62, "no point cloud here", size * 1.3, drawing.WARNING, "mm"))
    else:
        radius = max(drawing.CLEAR, height / 620)
        drawn = np.isfinite(xyz).all(axis=1)
        low, high = np.flatnonzero(drawn & small), np.flatnonzero(drawn & ~small)
        high = high[np.argsort(xyz[high, 2], kind="stable")]  # what stands on the ground covers it
        for rows, size_of, alpha in ((low, 0.5 * radius, 0.8), (high, radius, 1.0)):
            xy = birdseye_pixels(xyz[rows], forward, width=width, height=height, reach=reach)
            drawing.draw_dots(canvas, xy, colors[rows], size_of, alpha=alpha)
    for center, half in zip(*(boxes or ((), ())), strict=True):
        corners = center + half * np.array([(-1, -1, 0), (-1, 1, 0), (1, 1, 0), (1, -1, 0)], np.float32)
        xy = birdseye_pixels(corners, forward, width=width, height=height, reach=reach)
        if (np.abs(xy - middle) < max(width, height)).all():  # far beyond the edge, pixels overflow
            drawing.draw_polyline(canvas, xy, drawing.INK, closed=True)
    _draw_ego(canvas, middle, scale)
    texts.append((size * 0.8, size * 0.8, title, size * 1.3, drawing.INK, "lt"))
    drawing.draw_text(canvas, texts, edge=drawing.PANEL)
    return canvas


def _draw_ego(canvas: Canvas, middle: tuple[float, float], scale: float) -> None:
    length, width = (max(side * scale, least) for side, least in zip(_EGO, (10, 5), strict=True))
    outline = np.array([(-0.5, 0.5), (-0.5, -0.3), (-0.2, -0.5), (0.2, -0.5), (0.5, -0.3), (0.5, 0.5)])
    outline = outline * (width, length) + middle
    drawing.fill_polygon(canvas, outline, drawing.INK)
    drawing.draw_polyline(canvas, outline, drawing.PAPER, closed=True)
