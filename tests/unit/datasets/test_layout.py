"""LiDAR files of one's own layout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labelgen.core.errors import FrameError
from labelgen.core.frame import Frame, parse_layout
from labelgen.datasets import DatasetInfo, load_cloud, plan_frames, write_frames
from labelgen.geometry.occlusion import beam_spacing

OWN = "time:f8,x:f4,y:f4,z:f8,intensity:u1,_:i2,ring:u2@0.1x0.33"


def stored(count=50):
    rng = np.random.default_rng(0)
    out = np.zeros(count, parse_layout(OWN).record)
    for name in out.dtype.names:
        out[name] = rng.uniform(0, 100, count)
    out["ring"][:3] = 254, 255, 4000
    return out


def frame(layout=OWN):
    return Frame("one", "scene", 0, 0, "cloud.bin", layout, np.eye(4), ())


def test_columns_are_read_by_name(tmp_path):
    rows = stored()
    assert rows.dtype.itemsize == 8 + 4 + 4 + 8 + 1 + 2 + 2
    (tmp_path / "cloud.bin").write_bytes(rows.tobytes())
    write_frames(tmp_path / "frames.parquet", [frame()], DatasetInfo("mine"))
    (found,), _ = plan_frames("manifest", tmp_path)
    cloud, _ = load_cloud(tmp_path, found)
    for axis, name in enumerate("xyz"):
        np.testing.assert_array_equal(cloud.xyz[:, axis], rows[name].astype(np.float32))
    np.testing.assert_array_equal(cloud.intensity, rows["intensity"])
    np.testing.assert_array_equal(cloud.time, rows["time"].astype(np.float32))
    np.testing.assert_array_equal(cloud.ring[3:], rows["ring"][3:])
    assert cloud.ring[:3].tolist() == [254, 255, 255]
    assert beam_spacing(found.lidar_layout) == (0.1, 0.33)


def test_what_is_not_there_is_left_out(tmp_path):
    np.ones(7, parse_layout("z:f4,y:f4,x:f4").record).tofile(tmp_path / "cloud.bin")
    cloud, _ = load_cloud(tmp_path, frame("z:f4,y:f4,x:f4"))
    assert (len(cloud), cloud.ring, cloud.time) == (7, None, None)
    assert not cloud.intensity.any()
    assert beam_spacing("z:f4,y:f4,x:f4") == (0.2, 0.42)


def test_a_truncated_file_names_the_columns(tmp_path):
    (tmp_path / "cloud.bin").write_bytes(stored().tobytes()[:-1])
    with pytest.raises(FrameError, match="a whole number of 29-byte records"):
        load_cloud(tmp_path, frame())


@pytest.mark.parametrize(
    "layout",
    ["", "ply", "x:f4,y:f4", "x:f4,y:f4,z:f1", "x:f4,x:f4,y:f4,z:f4", "x:f4,y:f4,z:O8", "x:f4,y:f4,z:f4@",
     "x:f4,y:f4,z:f4@0.2", "x:f4,y:f4,z:f4@0x1", "x:>f4,y:f4,z:f4"],
)  # fmt: skip
def test_no_layout(layout):
    with pytest.raises(ValueError, match="nor a list of columns"):
        replace(frame(), lidar_layout=layout)


def test_names_stand_for_float32_columns():
    assert parse_layout("kitti").record.itemsize == 16
    assert parse_layout("nuscenes").record.names == ("x", "y", "z", "intensity", "ring")
