"""Shards as other readers find them, whatever the order in which their arrays came."""

from dataclasses import replace

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from labelgen.core.precision import stored_feature
from labelgen.shards import StoredRun
from labelgen.shards.encode import write_group
from tests.helpers.runs import make_run, some_records, write


def test_arrays_in_any_order_are_all_found_by_zarr(tmp_path):
    arrays = {
        "views/hits": np.array([1, 0], np.uint16),
        "frame/timestamp_us": np.array([7], np.int64),
        "hits/region": np.array([3], np.uint16),
        "views/camera": np.array([0, 1], np.uint8),
        "frame/hit_offsets": np.array([0, 1], np.int64),
    }
    write_group(tmp_path / "shard", arrays, {})
    group = zarr.open_group(tmp_path / "shard", mode="r", use_consolidated=True)
    found = {name: np.asarray(node[:]) for name, node in group.members(max_depth=None) if "/" in name}
    assert found.keys() == arrays.keys()
    for name, values in arrays.items():
        np.testing.assert_array_equal(found[name], values)


@given(values=st.lists(st.floats(-1, 1, width=32), max_size=20), bits=st.integers(1, 10))
def test_features_are_cut_to_the_nearest_number_with_fewer_bits(values, bits):
    whole = np.array(values, np.float32).astype(np.float16)
    cut = stored_feature(np.array(values, np.float32), bits)
    step = 1 << (10 - bits)
    grid = np.arange(0, 0x3C00 + step, step, dtype=np.uint16).view(np.float16).astype(np.float64)
    for value, got in zip(whole, cut, strict=True):
        assert abs(float(got)) in grid
        assert abs(abs(float(got)) - abs(float(value))) == np.abs(grid - abs(float(value))).min()
        assert np.signbit(got) == np.signbit(value)


@pytest.mark.parametrize(("bits", "least", "most"), [(10, 1.0, 1.1), (7, 0.6, 0.85), (6, 0.5, 0.75)])
def test_cut_features_take_less_room_and_are_read_as_they_are(tmp_path, bits, least, most):
    run, records = make_run(tmp_path), some_records(regions=400, width=64)
    rng = np.random.default_rng(0)
    for number, record in enumerate(records):
        feature = rng.normal(size=(400, 64))
        feature /= np.linalg.norm(feature, axis=1, keepdims=True)
        cut = stored_feature(feature.astype(np.float32), bits)
        np.testing.assert_allclose((cut * feature).sum(1), 1, atol=2e-2)
        records[number] = replace(record, semantics=replace(record.semantics, feature=cut))
    manifest = write(run, records)
    opened = StoredRun(run)
    for record in records:
        assert opened.frame(record.frame_id).semantics.feature.tobytes() == record.semantics.feature.tobytes()
    array = zarr.open_array(run / manifest.path / "regions/feature", mode="r")
    np.testing.assert_array_equal(array[:], np.concatenate([r.semantics.feature for r in records]))
    raw = 2 * 64 * sum(len(record.regions) for record in records)
    assert least * raw < manifest.arrays["regions/feature"].size < most * raw
