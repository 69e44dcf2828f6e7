"""Windows: they cover the image, lie inside it and overlap as asked; broken sizes stay bounded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelgen.semantics.windows import MAX_ASPECT, lay_out

side = st.integers(1, 20_000)


@given(
    st.tuples(side, side),
    st.sampled_from([(8, 32), (14, 336), (16, 224), (16, None), (32, None)]),
    st.one_of(st.none(), st.integers(32, 2000)),
    st.floats(0, 0.75),
)
def test_windows_cover_the_grid(size, tower, short_side, overlap):
    cell, window = tower
    layout = lay_out(size, cell=cell, side=224, window=window, short_side=short_side, overlap=overlap)
    seen = np.zeros(layout.grid, int)
    for rows, columns in layout.slices():
        assert rows.start >= 0
        assert columns.start >= 0
        seen[rows, columns] += 1
    assert seen.min() >= 1
    assert seen.sum() == len(layout.corners) * np.prod(layout.window)  # none leaves the grid
    if window:
        assert np.prod(layout.window) == (window // cell) ** 2
    for axis in (0, 1):
        starts = np.unique([corner[axis] for corner in layout.corners])
        # Corners are whole cells, so that half a cell may be missing on either side.
        assert np.diff(starts).max(initial=0) <= max(layout.window[axis] * (1 - overlap), 1) + 1
    assert max(layout.grid) <= max(MAX_ASPECT * min(layout.grid) + 1, *layout.window)


@pytest.mark.parametrize(
    ("tower", "grid", "windows"),
    [
        ({"cell": 14, "side": 336, "window": 336}, (42, 75), 8),
        ({"cell": 16, "side": 224, "window": 224}, (24, 43), 8),
        ({"cell": 32, "side": 320, "window": None}, (25, 44), 1),
    ],
)
def test_a_driving_image(tower, grid, windows):
    layout = lay_out((900, 1600), short_side=None, overlap=0.25, **tower)
    assert layout.grid == grid
    assert len(layout.corners) == windows


def test_an_upright_image_is_laid_out_upright():
    wide = lay_out((90, 160), cell=16, side=64, window=64, short_side=128, overlap=0.5)
    upright = lay_out((160, 90), cell=16, side=64, window=64, short_side=128, overlap=0.5)
    assert upright.grid == wide.grid[::-1]
    assert sorted(upright.corners) == sorted((left, top) for top, left in wide.corners)
