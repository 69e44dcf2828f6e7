"""Anti-aliased dots, lines and text on RGB arrays: all that the pictures are made of.

A canvas is an (H, W, 3) uint8 RGB array and is drawn on in place; (0, 0) is the centre of its top-left
pixel. What lies outside is clipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from labelgen.core.wording import one_line

Color = tuple[int, int, int]
Canvas = NDArray[np.uint8]

INK: Color = (28, 32, 38)
MUTED: Color = (104, 111, 122)
FAINT: Color = (206, 210, 216)
FAINTER: Color = (234, 236, 240)
PAPER: Color = (255, 255, 255)
PANEL: Color = (248, 249, 250)
GREY_PANEL: Color = (126, 130, 136)
BARE: Color = (168, 172, 178)
WARNING: Color = (176, 74, 0)

#: Least radius at which a dot shows its colour unmixed, wherever in a pixel its centre lies.
CLEAR = 1.21
#: Fractional bits of the coordinates that OpenCV's line functions are given.
_SHIFT = 4


def blank(height: int, width: int, color: Color = PAPER) -> Canvas:
    """A canvas of one colour."""
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = color
    return canvas


def draw_dots(
    canvas: Canvas, xy: ArrayLike, colors: ArrayLike, radius: float, *, halo: float = 0.0, alpha: float = 1.0
) -> None:
    """Draw filled discs in the given order; later ones cover earlier ones.

    Args:
        canvas: drawn on.
        xy: (M, 2) pixels, fractions count; rows that are not finite are skipped.
        colors: (M, 3) uint8, or one colour for all.
        radius: pixels; from `CLEAR` on, the pixel nearest to the centre takes the colour in full.
        halo: width in pixels of a rim that sets dots apart from what is behind them: dark around bright
            dots, light around dark ones.
        alpha: opacity, 0..1.
    """
    where = np.asarray(xy, np.float64).reshape(-1, 2)
    tint = np.broadcast_to(np.asarray(colors, np.uint8), (len(where), 3))
    keep = np.isfinite(where).all(axis=1)
    _splat(canvas, np.ascontiguousarray(where[keep]), np.ascontiguousarray(tint[keep]), radius, halo, alpha)


@numba.njit(cache=True)
def _splat(
    canvas: Canvas,
    xy: NDArray[np.float64],
    colors: NDArray[np.uint8],
    radius: float,
    halo: float,
    alpha: float,
) -> None:
    height, width = canvas.shape[:2]
    reach = radius + halo + 0.5
    for i in range(len(xy)):
        x, y = xy[i, 0], xy[i, 1]
        luma = 0.299 * colors[i, 0] + 0.587 * colors[i, 1] + 0.114 * colors[i, 2]
        rim = 255.0 if luma < 80 else 0.0
        if not (-reach <= x <= width + reach and -reach <= y <= height + reach):
            continue
        for row in range(max(0, int(np.ceil(y - reach))), min(height, int(np.floor(y + reach)) + 1)):
            for column in range(max(0, int(np.ceil(x - reach))), min(width, int(np.floor(x + reach)) + 1)):
                # Distance to the disc's edge, one pixel wide, stands for the share that it covers.
                far = np.hypot(column - x, row - y)
                inner = min(1.0, max(0.0, radius + 0.5 - far)) * alpha
                outer = min(1.0, max(0.0, reach - far)) * 0.55 * alpha if halo > 0 else 0.0
                for channel in range(3):
                    value = canvas[row, column, channel] * (1 - outer) + rim * outer
                    canvas[row, column, channel] = np.uint8(
                        value + (colors[i, channel] - value) * inner + 0.5
                    )


def draw_polyline(
    canvas: Canvas, xy: ArrayLike, color: Color, *, closed: bool = False, thickness: int = 1
) -> None:
    """Draw an anti-aliased line through (M, 2) pixels."""
    points = np.round(np.asarray(xy, np.float64) * (1 << _SHIFT)).astype(np.int32)
    cv2.polylines(canvas, [points.reshape(-1, 1, 2)], closed, color, thickness, cv2.LINE_AA, _SHIFT)


def fill_polygon(canvas: Canvas, xy: ArrayLike, color: Color) -> None:
    """Fill the polygon of (M, 2) pixels."""
    points = np.round(np.asarray(xy, np.float64) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(canvas, [points.reshape(-1, 1, 2)], color, cv2.LINE_AA, _SHIFT)


def draw_circle(canvas: Canvas, centre: tuple[float, float], radius: float, color: Color) -> None:
    """Draw an anti-aliased circle line."""
    scale = 1 << _SHIFT
    point = (round(centre[0] * scale), round(centre[1] * scale))
    cv2.circle(canvas, point, round(radius * scale), color, 1, cv2.LINE_AA, _SHIFT)


@lru_cache(maxsize=32)
def _font(size: float) -> Any:
    return ImageFont.load_default(size)


def text_width(text: str, size: float) -> float:
    """Width of one line in pixels."""
    return float(_font(size).getlength(text))


def fit_text(text: str, size: float, width: float) -> str:
    """One printable line that is at most ``width`` pixels wide; what is cut off becomes an ellipsis."""
    text = one_line(text)
    if text_width(text, size) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(text[:middle].rstrip() + "...", size) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "..." if low else ""


def draw_text(
    canvas: Canvas,
    items: Sequence[tuple[float, float, str, float, Color, str]],
    *,
    edge: Color | None = None,
) -> None:
    """Write lines of text.

    Args:
        canvas: drawn on.
        items: (x, y, text, size in pixels, colour, anchor) with Pillow's anchors, e.g. ``lt`` for left top.
        edge: colour of an edge around the letters, for text over pictures.
    """
    image = Image.fromarray(canvas)
    pen = ImageDraw.Draw(image)
    for x, y, text, size, color, anchor in items:
        pen.text(
            (x, y),
            text,
            fill=color,
            font=_font(size),
            anchor=anchor,
            stroke_width=max(1, round(size / 10)) if edge else 0,
            stroke_fill=edge,
        )
    canvas[:] = np.asarray(image)
