"""How an image is presented to an encoder with a fixed input: its size in cells, and the windows over it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Windows high, if the configuration leaves it open: two rows that overlap by a quarter.
ROWS = 1.75
#: Times the training's side, for encoders that need no windows: FC-CLIP's 800 for a ConvNeXt trained at 320.
SCALE = 2.5
#: Images that are longer are squeezed: nobody's time and memory are to depend on a broken image.
MAX_ASPECT = 4.0


@dataclass(frozen=True)
class Layout:
    """Where windows lie over one image.

    Attributes:
        cell: pixels of the resized image per cell.
        grid: (h, w) cells of the resized image.
        window: (h, w) cells of a window.
        corners: (top, left) cell of every window.
    """

    cell: int
    grid: tuple[int, int]
    window: tuple[int, int]
    corners: tuple[tuple[int, int], ...]

    @property
    def pixels(self) -> tuple[int, int]:
        """(H, W) of the resized image."""
        return self.grid[0] * self.cell, self.grid[1] * self.cell

    def slices(self) -> list[tuple[slice, slice]]:
        """Rows and columns of the grid that each window covers."""
        h, w = self.window
        return [(slice(top, top + h), slice(left, left + w)) for top, left in self.corners]


def lay_out(
    size: tuple[int, int], *, cell: int, side: int, window: int | None, short_side: int | None, overlap: float
) -> Layout:
    """Plan the windows over an image.

    Args:
        size: (H, W) of the image, pixels.
        cell: pixels of the encoder's input per cell.
        side: of the images that the encoder was trained on, pixels.
        window: side of the encoder's input, pixels; None takes the image as a whole.
        short_side: of the resized image, pixels, rounded down to whole cells; None: from ``side``. At least
            a window.
        overlap: share of a window that its neighbour covers, too, at least.
    """
    short = short_side or side * (SCALE if window is None else ROWS)
    least = (window or cell) // cell
    cells = max(int(short / cell), least)
    aspect = min(max(size) / min(size), MAX_ASPECT)
    long = max(int(cells * aspect + 0.5), least)
    grid = (cells, long) if size[0] <= size[1] else (long, cells)
    if window is None:
        return Layout(cell, grid, grid, ((0, 0),))
    tops, lefts = (_starts(length, least, overlap) for length in grid)
    return Layout(cell, grid, (least, least), tuple((top, left) for top in tops for left in lefts))


def _starts(length: int, window: int, overlap: float) -> list[int]:
    """First cells of windows that cover a length evenly."""
    step = max(window * (1 - overlap), 1.0)
    count = 1 + int(np.ceil((length - window) / step - 1e-9))
    return [int(start) for start in np.round(np.linspace(0, length - window, count))]
