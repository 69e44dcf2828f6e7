"""Publishes manifests: the first one for a shard wins, damaged ones are moved aside."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from labelgen.io.store import Store
from labelgen.shards.damage import DamageError
from labelgen.shards.manifest import Manifest, check_files, manifest_key, read_manifest
from labelgen.shards.shard import Shard

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


def set_aside(store: Store, key: str, fingerprint: str, *, deep: bool = False) -> str | None:
    """Move a damaged manifest out of the readers' sight; its frames are then to be done again.

    Nothing is deleted: the file stays beside, as ``<shard_id>.json.damaged-<random>``.

    Args:
        store: of the run.
        key: of the manifest.
        fingerprint: of the run.
        deep: whether values that are not those written are damage, too, and not names and sizes alone.

    Returns:
        Where it is now, or None if the manifest turned out to be sound or was gone.
    """
    aside = f"{key}{DAMAGED}-{uuid.uuid4().hex[:12]}"
    if not store.move(key, aside):
        return None
    # Between our look at it and the move, another process may have put a sound one in its place.
    if _sound(store, aside, key.rpartition("/")[2], fingerprint, deep=deep) is not None:
        if store.create(key, store.read(aside)):
            store.remove(aside)
        return None  # or a third one published meanwhile; that one stands
    return aside


def check_shard(
    store: Store,
    manifest: Manifest,
    sizes: Mapping[str, int] | None = None,
    dense: Mapping[str, int] | None = None,
    *,
    deep: bool = False,
) -> None:
    """Check a shard, and its dense features unless all of them were removed.

    Args:
        store: of the run.
        manifest: of the shard.
        sizes: what `Store.sizes` says of ``shards``, if it is known already.
        dense: the same of ``features``.
        deep: whether all that is stored is read and compared with its checksum; else names and sizes are.

    Raises:
        DamageError: the first thing that is not as it was written.
    """
    check_files(store, manifest, sizes)
    parts, apart = [manifest], manifest.apart()
    if apart is not None:
        try:
            check_files(store, apart, dense)
            parts.append(apart)
        except DamageError as error:
            if error.problem.kind != "missing-shard":
                raise
    for part in parts:
        if deep and part.path is not None:
            Shard(store, part).check()


def _sound(store: Store, key: str, name: str, fingerprint: str, *, deep: bool = False) -> Manifest | None:
    try:
        manifest = read_manifest(store, key, name=name, fingerprint=fingerprint)
        check_shard(store, manifest, deep=deep)
    except DamageError:
        return None
    return manifest
