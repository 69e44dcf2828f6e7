"""Real frames labelled by a real network's class maps: as many right as a reader of these files can reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import labelgen

NAMES = {"car": 4, "pedestrian": 7, "truck": 10}


@pytest.fixture(scope="module")
def maps(shared_data: Path) -> Path:
    folder = shared_data / "class-maps"
    if not folder.is_dir():
        pytest.skip(f"no class maps at {folder}")
    return folder


def labels(dataset: str, root: Path, maps: Path, kind: str, out: Path):
    """Names of the classes of a frame's points; empty for none."""
    settings = {
        "regions.backend": "files",
        "regions.folder": str(maps / "uov"),
        "regions.superpixel_score": 0,
        "semantics.backend": "given",
        "semantics.folder": str(maps / kind),
        "runtime.runner": "sequential",
    }
    done = labelgen.label(labelgen.plan(dataset, root, settings=settings, output=out), with_report=False)
    run = labelgen.open_run(done.run)
    label = run.frame(run.frames[0]).labels.label
    return np.array([*run.taxonomy.names, *[""] * (256 - len(run.taxonomy))])[label]


@pytest.mark.parametrize(
    ("kind", "right", "most"), [("uov", 4558, 5698), ("classes", 4558, 5698), ("probabilities", 4558, 5698)]
)
def test_kitti_cars(kitti_frame, maps, tmp_path, kind, right, most):
    car = labels("semantickitti", kitti_frame, maps, kind, tmp_path / "run") == "car"
    box = np.load(kitti_frame / "things_from_boxes.npz")["car"] > 0
    assert (car & box).sum() >= right
    assert car.sum() <= most, "a precision of 0.8"


def test_nuscenes_things(nuscenes_keyframe, maps, tmp_path):
    found = labels("nuscenes", nuscenes_keyframe, maps, "uov", tmp_path / "run")
    box = np.load(nuscenes_keyframe / "things_from_boxes.npz")["label"]
    counts = {
        name: (int(((found == name) & (box == n)).sum()), int((found == name).sum()))
        for name, n in NAMES.items()
    }
    assert counts == {"car": (56, 302), "pedestrian": (49, 90), "truck": (98, 98)}
