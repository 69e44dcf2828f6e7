"""A SemanticKITTI data root made from scratch: calibration, poses, splits, labels, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from labelgen.core.errors import FrameError, UserError
from labelgen.core.taxonomy import load_taxonomy
from labelgen.datasets import load_panoptic, load_truth, plan_frames
from labelgen.datasets.semantickitti import CATEGORIES

TAXONOMY = load_taxonomy("semantickitti19")
#: Original id to 1..19, as published with the benchmark.
LEARNING_MAP = {
    0: 0, 1: 0, 10: 1, 11: 2, 13: 5, 15: 3, 16: 5, 18: 4, 20: 5, 30: 6, 31: 7, 32: 8, 40: 9, 44: 10, 48: 11,
    49: 12, 50: 13, 51: 14, 52: 0, 60: 9, 70: 15, 71: 16, 72: 17, 80: 18, 81: 19, 99: 0, 252: 1, 253: 7,
    254: 6, 255: 8, 256: 5, 257: 5, 258: 4, 259: 5,
}  # fmt: skip
TR = np.eye(4)
TR[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
TR[:3, 3] = [0.05, -0.07, -0.27]
K = np.array([[70.0, 0, 60], [0, 70, 20], [0, 0, 1]])


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for sequence in ("00", "08"):
        folder = tmp_path / "sequences" / sequence
        for name in ("velodyne", "image_2", "labels"):
            (folder / name).mkdir(parents=True)
        P2 = np.hstack([K, (K @ [0.06, 0, 0])[:, None]])
        lines = [f"P0: {' '.join(map(str, np.hstack([K, np.zeros((3, 1))]).ravel()))}"]
        lines += [f"P2: {' '.join(map(str, P2.ravel()))}", f"Tr: {' '.join(map(str, TR[:3].ravel()))}"]
        (folder / "calib.txt").write_text("\n".join(lines) + "\n")
        poses = []
        for number in range(3):
            rng.normal(size=(50, 4)).astype(np.float32).tofile(folder / f"velodyne/{number:06}.bin")
            Image.new("RGB", (120, 40)).save(folder / f"image_2/{number:06}.png")
            ids = rng.choice(list(CATEGORIES.values()), 50).astype(np.uint32)
            (ids | np.uint32(number + 7) << np.uint32(16)).tofile(folder / f"labels/{number:06}.label")
            pose = np.eye(4)
            pose[:3, :3] = Rotation.from_euler("y", 0.1 * number).as_matrix()
            pose[:3, 3] = [0, 0, 2.0 * number]  # the camera's z is ahead
            poses.append(" ".join(map(str, pose[:3].ravel())))
        (folder / "poses.txt").write_text("\n".join(poses) + "\n")
        (folder / "times.txt").write_text("0.0\n0.1\n0.2\n")
    return tmp_path


def test_the_classes_are_those_of_the_benchmark():
    table = TAXONOMY.train_id_table(CATEGORIES)
    assert len(TAXONOMY) == 19
    assert [spec.thing for spec in TAXONOMY.classes] == [True] * 8 + [False] * 11
    for raw, number in LEARNING_MAP.items():
        assert table[raw] == (number - 1 if number else 255), raw
    assert set(LEARNING_MAP) == set(CATEGORIES.values())


def test_frames_follow_calibration_and_poses(root):
    frames, info = plan_frames("semantickitti", root)
    assert [f.frame_id for f in frames] == [f"{s}_{n:06}" for s in ("00", "08") for n in range(3)]
    assert (info.missing_files, info.dataset) == (0, "semantickitti")
    frame = frames[1]
    assert (frame.scene_id, frame.index, frame.timestamp_us) == ("00", 1, 100_000)
    point = np.array([12.0, 1.5, -1.0, 1])  # ahead, left, below
    in_camera = TR @ point + [0.06, 0, 0, 0]
    np.testing.assert_allclose(frame.cameras[0].camera_from_lidar @ point, in_camera, atol=1e-12)
    np.testing.assert_allclose(frame.cameras[0].intrinsics, K)
    np.testing.assert_allclose(frames[0].global_from_lidar, np.eye(4), atol=1e-12)
    moved = np.linalg.inv(TR) @ [0, 0, 2.0, 1] - np.linalg.inv(TR) @ [0, 0, 0, 1]
    origin = TR @ [0, 0, 0, 1]
    turned = Rotation.from_euler("y", 0.1).as_matrix() @ origin[:3]
    expected = np.linalg.inv(TR) @ [*turned, 1] + moved
    np.testing.assert_allclose(frame.global_from_lidar[:3, 3], expected[:3], atol=1e-12)


def test_splits_and_lists_of_sequences(root):
    assert {f.scene_id for f in plan_frames("semantickitti", root, split="val")[0]} == {"08"}
    assert {f.scene_id for f in plan_frames("semantickitti", root, split="00,08")[0]} == {"00", "08"}
    with pytest.raises(UserError, match=r"no sequence 01.*choose from 00, 08"):
        plan_frames("semantickitti", root, split="train")
    with pytest.raises(UserError, match="no versions"):
        plan_frames("semantickitti", root, version="v1")
    with pytest.raises(UserError, match="no sequence with velodyne"):
        plan_frames("semantickitti", root / "sequences")


def test_labels_have_a_class_and_an_instance(root):
    frames, info = plan_frames("semantickitti", root, split="08")
    table = TAXONOMY.train_id_table(info.categories)
    for number, frame in enumerate(frames):
        raw = np.fromfile(root / frame.label_path, np.uint32)
        expected = [(LEARNING_MAP[int(v) & 0xFFFF] or 256) - 1 for v in raw]
        assert load_truth(root, frame, table, 50).tolist() == expected
        classes, instances = load_panoptic(root, frame, table, 50)
        assert classes.tolist() == expected
        assert (instances == number + 7).all()
    with pytest.raises(FrameError, match="50 labels for 49 points"):
        load_truth(root, frames[0], table, 49)
    with pytest.raises(FrameError, match="50 labels for 49 points"):
        load_panoptic(root, frames[0], table, 49)
    np.full(50, 60_000, np.uint32).tofile(root / frames[0].label_path)
    assert (load_truth(root, frames[0], table, 50) == 255).all()
    (root / frames[0].label_path).write_bytes(b"12345")
    with pytest.raises(FrameError, match="not a whole number of uint32"):
        load_truth(root, frames[0], table, None)
    (root / frames[1].label_path).unlink()
    without = plan_frames("semantickitti", root, split="08")[0]
    assert (without[1].label_path, without[2].label_path is None) == (None, False)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("calib.txt", "P2: 1 2 3\n", "no P2, Tr"),
        ("calib.txt", f"P2: {'0 ' * 12}\nTr: 1 0 0 0 0 1 0 0 0 0 1 0\n", "P2 is not"),
        ("calib.txt", f"P2: {'1 ' * 12}\nTr: 2 0 0 0 0 1 0 0 0 0 1 0\n", "Tr is not a rotation"),
        ("poses.txt", "1 2 3\n", "12 numbers are expected in each line"),
        ("poses.txt", "1 0 0 0 0 1 0 0 0 0 1 0\n", "1 poses"),
        ("poses.txt", "1 0 0 0 0 1 0 0 0 0 1 0\n" * 2 + "2 0 0 0 0 1 0 0 0 0 1 0\n", "line 3"),
        ("times.txt", "nan\n0\n0\n", "1 numbers are expected in each line"),
        ("times.txt", None, r"cannot read .*times\.txt"),
    ],
)
def test_what_is_broken_is_named(root, file, content, message):
    path = root / "sequences/08" / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(UserError, match=message):
        plan_frames("semantickitti", root, split="08")


def test_files_that_are_no_scan_are_passed_over(root):
    """What macOS, Windows, a browser and a broken download leave beside scans, images and labels."""
    expected, _ = plan_frames("semantickitti", root)
    folder = root / "sequences/08"
    for name in ("._000000.bin", "000000 (1).bin", "000001 - Copy.bin", "000002.bin.part", "\u00b2.bin"):
        (folder / "velodyne" / name).write_bytes(b"\0\5\26\7")
    for name in ("._000000.png", "-1.png", "Thumbs.db", ".DS_Store"):
        (folder / "image_2" / name).write_bytes(b"\0\5\26\7")
    for name in ("._08", "08 (1)"):
        (root / "sequences" / name / "velodyne").mkdir(parents=True)
    (root / "sequences/._00").write_bytes(b"")
    found, _ = plan_frames("semantickitti", root)
    assert [(f.frame_id, f.source_id) for f in found] == [(f.frame_id, f.source_id) for f in expected]


def test_a_scan_that_is_there_under_a_wrong_name_alone_is_told(root):
    scans = root / "sequences/08/velodyne"
    assert plan_frames("semantickitti", root, split="08")[1].notes == ()
    (scans / "000001.bin").rename(scans / "000001 (1).bin")
    (scans / "000002 (1).bin").write_bytes((scans / "000002.bin").read_bytes())
    frames, info = plan_frames("semantickitti", root, split="08")
    assert [frame.frame_id for frame in frames] == ["08_000000", "08_000002"]
    (note,) = info.notes
    assert "000001 (1).bin is not a scan's name" in note


def test_scans_are_in_the_order_of_their_numbers_whatever_their_digits(root):
    folder = root / "sequences/08/velodyne"
    (folder / "000000.bin").rename(folder / "00002.bin")
    with pytest.raises(UserError, match=r"000002\.bin and 00002\.bin are the same scan"):
        plan_frames("semantickitti", root, split="08")
    (folder / "000002.bin").unlink()
    frames, _ = plan_frames("semantickitti", root, split="08")
    assert [(f.frame_id, f.index, f.timestamp_us) for f in frames] == [
        ("08_000001", 0, 100_000),
        ("08_00002", 1, 200_000),
    ]
    (folder / "00002.bin").rename(folder / "9.bin")
    with pytest.raises(UserError, match=r"scan 9\.bin, but 3 poses"):
        plan_frames("semantickitti", root, split="08")


def test_the_size_is_that_of_the_first_image_that_can_be_read(root):
    images = root / "sequences/08/image_2"
    (images / "000000.png").write_text("no picture")
    (camera,) = plan_frames("semantickitti", root, split="08")[0][0].cameras
    assert (camera.width, camera.height) == (120, 40)
    for path in images.glob("*.png"):
        path.write_text("no picture")
    with pytest.raises(UserError, match=r"cannot read .*000000\.png"):
        plan_frames("semantickitti", root, split="08")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("R0_rect: 0.9999 0.0098 -0.0074 -0.0099 0.9999 -0.0043 0.0074 0.0044 1", True),
        ("D_02: -0.37 0.2 0.001 0.0006 -0.07", True),
        ("R0_rect: 1 0 0 0 1 0 0 0 1", False),
        ("D_02: 0 0 0 0 0", False),
        ("calib_time: 09-Jan-2012 13:57:47", False),
        ("Tr_imu_to_velo: 1 0 0 0 0 1 0 0 0 0 1 0", False),
    ],
)
def test_lines_of_images_that_are_not_rectified_are_named(root, line, named):
    with open(root / "sequences/08/calib.txt", "a") as file:
        file.write(line + "\n")
    notes = plan_frames("semantickitti", root, split="val")[1].notes
    assert len(notes) == named
    assert all(f"08/calib.txt: {line.partition(':')[0]} is not read" in note for note in notes)
