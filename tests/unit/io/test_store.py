"""Whatever names a file of a run, what lies outside of the run's folder is neither read nor touched."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.core.errors import UserError
from labelgen.io.local import LocalStore
from labelgen.io.remote import RemoteStore
from labelgen.io.store import OutsideError, Store, checked_key
from labelgen.shards import create_run, verify, write_shard
from tests.helpers.runs import FINGERPRINT, make_run, some_records

#: What a store does with a key.
READ: dict[str, Callable[[Store, str], object]] = {
    "read": lambda store, key: store.read(key),
    "read_all": lambda store, key: store.read_all([key])[0],
    "exists": lambda store, key: store.exists(key),
    "children": lambda store, key: store.children(key),
    "sizes": lambda store, key: store.sizes(key),
    "inside": lambda store, key: store.inside(key),
    "changed": lambda store, key: store.changed(key),
    "open": lambda store, key: os.close(store.open(key, 6)),
    "fetch": lambda store, key: store.fetch(key, []),
}
WRITE: dict[str, Callable[[Store, str], object]] = {
    "create": lambda store, key: store.create(key, b"mine"),
    "replace": lambda store, key: store.replace(key, b"mine"),
    "move": lambda store, key: store.move(key, "taken"),
    "move to": lambda store, key: store.move("own", key),
    "remove": lambda store, key: store.remove(key),
}

pieces = st.sampled_from(
    [
        "..",
        ".",
        "",
        "a",
        "own",
        "out",
        "outside",
        "secret",
        "\\",
        "\n",
        "\x1b[2J",
        "\udc80",
        "\0",
        "~",
        "...",
        "é",
    ]
)
#: Paths of such pieces, and texts that are no paths at all.
keys = st.lists(pieces, max_size=6).map("/".join) | st.text(max_size=20)


def is_plain(key: str) -> bool:
    """What a key may be, said once more in another way."""
    parts = key.split("/")
    plain = all(part not in ("", ".", "..") for part in parts)
    return plain and not any(
        c == "\\" or ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in key
    )


@given(keys)
def test_keys_are_plain_paths(key: str) -> None:
    if is_plain(key):
        assert checked_key(key) == key
    else:
        with pytest.raises(OutsideError) as caught:
            checked_key(key)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("key", ["x" * 2000, "", "..\n", "a/\u2028/..", "shards//x", "/etc/passwd"])
def test_some_keys_that_are_none(key: str) -> None:
    with pytest.raises(OutsideError):
        checked_key(key)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place")


def set_up(place: Path) -> LocalStore:
    """A folder with a file of its own, a link out of it, and a file outside."""
    shutil.rmtree(place)
    for folder in ("run/a", "outside/sub"):
        (place / folder).mkdir(parents=True)
    (place / "run/own").write_text("own")
    (place / "run/out").symlink_to(place / "outside")
    (place / "outside/secret").write_text("secret")
    (place / "outside/sub/more").write_text("more")
    return LocalStore(place / "run")


def everything(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("name", [*READ, *WRITE])
@settings(max_examples=40)
@given(key=keys)
def test_nothing_outside_is_read_or_changed(place: Path, name: str, key: str) -> None:
    store = set_up(place)
    before = everything(place / "outside")
    try:
        result = (READ | WRITE)[name](store, key)
    except OSError as error:
        result = error
    assert everything(place / "outside") == before
    assert sorted(os.listdir(place)) == ["outside", "run"]
    if not (is_plain(key) or (key == "" and name in ("children", "sizes"))):
        assert isinstance(result, OutsideError)


@pytest.mark.parametrize("name", WRITE)
@pytest.mark.parametrize("key", ["out/secret", "out/new", "out/sub/more", "out/deep/er/new"])
def test_nothing_is_done_behind_a_link(place: Path, name: str, key: str) -> None:
    store = set_up(place)
    before = everything(place / "outside")
    with pytest.raises(OutsideError, match="link"):
        WRITE[name](store, key)
    assert everything(place / "outside") == before
    assert (place / "run/own").read_text() == "own"


def test_of_a_link_only_the_link_is_removed_moved_or_replaced(place: Path) -> None:
    for act in (
        lambda store: store.remove("out"),
        lambda store: store.move("out", "elsewhere"),
        lambda store: store.move("own", "out") if (store.folder / "out").unlink() is None else None,
    ):
        store = set_up(place)
        before = everything(place / "outside")
        act(store)
        assert everything(place / "outside") == before
    store = set_up(place)
    (store.folder / "file").symlink_to(place / "outside/secret")
    store.replace("file", b"mine")
    assert (place / "outside/secret").read_text() == "secret"
    assert (store.folder / "file").read_bytes() == b"mine"
    assert not (store.folder / "file").is_symlink()
    (store.folder / "a/out").symlink_to(place / "outside")
    store.remove("a")
    assert everything(place / "outside") == before


@pytest.mark.parametrize("kind", ["pipe", "folder", "loop", "zero"])
def test_what_is_no_file_is_an_error_at_once(tmp_path: Path, kind: str) -> None:
    store = LocalStore(tmp_path)
    path = tmp_path / "x"
    {
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "loop": lambda: path.symlink_to(path),
        "zero": lambda: path.symlink_to("/dev/zero"),
    }[kind]()
    with pytest.raises(OSError, match=r"not a regular file|directory|symbolic"):
        store.read("x")
    assert "x" not in store.sizes("") or store.sizes("")["x"] == 0


@pytest.mark.parametrize("folder", ["shards", "manifests", "features"])
def test_a_shard_is_not_written_through_a_link(tmp_path: Path, folder: str) -> None:
    run, outside = make_run(tmp_path / "run"), tmp_path / "outside"
    outside.mkdir()
    shutil.rmtree(run / folder, ignore_errors=True)
    (run / folder).symlink_to(outside)
    with pytest.raises(UserError, match=rf"{folder} leads through a link"):
        write_shard(run, some_records(count=1), [], fingerprint=FINGERPRINT)
    with pytest.raises(UserError, match=rf"{folder} leads through a link"):
        create_run(run, fingerprint=FINGERPRINT, config={}, taxonomy={}, models=[])
    assert list(outside.iterdir()) == []


def test_clean_does_not_reach_behind_a_link(tmp_path: Path) -> None:
    run, outside = make_run(tmp_path / "run"), tmp_path / "outside"
    outside.mkdir()
    (outside / "0123456789abcdef-0123456789ab.zarr").mkdir()
    (outside / "precious.partial").write_text("x")
    for folder in ("shards", "manifests"):
        (run / folder).rmdir()
        (run / folder).symlink_to(outside)
    before = everything(outside)
    verify(run, clean=True, min_age=-1)
    assert everything(outside) == before


class Recorder:
    """Takes the place of a client and notes the keys that it is asked for."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def request(key: str, *_: object) -> Any:
            self.keys.append(key)
            return [] if name in ("objects", "names") else b""

        return request


@pytest.mark.parametrize("name", [*READ, *WRITE])
@settings(max_examples=40)
@given(key=keys)
def test_an_object_store_is_asked_for_nothing_outside(place: Path, name: str, key: str) -> None:
    store = RemoteStore("s3://bucket/run", cache=place / "cache", cache_bytes=1000)
    recorder = Recorder()
    store._client_of = (os.getpid(), recorder)  # type: ignore[assignment]
    with contextlib.suppress(OSError, UserError):
        (READ | WRITE)[name](store, key)
    assert all(
        is_plain(asked) or (asked == "" and name in ("children", "sizes", "changed"))
        for asked in recorder.keys
        if asked not in ("own", "taken")
    )
    if (place / "cache").exists():
        assert {path.name for path in (place / "cache").iterdir()} <= {store.folder.name}
