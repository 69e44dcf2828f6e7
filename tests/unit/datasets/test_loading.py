"""Clouds and truth: exact when whole, a `FrameError` that names frame and file when not."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelgen.core.errors import FrameError
from labelgen.datasets import loading
from labelgen.datasets.loading import load_cloud, load_panoptic, load_truth

from .frames import make_frame, refused


@pytest.fixture
def frame():
    return replace(make_frame(np.random.default_rng(0)), lidar_path="cloud.bin", label_path="truth.bin")


def records(n: int = 40, fields: int = 5) -> np.ndarray:
    rng = np.random.default_rng(3)
    out = rng.normal(0, 20, (n, fields)).astype(np.float32)
    out[:, 4:] = rng.integers(0, 32, (n, fields - 4))
    return out


class TestCloud:
    def test_nothing_is_dropped_or_reordered(self, tmp_path, frame):
        stored = records()
        stored[3, 0], stored[7, :3], stored[9, 3] = np.nan, np.inf, np.nan
        (tmp_path / "cloud.bin").write_bytes(stored.tobytes())
        cloud, digest = load_cloud(tmp_path, frame)
        np.testing.assert_array_equal(cloud.xyz, stored[:, :3])
        np.testing.assert_array_equal(cloud.intensity, stored[:, 3])
        np.testing.assert_array_equal(cloud.ring, stored[:, 4])
        assert (cloud.xyz.dtype, cloud.intensity.dtype, cloud.ring.dtype) == (
            np.float32,
            np.float32,
            np.uint8,
        )
        assert cloud.xyz.flags["C_CONTIGUOUS"]
        assert digest == hashlib.blake2b(stored.tobytes(), digest_size=16).hexdigest()

    def test_kitti_has_no_ring(self, tmp_path, frame):
        stored = records(fields=4)
        (tmp_path / "cloud.bin").write_bytes(stored.tobytes())
        cloud, _ = load_cloud(tmp_path, replace(frame, lidar_layout="kitti"))
        np.testing.assert_array_equal(cloud.xyz, stored[:, :3])
        assert cloud.ring is None

    def test_a_ring_that_is_none_becomes_the_mark(self, tmp_path, frame):
        stored = records(6)
        stored[:, 4] = [np.nan, -1, 255, 1e9, np.inf, 254]
        (tmp_path / "cloud.bin").write_bytes(stored.tobytes())
        assert load_cloud(tmp_path, frame)[0].ring.tolist() == [255, 255, 255, 255, 255, 254]

    @pytest.mark.parametrize("cut", [1, 2, 3, 4, 7, 16, 19])
    def test_truncated(self, tmp_path, frame, cut):
        (tmp_path / "cloud.bin").write_bytes(records().tobytes()[:-cut])
        assert "truncated" in refused(load_cloud, tmp_path, frame)

    def test_empty_or_nothing_finite(self, tmp_path, frame):
        path = tmp_path / "cloud.bin"
        path.write_bytes(b"")
        assert "empty" in refused(load_cloud, tmp_path, frame)
        stored = records()
        stored[:, 1] = np.nan
        path.write_bytes(stored.tobytes())
        assert "none of its 40 points is finite" in refused(load_cloud, tmp_path, frame)

    def test_no_regular_file_of_bounded_size(self, tmp_path, frame, monkeypatch):
        assert "no such file" in refused(load_cloud, tmp_path, frame)
        assert "no such file" in refused(load_cloud, tmp_path / "elsewhere", frame)
        (tmp_path / "cloud.bin").mkdir()
        assert "not a regular file" in refused(load_cloud, tmp_path, frame)
        os.mkfifo(tmp_path / "pipe")
        assert "not a regular file" in refused(load_cloud, tmp_path, replace(frame, lidar_path="pipe"))
        (tmp_path / "big.bin").write_bytes(records().tobytes())
        monkeypatch.setattr(loading, "CLOUD_LIMIT", 100)
        assert "more than 100" in refused(load_cloud, tmp_path, replace(frame, lidar_path="big.bin"))
        monkeypatch.undo()
        monkeypatch.setattr(loading, "MOST_POINTS", 39)
        message = refused(load_cloud, tmp_path, replace(frame, lidar_path="big.bin"))
        assert "at most 39 points" in message

    @pytest.mark.parametrize(
        "path", ["../cloud.bin", "a/../../cloud.bin", "/etc/hostname", "", "a\0b", "..", "a\\b"]
    )
    def test_a_path_that_leaves_the_root_is_not_opened(self, tmp_path, frame, path):
        root = tmp_path / "root"
        root.mkdir()
        (tmp_path / "cloud.bin").write_bytes(records().tobytes())
        with pytest.raises(FrameError, match="leaves the data root"):
            load_cloud(root, replace(frame, lidar_path=path))

    def test_links_of_the_owner_are_followed(self, tmp_path, frame):
        (tmp_path / "disk2").mkdir()
        (tmp_path / "disk2" / "cloud.bin").write_bytes(records().tobytes())
        root = tmp_path / "root"
        root.mkdir()
        (root / "samples").symlink_to(tmp_path / "disk2")
        assert len(load_cloud(root, replace(frame, lidar_path="samples/cloud.bin"))[0]) == 40


class TestTruth:
    def test_ids_become_train_ids(self, tmp_path: Path, frame):
        rng = np.random.default_rng(0)
        table = rng.integers(0, 256, 256).astype(np.uint8)
        ids = rng.integers(0, 256, 100).astype(np.uint8)
        (tmp_path / "truth.bin").write_bytes(ids.tobytes())
        truth = load_truth(tmp_path, frame, table, 100)
        assert truth.tolist() == [table[i] for i in ids]
        assert truth.dtype == np.uint8
        assert len(load_truth(tmp_path, frame, table, None)) == 100

    @pytest.mark.parametrize("length", [0, 99, 101])
    def test_another_length_is_refused(self, tmp_path, frame, length):
        (tmp_path / "truth.bin").write_bytes(bytes(length))
        message = refused(load_truth, tmp_path, frame, np.zeros(256, np.uint8), 100)
        assert f"{length} labels for 100 points" in message

    @pytest.mark.parametrize("name", ["truth.bin", "truth.label"])
    def test_far_too_large_a_file_is_not_read(self, tmp_path, frame, name):
        with open(tmp_path / name, "wb") as file:
            file.truncate(1 << 29)
        message = refused(load_truth, tmp_path, replace(frame, label_path=name), np.zeros(256, np.uint8), 100)
        assert f"{name}: 536870912 bytes; not read" in message

    def test_no_truth(self, tmp_path, frame):
        assert "no such file" in refused(load_truth, tmp_path, frame, np.zeros(256, np.uint8), 1)
        with pytest.raises(FrameError, match="no truth for this frame"):
            load_truth(tmp_path, replace(frame, label_path=None), np.zeros(256, np.uint8), 1)


#: Id 24 is of class 4, others of none.
TABLE = np.where(np.arange(256) == 24, 4, 255).astype(np.uint8)


class TestInstances:
    def test_npz_of_nuscenes(self, tmp_path, frame):
        frame = replace(frame, panoptic_path="p.npz")
        ids = np.array([24000, 17003, 17004], np.uint16)
        np.savez_compressed(tmp_path / "p.npz", data=ids)
        classes, instances = load_panoptic(tmp_path, frame, TABLE, 3)
        assert instances.tolist() == ids.tolist()
        assert classes.tolist() == [4, 255, 255]
        assert classes.dtype == np.uint8
        assert "3 labels for 2 points" in refused(load_panoptic, tmp_path, frame, TABLE, 2)
        without = replace(frame, panoptic_path=None)
        assert "no instances" in refused(load_panoptic, tmp_path, without, TABLE, 3)

    def test_an_npz_that_unpacks_to_too_much(self, tmp_path, frame):
        frame = replace(frame, panoptic_path="p.npz")
        np.savez_compressed(tmp_path / "p.npz", data=np.zeros(1_000_000, np.uint8))
        message = refused(load_panoptic, tmp_path, frame, TABLE, 3)
        assert "p.npz: data unpacks to 1000128 bytes" in message
        assert "another cloud" in message

    def test_labels_of_semantickitti(self, tmp_path, frame):
        np.array([24 | 7 << 16, 17, 65535 << 16 | 65535], "<u4").tofile(tmp_path / "p.label")
        frame = replace(frame, panoptic_path="p.label")
        classes, instances = load_panoptic(tmp_path, frame, TABLE, None)
        assert (classes.tolist(), instances.tolist()) == ([4, 255, 255], [7, 0, 65535])

    @pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04broken"])
    def test_what_is_no_npz(self, tmp_path, frame, content):
        (tmp_path / "p.npz").write_bytes(content)
        message = refused(load_panoptic, tmp_path, replace(frame, panoptic_path="p.npz"), TABLE, 3)
        assert "not an npz" in message

    def test_arrays_of_another_kind(self, tmp_path, frame):
        frame = replace(frame, panoptic_path="p.npz")
        for arrays in ({"other": np.zeros(3, int)}, {"data": np.zeros(3)}, {"data": np.zeros((3, 2), int)}):
            np.savez(tmp_path / "p.npz", **arrays)
            assert "not an npz with 'data'" in refused(load_panoptic, tmp_path, frame, TABLE, 3)
        for numbers in (np.array([-1, 0, 0]), np.array([2**32, 0, 0]), np.array([2**63, 0, 0], np.uint64)):
            np.savez(tmp_path / "p.npz", data=numbers)
            assert "32 bits" in refused(load_panoptic, tmp_path, frame, TABLE, 3)
        np.savez(tmp_path / "p.npz", data=np.array([{}, {}, {}], object))
        assert "not an npz" in refused(load_panoptic, tmp_path, frame, TABLE, 3)
