import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.inspection import drawing

RED = (200, 10, 20)


@settings(deadline=None)
@given(x=st.floats(4, 25), y=st.floats(4, 25), radius=st.floats(0.5, 3.5))
def test_a_dot_covers_each_pixel_as_much_as_its_disc_does(x, y, radius):
    canvas = drawing.blank(30, 30, (0, 0, 0))
    drawing.draw_dots(canvas, [(x, y)], (255, 255, 255), radius)
    cover = canvas[..., 0] / 255
    fine = (np.arange(30 * 16) + 0.5) / 16 - 0.5  # the same disc, counted on a grid 16 times as fine
    exact = (fine[None] - x) ** 2 + (fine[:, None] - y) ** 2 <= radius**2
    exact = exact.reshape(30, 16, 30, 16).mean(axis=(1, 3))
    assert np.abs(cover - exact).max() <= 0.25
    assert cover.sum() == pytest.approx(np.pi * radius**2, rel=0.25, abs=0.45)
    assert cover[round(y), round(x)] >= (1 if radius >= drawing.CLEAR else 0.29)


def test_a_dot_on_a_pixels_centre_gives_it_the_colour_in_full():
    canvas = drawing.blank(9, 9, (255, 255, 255))
    drawing.draw_dots(canvas, [(4, 5)], RED, 0.5)
    assert tuple(canvas[5, 4]) == RED
    assert (canvas == 255).all(axis=2).sum() == 80, "half a pixel's radius stays in its pixel"


def test_later_dots_cover_earlier_ones():
    canvas = drawing.blank(9, 9)
    drawing.draw_dots(canvas, [(4, 4), (4, 4)], [(9, 9, 9), RED], 2)
    assert tuple(canvas[4, 4]) == RED


def test_rims_are_dark_around_bright_dots_and_light_around_dark_ones():
    for color, darker in (((250, 250, 250), True), ((10, 10, 60), False)):
        canvas = drawing.blank(21, 21, (128, 128, 128))
        drawing.draw_dots(canvas, [(10, 10)], color, 3, halo=3)
        assert tuple(canvas[10, 10]) == color
        assert (canvas[10, 15, 0] < 128) == darker
        assert tuple(canvas[10, 18]) == (128, 128, 128)


@pytest.mark.parametrize(
    "xy", [(np.nan, 3), (3, np.inf), (-np.inf, np.nan), (1e30, 1e30), (-1e30, 5), (-9, 5), (5, 40)]
)
def test_what_is_not_on_the_canvas_leaves_it_alone(xy):
    canvas = drawing.blank(9, 9)
    drawing.draw_dots(canvas, [xy], RED, 2, halo=1)
    assert (canvas == drawing.blank(9, 9)).all()


def test_dots_at_the_edge_are_cut_off():
    whole = drawing.blank(20, 20)
    drawing.draw_dots(whole, [(5, 5)], RED, 3)
    corner = drawing.blank(20, 20)
    drawing.draw_dots(corner, [(0, 0)], RED, 3)
    assert (corner[:10, :10] == whole[5:15, 5:15]).all()


@settings(deadline=None)
@given(text=st.text(max_size=60), width=st.integers(5, 300))
def test_fitted_text_is_one_printable_line_that_fits(text, width):
    fitted = drawing.fit_text(text, 12, width)
    assert drawing.text_width(fitted, 12) <= width
    assert fitted.isprintable()


def test_text_is_cut_only_where_it_must_be():
    assert drawing.fit_text("a  b\nc\x1b[31m", 12, 500) == r"a b c\x1b[31m"
    cut = drawing.fit_text("word " * 50, 12, 100)
    assert cut.startswith("word word")
    assert cut.endswith("...")
    assert drawing.text_width(cut, 12) > 70
