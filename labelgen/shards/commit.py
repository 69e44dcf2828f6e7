"""Publishes manifests: the first one for a shard wins, damaged ones are moved aside."""

from __future__ import annotations

import uuid

from labelgen.shards.damage import DamageError
from labelgen.shards.manifest import Manifest, check_files, manifest_key, read_manifest
from labelgen.shards.store import Store

#: Part of the name of a manifest that was moved aside.
DAMAGED = ".damaged"


def published(
    store: Store, shard_id: str, fingerprint: str, *, attempt: str | None = None
) -> Manifest | None:
    """The sound manifest that stands for a shard, or None.

    Sound means: readable, of this run, and all files of its shard are there with the right sizes.

    Args:
        store: of the run.
        shard_id: of the shard.
        fingerprint: of the run.
        attempt: if given, only this attempt's manifest counts.
    """
    manifest = _sound(store, manifest_key(shard_id), f"{shard_id}.json", fingerprint)
    return manifest if manifest is not None and attempt in (None, manifest.attempt) else None


def publish(store: Store, manifest: Manifest) -> Manifest:
    """Publish a manifest unless a sound one for the same shard exists.

    An object store may have written the manifest and lost the reply; the one that stands then is this one.

    Returns:
        The manifest that stands: this one, or that of whoever was first.
    """
    key = manifest_key(manifest.shard_id)
    while not store.create(key, manifest.to_json()):
        winner = published(store, manifest.shard_id, manifest.fingerprint)
        if winner is not None:
            return winner
        set_aside(store, key, manifest.fingerprint)
    return manifest


def set_aside(store: Store, key: str, fingerprint: str) -> str | None:
    """Move a damaged manifest out of the readers' sight; its frames are then to be done again.

    Nothing is deleted: the file stays beside, as ``<shard_id>.json.damaged-<random>``.

    Returns:
        Where it is now, or None if the manifest turned out to be sound or was gone.
    """
    aside = f"{key}{DAMAGED}-{uuid.uuid4().hex[:12]}"
    if not store.move(key, aside):
        return None
    # Between our look at it and the move, another process may have put a sound one in its place.
    if _sound(store, aside, key.rpartition("/")[2], fingerprint) is not None:
        if store.create(key, store.read(aside)):
            store.remove(aside)
        return None  # or a third one published meanwhile; that one stands
    return aside


def _sound(store: Store, key: str, name: str, fingerprint: str) -> Manifest | None:
    try:
        manifest = read_manifest(store, key, name=name, fingerprint=fingerprint)
        check_files(store, manifest)
    except DamageError:
        return None
    return manifest
