"""Shards as other readers find them, whatever the order in which their arrays came."""

import numpy as np
import zarr

from labelgen.shards.encode import write_group


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
