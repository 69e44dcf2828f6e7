"""Which errors are waited for, how often, and for how long."""

import errno
from pathlib import Path

import pytest

from labelgen.core.errors import UserError
from labelgen.io.paths import read_file
from labelgen.io.retry import is_transient, patiently


def failing(times, error):
    """Fails so often, then gives the number of calls."""
    calls = []

    def action():
        calls.append(1)
        if len(calls) <= times:
            raise error
        return len(calls)

    return action


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNRESET])
def test_what_passes_is_tried_again(code):
    pauses = []
    assert patiently(failing(3, OSError(code, "x")), sleep=pauses.append) == 4
    assert len(pauses) == 3
    assert all(0 <= pause <= 0.25 * 2**k for k, pause in enumerate(pauses))


@pytest.mark.parametrize("code", [errno.ENOENT, errno.EACCES, errno.ENOSPC, errno.EROFS])
def test_what_stays_is_raised_at_once(code):
    pauses = []
    with pytest.raises(OSError, match="x"):
        patiently(failing(1, OSError(code, "x")), sleep=pauses.append)
    assert not pauses


def test_the_last_error_is_raised():
    pauses = []
    with pytest.raises(OSError, match="x"):
        patiently(failing(9, OSError(errno.EIO, "x")), attempts=3, sleep=pauses.append)
    assert len(pauses) == 2


def test_the_cause_counts():
    error = UserError("cannot write")
    error.__cause__ = OSError(errno.ESTALE, "x")
    assert is_transient(error)
    assert not is_transient(UserError("wrong"))


def test_pauses_differ():
    """Workers that failed together must not come back together."""
    pauses = []
    for _ in range(20):
        patiently(failing(1, OSError(errno.EIO, "x")), sleep=pauses.append)
    assert len(set(pauses)) == 20


def test_a_file_that_cannot_be_read_for_a_moment_is_read(tmp_path, monkeypatch):
    (tmp_path / "cloud.bin").write_bytes(b"points")
    real, calls = Path.read_bytes, []

    def flaky(path):
        calls.append(path)
        if len(calls) < 3:
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", flaky)
    monkeypatch.setattr("labelgen.io.retry.random.uniform", lambda low, high: 0.0)
    assert read_file(tmp_path, "cloud.bin", "x", 100) == b"points"
    assert len(calls) == 3
