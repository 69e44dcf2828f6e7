"""Publishing: whole or not at all, once."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from labelgen.core.errors import UserError
from labelgen.io import atomic


def test_the_first_wins_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert atomic.create(path, b"first")
    assert not atomic.create(path, b"second")
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["a.json"]


def test_of_many_at_once_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    contents = [bytes([65 + n]) * 10_000 for n in range(16)]
    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(lambda content: atomic.create(path, content), contents))
    assert won.count(True) == 1
    assert path.read_bytes() == contents[won.index(True)]
    assert os.listdir(tmp_path) == ["a.json"]


def test_replace_never_leaves_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    atomic.replace(path, b"old")
    atomic.replace(path, b"new")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        atomic.replace(path, b"newest")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_no_hard_links_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(UserError, match="hard links"):
        atomic.create(tmp_path / "a", b"")
    assert not os.listdir(tmp_path)
