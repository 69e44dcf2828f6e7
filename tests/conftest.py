"""Fixtures for all tests: where the real frames are, if they are anywhere; an object store."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.helpers.s3 import S3Server

# How long an example takes says more of the machine than of the code.
settings.register_profile("labelgen", deadline=None)
settings.load_profile("labelgen")

_REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", autouse=True)
def environment_as_it_was() -> Iterator[None]:
    """What a module's tests, or what they call, set in the environment ends with the module.

    Ray sets its own, and its fixtures live as long as their module.
    """
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


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


@pytest.fixture(scope="session")
def shared_cases(shared_data: Path) -> Path:
    """Folder of the scripts that build inputs as users have them wrong."""
    return _folder(shared_data.parent / "cases")


def _folder(path: Path) -> Path:
    if not path.is_dir():
        pytest.skip(f"no real data at {path}")
    return path


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A server of an object store."""
    from tests.helpers.s3 import S3Server

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def object_store(s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The server, with an environment in which clients find it and do not wait long before they ask again."""
    from labelgen.io import clients

    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LABELGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(clients.RETRY, "first_wait_s", 0.01)
    monkeypatch.setitem(clients.RETRY, "longest_wait_s", 0.05)
    yield s3_server
    s3_server.fault = None
    s3_server.given.clear()
