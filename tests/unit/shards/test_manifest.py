"""Manifests from hostile or careless hands."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.core.errors import UserError
from labelgen.io.local import LocalStore
from labelgen.io.seal import CHECKSUM, sealed_json
from labelgen.shards import DamageError, StoredRun
from labelgen.shards.manifest import Manifest, manifest_key, read_manifest
from tests.helpers.runs import FINGERPRINT, make_failure, make_run, some_records, write

DELETE = object()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("run") / "run")
    manifest = write(run, some_records(count=2), [make_failure("frame-x")])
    return run / manifest_key(manifest.shard_id)


def read(path: Path, **more: Any) -> Manifest:
    return read_manifest(LocalStore(path.parent), path.name, **more)


def changed(published: Path, folder: Path, field: str, value: Any) -> Path:
    """A copy of the manifest in which one field is another."""
    data = json.loads(published.read_text())
    *parents, last = [int(part) if part.isdigit() else part for part in field.split(".")]
    target = data
    for part in parents:
        target = target[part]
    if value is DELETE:
        del target[last]
    else:
        target[last] = value
    path = folder / published.name
    path.write_bytes(sealed_json({name: part for name, part in data.items() if name != CHECKSUM}))
    return path


def test_round_trip(published: Path) -> None:
    manifest = read(published, fingerprint=FINGERPRINT)
    assert manifest.to_json() == published.read_bytes()
    assert [frame.frame_id for frame in manifest.frames] == ["frame-0", "frame-1"]
    assert manifest.failed == (make_failure("frame-x"),)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("path", "/etc"),
        ("path", "../outside.zarr"),
        ("path", "shards/../../outside.zarr"),
        ("path", "shards/0000000000000000-000000000000.zarr"),
        ("path", None),
        ("path", 3),
        ("shard_id", "../../../../etc/pw"),
        ("shard_id", "0000000000000000"),
        ("attempt", "../../../x"),
        ("format", "something-else"),
        ("format_version", 0),
        ("format_version", "1"),
        ("format_version", True),
        ("format_version", DELETE),
        ("fingerprint", 3),
        ("frames.0.row", 1),
        ("frames.0.row", -1),
        ("frames.0.frame_id", "frame-1"),
        ("frames.0.frame_id", ""),
        ("frames.0.num_points", -5),
        ("frames.0.status", "failed"),
        ("frames.0.histogram", {"car": 3}),
        ("frames.0.seconds", {"load": "fast"}),
        ("frames.0", DELETE),
        ("failed.0.stage", DELETE),
        ("failed.0.frame_id", "frame-0"),
        ("arrays", []),
        ("arrays.points/label.shape", [2]),
        ("arrays.points/label.shape", [2, 10**9]),
        ("arrays.points/label.shape", [2, -1]),
        ("arrays.points/label.dtype", "object"),
        ("arrays.points/label.blake2b", "abc"),
        ("arrays.frame/id", DELETE),
        ("arrays.frame/id.shape", [65, 64]),
        ("arrays.../../x", {"dtype": "uint8", "shape": [1], "size": 1, "blake2b": "0" * 32}),
        ("metadata.zarr.json", DELETE),
        ("metadata.../zarr.json", {"size": 1, "blake2b": "0" * 32}),
    ],
)
def test_each_bad_field_is_refused_with_file_and_field(
    published: Path, tmp_path: Path, field: str, value: Any
) -> None:
    if "metadata." in field or "arrays." in field:  # their keys hold dots
        section, _, rest = field.partition(".")
        data = json.loads(published.read_text())
        key, _, inner = (
            rest.partition(".") if section == "arrays" and not rest.startswith(".") else (rest, "", "")
        )
        if inner:
            data[section][key][inner] = value
        elif value is DELETE:
            del data[section][key]
        else:
            data[section][key] = value
        path = tmp_path / published.name
        path.write_text(json.dumps(data))
    else:
        path = changed(published, tmp_path, field, value)
    with pytest.raises(DamageError) as caught:
        read(path)
    assert caught.value.problem.kind == "damaged-manifest"
    assert published.name in str(caught.value)
    assert field.partition(".")[0].rstrip("s") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_later_version_is_not_taken_for_damage(published: Path, tmp_path: Path) -> None:
    path = changed(published, tmp_path, "format_version", 2)
    with pytest.raises(UserError, match=r"format_version 2.*later") as caught:
        read(path)
    assert not isinstance(caught.value, DamageError)


def test_another_run_s_manifest_is_refused(published: Path) -> None:
    with pytest.raises(DamageError, match="fingerprint"):
        read(published, fingerprint="f" * 32)


def test_unknown_fields_are_passed_over(published: Path, tmp_path: Path) -> None:
    read(changed(published, tmp_path, "later", {"a": 1}))
    read(changed(published, tmp_path, "frames.0.later", 1))


@settings(deadline=None)
@given(cut=st.floats(0, 1, exclude_max=True))
def test_every_truncation_is_noticed(published: Path, cut: float) -> None:
    good = published.read_bytes()
    path = published.parent.parent / published.name
    path.write_bytes(good[: int(cut * (len(good) - 2))])
    with pytest.raises(DamageError, match=published.stem):
        read(path)


def test_errors_cross_processes(published: Path) -> None:
    with pytest.raises(DamageError) as caught:
        read(published, fingerprint="f" * 32)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert str(copy) == str(caught.value)
    assert copy.problem == caught.value.problem


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}', b"{}"])
def test_what_is_no_manifest_at_all(published: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / published.name
    path.write_bytes(content)
    with pytest.raises(DamageError, match=published.stem):
        read(path)


def test_a_damaged_manifest_stops_opening(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    manifest = write(run, some_records())
    (run / manifest_key(manifest.shard_id)).write_text("{")
    with pytest.raises(UserError, match=rf"{manifest.shard_id}\.json.*verify"):
        StoredRun(run)
