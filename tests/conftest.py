"""Fixtures for all tests: where the real frames are, if they are anywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real frames; they are never part of the repository."""
    folder = Path(os.environ.get("LABELGEN_SHARED_DATA") or _REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set LABELGEN_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def nuscenes_keyframe(shared_data: Path) -> Path:
    """nuScenes data root with one real keyframe, and ``reference/<CAM>.npz`` of its projection."""
    return _folder(shared_data / "nuscenes-keyframe")


@pytest.fixture(scope="session")
def kitti_frame(shared_data: Path) -> Path:
    """One real KITTI frame laid out as SemanticKITTI sequence 08, with ``reference/image_2.npz``."""
    return _folder(shared_data / "kitti-frame")


def _folder(path: Path) -> Path:
    if not path.is_dir():
        pytest.skip(f"no real data at {path}")
    return path
