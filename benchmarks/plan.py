"""Making a plan: nuScenes tables to frames beside nuscenes-devkit, and frames.parquet at full nuScenes size.

`plan_nuscenes` runs both readers as fresh processes, imports included, on made tables with as many records
per keyframe as nuScenes trainval has (72 sample_data, 34 annotations). `frames_parquet` writes and reads
34,149 frames with 6 cameras and checks every value, beside the plain way, row by row and without any check.
`plan_checks` looks at as many for what makes no sense, in the tables alone.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import Claim, faster, interleave, score

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from labelgen.core.frame import Camera, Frame
from labelgen.datasets import DatasetInfo, plan_frames, read_frames, write_frames
from labelgen.datasets.checks import PlanInput, check_plan
from labelgen.datasets.manifest import SCHEMA
from tests.helpers.nuscenes_root import VERSION, edit_table, make_dataroot, token

OURS = """
from pathlib import Path
from labelgen.datasets.nuscenes import plan_nuscenes
plan = {f.frame_id: [c.camera_from_lidar for c in f.cameras] for f in plan_nuscenes(Path(root))[0]}
"""
DEVKIT = """
from nuscenes import NuScenes
from nuscenes.utils.geometry_utils import transform_matrix
from pyquaternion import Quaternion
from labelgen.datasets.nuscenes import CAMERA_ORDER
nusc = NuScenes(version, root, verbose=False)
def pose(record):
    chain = [nusc.get("ego_pose", record["ego_pose_token"]),
             nusc.get("calibrated_sensor", record["calibrated_sensor_token"])]
    one, other = [transform_matrix(r["translation"], Quaternion(r["rotation"])) for r in chain]
    return one @ other
plan = {}
for sample in nusc.sample:
    lidar = pose(nusc.get("sample_data", sample["data"]["LIDAR_TOP"]))
    cameras = [nusc.get("sample_data", sample["data"][name]) for name in CAMERA_ORDER]
    plan[sample["data"]["LIDAR_TOP"]] = [np.linalg.inv(pose(camera)) @ lidar for camera in cameras]
"""
# The peak of this process alone: ru_maxrss would count what the parent had before it forked.
REPORT = """
sums = np.array([np.sum(plan[key], axis=(1, 2)) for key in sorted(plan)])
np.save(out, sums)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(float(status["VmHWM"].split()[0]) / 1000)
"""


def make_tables(folder: Path, samples: int) -> Path:
    """A data root whose tables hold many samples; of files there are only those of the first."""
    root = make_dataroot(folder, scenes=1, samples=1, points=50, image_size=(32, 18))
    for table in ("lidarseg", "panoptic"):
        (root / VERSION / f"{table}.json").unlink()

    def grow(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Every sensor's record of every sample, and ten sweeps for each."""
        keys = [r for r in records if r.get("is_key_frame", True)]
        out = []
        for number in range(samples):
            for record in keys:
                for sweep in range(10):
                    new = {"token": token(record["token"], number, sweep)}
                    if "sample_token" in record:
                        new |= {"sample_token": token(number), "ego_pose_token": new["token"]}
                        new |= {"is_key_frame": sweep == 0}
                    out.append({**record, **new})
        return out

    kept = json.loads((root / VERSION / "sample_data.json").read_text())
    sweeps = {r["token"] for r in kept if not r["is_key_frame"]}
    edit_table(root, "ego_pose", lambda poses: [p for p in poses if p["token"] not in sweeps])
    edit_table(root, "sample_data", grow)
    edit_table(root, "ego_pose", grow)
    edit_table(
        root, "sample", lambda s: [{**s[0], "token": token(k), "timestamp": k} for k in range(samples)]
    )
    thing = {
        "token": token("thing"),
        "category_token": token("category", "vehicle.car"),
        "nbr_annotations": 1,
    }
    edit_table(root, "instance", lambda _: [thing])
    box = {"instance_token": thing["token"], "translation": [1.25, 2.5, 3.75], "size": [1.9, 4.5, 1.6]}
    box |= {
        "rotation": [1.0, 0.0, 0.0, 0.0],
        "visibility_token": "4",
        "attribute_tokens": [],
        "num_lidar_pts": 9,
    }
    boxes = [
        {"token": token(k, b), "sample_token": token(k), **box} for k in range(samples) for b in range(34)
    ]
    edit_table(root, "sample_annotation", lambda _: boxes)
    return root


def bench_nuscenes(folder: Path, quick: bool) -> list[Claim]:
    samples = 300 if quick else 3400
    root = make_tables(folder, samples)
    peaks: dict[str, list[float]] = {"ours": [], "devkit": []}

    def call(name: str, code: str) -> None:
        head = (
            f"import numpy as np; root, version, out = {str(root)!r}, {VERSION!r}, {str(folder / name)!r}\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", head + code + REPORT], capture_output=True, text=True, check=True
        )
        peaks[name].append(float(done.stdout))

    times = interleave(
        {"ours": lambda: call("ours", OURS), "devkit": lambda: call("devkit", DEVKIT)},
        seconds=0,
        min_rounds=2 if quick else 3,
        warmup=0 if quick else 1,
    )
    sums = {name: np.load(folder / f"{name}.npy") for name in peaks}
    apart = float(np.abs(sums["ours"] - sums["devkit"]).max())
    agreement = {"frames": len(sums["ours"]), "apart": apart}
    memory = {name: float(np.median(values)) for name, values in peaks.items()}
    return [
        faster(
            "plan_nuscenes",
            times["ours"],
            times["devkit"],
            goal=1.5,
            unit="s",
            agreement=agreement,
            valid=apart < 1e-9,
        ),
        score(
            "plan_nuscenes_memory",
            memory["ours"],
            baseline=memory["devkit"],
            goal=2.0,
            unit="MB",
            lower_is_better=True,
        ),
    ]


def bench_parquet(folder: Path, quick: bool) -> list[Claim]:
    count = 5_000 if quick else 34_149
    made, info = plan_frames("nuscenes", make_dataroot(folder, points=50, image_size=(32, 18)))
    frames = [many(made[0], number) for number in range(count)]
    ours, theirs = folder / "ours.parquet", folder / "theirs.parquet"
    times = interleave(
        {
            "ours": lambda: (write_frames(ours, frames, info), read_frames(ours)),
            "rows": lambda: (write_rows(theirs, frames, info), read_rows(theirs)),
        },
        seconds=0,
        min_rounds=2 if quick else 5,
        warmup=1,
    )
    one, other = digest(read_frames(ours)[0]), digest(read_rows(theirs))
    agreement = {"frames": count, "equal": str(one == other)}
    return [
        faster(
            "frames_parquet",
            times["ours"],
            times["rows"],
            goal=None,
            unit="s",
            agreement=agreement,
            valid=one == other,
        )
    ]


def bench_checks(folder: Path, quick: bool) -> list[Claim]:
    made, info = plan_frames("nuscenes", make_dataroot(folder, points=50, image_size=(32, 18)))
    frames = [many(made[0], number) for number in range(5_000 if quick else 34_149)]
    begin = time.process_time()
    check_plan(PlanInput(folder, frames, info, sample=0))
    seconds = time.process_time() - begin
    return [score("plan_checks", seconds, goal=2.0, unit="CPU s", lower_is_better=True)]


def many(frame: Frame, number: int) -> Frame:
    cameras = tuple(replace(c, image_path=f"{c.image_path}.{number}") for c in frame.cameras)
    return replace(frame, frame_id=token(number), index=number, cameras=cameras)


def write_rows(path: Path, frames: list[Frame], info: DatasetInfo) -> None:
    """The plain way: one dictionary per row, every number a Python object."""
    rows = []
    for frame in frames:
        row = dict(vars(frame))
        row["global_from_lidar"] = frame.global_from_lidar.ravel().tolist()
        row["cameras"] = [
            {
                **vars(camera),
                "intrinsics": camera.intrinsics.ravel().tolist(),
                "camera_from_lidar": camera.camera_from_lidar.ravel().tolist(),
            }
            for camera in frame.cameras
        ]
        rows.append(row)
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path, compression="zstd")


def read_rows(path: Path) -> list[Frame]:
    frames = []
    for row in pq.read_table(path).to_pylist():
        row["global_from_lidar"] = np.array(row["global_from_lidar"]).reshape(4, 4)
        for camera in row["cameras"]:
            camera["intrinsics"] = np.array(camera["intrinsics"]).reshape(3, 3)
            camera["camera_from_lidar"] = np.array(camera["camera_from_lidar"]).reshape(4, 4)
        row["cameras"] = tuple(Camera(**camera) for camera in row["cameras"])
        frames.append(Frame(**row))
    return frames


def digest(frames: list[Frame]) -> str:
    hasher = hashlib.blake2b()
    for frame in frames:
        hasher.update(f"{frame.frame_id} {frame.lidar_path} {frame.index}".encode())
        hasher.update(frame.global_from_lidar.tobytes())
        for camera in frame.cameras:
            hasher.update(camera.image_path.encode() + camera.camera_from_lidar.tobytes())
    return hasher.hexdigest()


def run(quick: bool) -> list[Claim]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a").mkdir()
        (folder / "b").mkdir()
        (folder / "c").mkdir()
        return (
            bench_nuscenes(folder / "a", quick)
            + bench_parquet(folder / "b", quick)
            + bench_checks(folder / "c", quick)
        )


if __name__ == "__main__":
    harness.main("plan", __doc__, run)
