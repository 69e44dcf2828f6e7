"""Packing into columns: fixed-point pixels, padding, what does not go together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from labelgen.shards.columns import decode_uv, encode_uv, pack, uv_steps, why_not_storable
from tests.helpers.records import make_record
from tests.helpers.runs import some_records


def pixels(largest: float) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float32, (7, 2), elements=st.floats(-0.5, largest, width=32))


@given(st.sampled_from([32, 16, 8, 1]), st.data())
def test_fixed_point_keeps_the_whole_pixel_and_half_a_step(steps: int, data: st.DataObject) -> None:
    uv = data.draw(pixels(float(np.nextafter(np.float32(65536 / steps - 0.5), np.float32(0)))))
    stored = encode_uv(uv, steps)
    # A pixel's square reaches half a pixel to each side of its centre.
    assert np.array_equal(stored // steps, np.floor(uv.astype(np.float64) + 0.5))
    again = decode_uv(stored, steps)
    # What float64 leaves of a pixel of 1e-17 and a half is the half.
    assert np.abs(again.astype(np.float64) - uv).max() <= 0.5 / steps + 1e-12
    assert np.array_equal(encode_uv(again, steps), stored)


@pytest.mark.parametrize(
    ("width", "steps"), [(1600, 32), (2047, 32), (2048, 32), (2049, 16), (3840, 16), (5000, 8), (65535, 1)]
)
def test_large_images_get_coarser_steps_and_do_not_wrap(width: int, steps: int) -> None:
    record = make_record(np.random.default_rng(0))
    uv = record.views.uv.copy()
    uv[0] = (np.float32(width) - np.float32(0.51) if width < 60000 else width - 1, 3)
    record = replace(record, views=replace(record.views, uv=uv))
    assert uv_steps([record]) == steps
    column = pack([record], steps)["views/uv"]
    assert np.abs(decode_uv(column, steps) - uv).max() <= 0.5 / steps


def test_steps_without_views_are_the_finest() -> None:
    assert uv_steps([make_record(np.random.default_rng(0), points=0)]) == 32


@pytest.mark.parametrize("bad", [-0.6, 65535.6, np.nan, np.inf, -np.inf])
def test_pixels_out_of_range_are_refused(bad: float) -> None:
    record = make_record(np.random.default_rng(0))
    uv = record.views.uv.copy()
    uv[-1, 1] = bad
    assert "pixel" in (why_not_storable(replace(record, views=replace(record.views, uv=uv))) or "")


def test_other_unfit_records_are_refused() -> None:
    record = make_record(np.random.default_rng(0))
    assert why_not_storable(record) is None
    residual = np.full_like(record.views.depth_residual, np.nan)
    point = record.views.point - 1
    assert point.min() < 0
    for bad in (
        replace(record, frame_id="ü"),
        replace(record, frame_id="a\0"),
        replace(record, frame_id="x" * 65),
        replace(record, views=replace(record.views, depth_residual=residual)),
        replace(record, views=replace(record.views, point=point)),
    ):
        assert why_not_storable(bad)


def test_residual_too_large_for_half_precision_is_clipped() -> None:
    record = make_record(np.random.default_rng(0))
    residual = np.full_like(record.views.depth_residual, 1e6)
    column = pack([replace(record, views=replace(record.views, depth_residual=residual))], 32)
    assert np.isfinite(column["views/depth_residual"]).all()


def test_padding_holds_the_fill_value() -> None:
    rng = np.random.default_rng(0)
    columns = pack([make_record(rng, points=3, cloud=True), make_record(rng, points=5, cloud=True)], 32)
    assert columns["points/label"].shape == (2, 5)
    assert (columns["points/label"][0, 3:] == 255).all()
    assert (columns["points/region"][0, 3:] == 65535).all()
    assert np.isnan(columns["points/xyz"][0, 3:]).all()
    assert not np.isnan(columns["points/xyz"][1]).any()


def test_records_that_disagree_are_refused() -> None:
    plain, captioned = some_records(count=1)[0], some_records(count=1, captions=True)[0]
    wide, cloudy = some_records(count=1, width=9)[0], some_records(count=1, cloud=True)[0]
    for other in (captioned, wide, cloudy):
        with pytest.raises(ValueError, match=r"semantics|xyz"):
            pack([plain, other], 32)


def test_a_frame_without_regions_goes_with_all_others() -> None:
    empty = some_records(count=1, regions=0, width=0, classes=9)[0]
    columns = pack([empty, some_records(count=1, captions=True, width=7)[0], empty], 32)
    assert columns["frame/region_offsets"].tolist() == [0, 0, 12, 12]
    assert columns["regions/feature"].shape == (12, 7)
    assert len(columns["regions/caption_offsets"]) == 13


@pytest.mark.parametrize("value", [-2, 4])
def test_a_parent_that_is_no_region_of_the_frame(value: int) -> None:
    record = make_record(np.random.default_rng(0), regions=4, parents=True)
    assert why_not_storable(record) is None
    bad = replace(record, regions=replace(record.regions, parent=np.array([-1, 0, value, 0], np.int32)))
    assert "parent" in str(why_not_storable(bad))


def test_hits_that_do_not_go_together_are_refused() -> None:
    far, near, none = (some_records(count=1, reach=reach)[0] for reach in (8, 4, None))
    for others, said in ((near, "different reach"), (none, "absent for 1")):
        with pytest.raises(ValueError, match=said):
            pack([far, replace(others, frame_id="other")], 32)


def test_only_what_is_wanted_is_packed() -> None:
    records = some_records(reach=8)
    everything, labels = pack(records, 32), pack(records, 32, {"points"})
    assert {name.partition("/")[0] for name in labels} == {"frame", "points"}
    for name, values in labels.items():
        assert values.tobytes() == everything[name].tobytes()
