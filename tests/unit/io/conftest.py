"""No test here can see whether data reached the disk, and flushing takes most of their time."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
