"""Publishes manifests: the first one for a shard wins, damaged ones are moved aside."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from labelgen.shards import atomic
from labelgen.shards.damage import DamageError
from labelgen.shards.manifest import Manifest, check_files, manifest_path, read_manifest

#: Part of the name of a manifest that was moved aside.
DAMAGED = ".damaged"


def published(run: Path, shard_id: str, fingerprint: str, *, attempt: str | None = None) -> Manifest | None:
    """The sound manifest that stands for a shard, or None.

    Sound means: readable, of this run, and all files of its shard are there with the right sizes.

    Args:
        run: folder of the run.
        shard_id: of the shard.
        fingerprint: of the run.
        attempt: if given, only this attempt's manifest counts.
    """
    path = manifest_path(run, shard_id)
    try:
        manifest = read_manifest(path, fingerprint=fingerprint)
        check_files(run, manifest)
    except DamageError:
        return None
    return manifest if attempt in (None, manifest.attempt) else None


def publish(run: Path, manifest: Manifest) -> Manifest:
    """Publish a manifest unless a sound one for the same shard exists.

    Returns:
        The manifest that stands: this one, or that of whoever was first.
    """
    path = manifest_path(run, manifest.shard_id)
    while not atomic.create(path, manifest.to_json()):
        winner = published(run, manifest.shard_id, manifest.fingerprint)
        if winner is not None:
            return winner
        set_aside(run, path, manifest.fingerprint)
    return manifest


def set_aside(run: Path, path: Path, fingerprint: str) -> Path | None:
    """Move a damaged manifest out of the readers' sight; its frames are then to be done again.

    Nothing is deleted: the file stays beside, as ``<shard_id>.json.damaged-<random>``.

    Returns:
        Where it is now, or None if the manifest turned out to be sound or was gone.
    """
    aside = path.with_name(f"{path.name}{DAMAGED}-{uuid.uuid4().hex[:12]}")
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return None
    # Between our look at it and the rename, another process may have put a sound one in its place.
    if _is_sound(run, aside, path.name, fingerprint):
        try:
            os.link(aside, path)
        except FileExistsError:
            return None  # a third one published meanwhile; that one stands
        aside.unlink()
        return None
    atomic.flush(path.parent)
    return aside


def _is_sound(run: Path, path: Path, name: str, fingerprint: str) -> bool:
    try:
        check_files(run, read_manifest(path, name=name, fingerprint=fingerprint))
    except DamageError:
        return False
    return True
