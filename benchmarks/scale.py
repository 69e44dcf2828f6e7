"""A run and a data set of nuScenes' full size: planning, indexing, inspecting; tables to frames.parquet.

Times are what one process computes: all of it is reading and checking of what the disk has at hand.

`run_*`: 34,149 frames in 534 manifests as the writer makes them, with (sparse) files of the right sizes. A
process of its own plans what is left (`done_frames`), rebuilds the index, and summarises the run.
`tables`: tables with 2.6 million sample_data records become a checked frames.parquet, in another process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import numpy as np
from harness import Claim, score

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from shards import FINGERPRINT, make_frame

from labelgen.core.taxonomy import load_taxonomy
from labelgen.runs import open_run
from labelgen.shards import create_run, write_shard
from labelgen.shards.schema import OFFSETS
from labelgen.shards.writer import shard_id_of
from tests.helpers.nuscenes_root import CAMERAS, CATEGORIES, VERSION, make_dataroot, token

FRAMES, SCENES = 34_149, 850
SWEEPS = 77  # sample_data records for each keyframe of trainval
MEASURE = """
import resource, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
begin = time.process_time()
{code}
seconds = time.process_time() - begin
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(seconds, float(status["VmHWM"].split()[0]) / 1000, count)
"""
RUN = """
from labelgen.inspection.summary import summarise_run
from labelgen.runs import open_run
from labelgen.shards import build_index, done_frames
{code}
"""
STEPS = {
    "plan": "count = len(done_frames(folder).done)",
    "index": "build_index(folder); count = 0",
    "inspect": "count = summarise_run(open_run(folder))['frames']",
}
TABLES = """
from labelgen.datasets.nuscenes import plan_nuscenes
from labelgen.datasets.manifest import write_frames
frames, info = plan_nuscenes(folder)
write_frames(folder / "frames.parquet", frames, info)
count = len(frames)
"""


def run(quick: bool) -> list[Claim]:
    """All claims; goals are those of the project."""
    frames = FRAMES // 20 if quick else FRAMES
    claims: list[Claim] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        simulate_run(folder / "run", frames)
        for name, step in STEPS.items():
            seconds, megabytes, count = measure(RUN.format(code=step), folder / "run")
            agreement = {"frames": frames}
            assert count in (0, frames), count
            claims.append(
                score(f"run_{name}", seconds, goal=5.0, unit="s", lower_is_better=True, agreement=agreement)
            )
            claims.append(
                score(f"run_{name}_memory", megabytes, goal=1000.0, unit="MB", lower_is_better=True)
            )
        root = make_tables(folder, 40 if quick else SCENES, frames)
        seconds, megabytes, count = measure(TABLES, root)
        agreement = {"frames": int(count)}
        claims.append(
            score("tables", seconds, goal=90.0, unit="s", lower_is_better=True, agreement=agreement)
        )
        claims.append(score("tables_memory", megabytes, goal=6000.0, unit="MB", lower_is_better=True))
    return claims


def measure(code: str, folder: Path) -> tuple[float, float, float]:
    """Seconds that a process computes, imports of ours included, peak MB, and what the code counted."""
    command = [sys.executable, "-c", MEASURE.replace("{code}", code), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, megabytes, count = map(float, done.stdout.split())
    return seconds, megabytes, count


def simulate_run(folder: Path, frames: int) -> None:
    """Manifests for so many frames, after one that was really written, with files of the right sizes."""
    taxonomy = load_taxonomy("nuscenes16").to_dict()
    create_run(folder, fingerprint=FINGERPRINT, config={}, taxonomy=taxonomy, models=[])
    rng = np.random.default_rng(0)
    write_shard(folder, [make_frame(rng, number) for number in range(64)], [], fingerprint=FINGERPRINT)
    (manifest,) = open_run(folder).manifests
    data = json.loads((folder / f"manifests/{manifest.shard_id}.json").read_text())
    for begin in range(64, frames, 64):
        group = []
        for row, frame in enumerate(data["frames"][: min(64, frames - begin)]):
            number = begin + row
            hashes = {f"samples/{k}/{number}.jpg": "0" * 32 for k in range(7)}
            group.append(
                frame
                | {"frame_id": f"{number:032x}", "scene_id": f"scene-{number // 40:04d}"}
                | {"timestamp_us": 10**15 + number, "source_hashes": hashes, "seconds": {"regions": 1.0}}
            )
        name = shard_id_of([(entry["frame_id"], "source") for entry in group], FINGERPRINT)
        attempt = f"{begin:012x}"
        arrays = {
            key: entry | {"shape": [len(group), *entry["shape"][1:]]} if key.startswith("points/") else entry
            for key, entry in data["arrays"].items()
        }
        if len(group) < 64:
            for key in ("frame/id", "frame/timestamp_us", "frame/num_points", "frame/status"):
                arrays[key] = arrays[key] | {"shape": [len(group), *arrays[key]["shape"][1:]]}
            for key in OFFSETS.values():
                arrays[key] = arrays[key] | {"shape": [len(group) + 1]}
        path = f"shards/{name}-{attempt}.zarr"
        content = data | {
            "shard_id": name,
            "attempt": attempt,
            "path": path,
            "frames": group,
            "arrays": arrays,
        }
        for file, size in manifest.files():
            target = folder / path / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
            os.truncate(target, size)
        (folder / f"manifests/{name}.json").write_text(json.dumps(content, indent=1))


def make_tables(folder: Path, scenes: int, frames: int) -> Path:
    """nuScenes tables of so many keyframes, each with the sweeps of all twelve sensors."""
    root = make_dataroot(folder, scenes=1, samples=1, points=20, image_size=(32, 18))
    tables = root / VERSION
    calibrations = json.loads((tables / "calibrated_sensor.json").read_text())
    sensors = json.loads((tables / "sensor.json").read_text())
    channel = {sensor["token"]: sensor["channel"] for sensor in sensors}
    rig = {channel[entry["sensor_token"]]: entry["token"] for entry in calibrations}
    pose = json.loads((tables / "ego_pose.json").read_text())[0]
    log = json.loads((tables / "scene.json").read_text())[0]
    per_scene = [frames // scenes + (number < frames % scenes) for number in range(scenes)]
    write_list(
        tables / "scene.json",
        (log | {"token": token("s", n), "name": f"scene-{n:04d}"} for n in range(scenes)),
    )
    order = [(scene, index) for scene, count in enumerate(per_scene) for index in range(count)]
    write_list(
        tables / "sample.json",
        (
            {"token": token("k", s, i), "timestamp": 10**15 + i * 500_000, "scene_token": token("s", s)}
            for s, i in order
        ),
    )
    channels = ["LIDAR_TOP", *CAMERAS]

    def shots() -> Iterator[dict[str, Any]]:
        for s, i in order:
            for n in range(SWEEPS):
                name = channels[n % len(channels)]
                identity = token("d", s, i, n)
                yield {
                    "token": identity,
                    "sample_token": token("k", s, i),
                    "ego_pose_token": identity,
                    "calibrated_sensor_token": rig[name],
                    "timestamp": 10**15 + i * 500_000 + n,
                    "fileformat": "jpg",
                    "is_key_frame": n < len(channels),
                    "height": 900,
                    "width": 1600,
                    "filename": f"samples/{name}/n015-2018-07-24-11-22-45__{name}__{s:04d}{i:04d}{n:03d}.jpg",
                    "prev": token("d", s, i, n - 1),
                    "next": token("d", s, i, n + 1),
                }

    write_list(tables / "sample_data.json", shots())
    write_list(
        tables / "ego_pose.json",
        (pose | {"token": token("d", s, i, n)} for s, i in order for n in range(SWEEPS)),
    )
    names = [{"token": token("c", n), "name": name, "index": n} for n, name in enumerate(CATEGORIES)]
    write_list(tables / "category.json", iter(names))
    for table in ("lidarseg", "panoptic"):
        ending = "lidarseg.bin" if table == "lidarseg" else "panoptic.npz"
        labels = (
            {"token": t, "sample_data_token": t, "filename": f"{table}/{VERSION}/{t}_{ending}"}
            for t in (token("d", s, i, 0) for s, i in order)
        )
        write_list(tables / f"{table}.json", labels)
    return root


def write_list(path: Path, records: Iterator[dict[str, Any]]) -> None:
    """JSON, one record after another, as nuScenes writes it: a field a line."""
    with path.open("w") as file:
        file.write("[\n")
        for number, record in enumerate(records):
            file.write(",\n" if number else "")
            file.write(json.dumps(record, indent=0))
        file.write("\n]\n")


if __name__ == "__main__":
    harness.main("scale", __doc__, run)
