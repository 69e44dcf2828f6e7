"""Reads a shard as any other tool does, through zarr-python: the second opinion of ``verify --deep``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from labelgen.io.place import open_store
from labelgen.io.store import Store
from labelgen.shards.damage import Problem
from labelgen.shards.manifest import Manifest
from labelgen.shards.shard import Shard, digest


def differences(run: Path | str | Store, manifest: Manifest) -> Iterator[Problem]:
    """Arrays of which zarr-python reads other values than were written.

    Our own reader may share a mistake with our own writer; this one cannot. It unpacks whatever a file holds,
    so it is for shards in which our own reader, which does not, has found nothing wrong.
    """
    import zarr  # takes a worker a quarter of a second, and only a deep look needs it

    if manifest.path is None:
        return
    try:
        folder = open_store(run).fetch(manifest.path, manifest.files())
        group = zarr.open_group(folder, mode="r", use_consolidated=True, zarr_format=3)
    except Exception as error:  # whatever zarr raises on metadata that it does not like
        yield Problem("not-zarr", manifest.path, f"zarr-python cannot open it: {_reason(error)}")
        return
    shard = Shard(run, manifest)
    for name, entry in manifest.arrays.items():
        if not shard.has(name):
            continue  # of a later version: our own reader knows nothing of it
        where = f"{manifest.path}/{name}"
        try:
            array = group[name]
            assert isinstance(array, zarr.Array), "not an array"
            blocks = shard.blocks(name) if entry.size else ()
            same = digest(np.asarray(array[begin:end]) for begin, end in blocks) == entry.blake2b
        except Exception as error:
            yield Problem("not-zarr", where, f"zarr-python cannot read it: {_reason(error)}")
            continue
        if not same or array.shape != entry.shape:
            yield Problem("not-zarr", where, "zarr-python reads values that differ from those written")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
