"""What the command line makes of errors that nobody caught."""

import errno

import labelgen.shards
from tests.helpers.cli import Shell


def test_a_disk_that_fails_is_one_line(monkeypatch, capsys):
    def open_run(run):
        raise OSError(errno.EROFS, "Read-only file system", f"{run}/manifests")

    monkeypatch.setattr(labelgen.shards, "open_run", open_run)
    result = Shell(monkeypatch, capsys)("inspect", "somewhere")
    assert (result.code, result.err) == (2, "error: somewhere/manifests: Read-only file system\n")
