"""Shards that somebody found damaged while reading: each leaves a mark, so that the next call checks them.

A mark is an empty file, ``suspects/<shard_id>``. It says where to look and nothing else: what becomes of the
shard, its own checksums say.
"""

from __future__ import annotations

import contextlib
import re

from labelgen.io.store import Store

SUSPECTS = "suspects"


def mark(store: Store, shard_id: str) -> None:
    """Leave a mark; a run that cannot be written, as another's may be, stays without."""
    with contextlib.suppress(OSError):
        store.replace(f"{SUSPECTS}/{shard_id}", b"")


def marked(store: Store) -> frozenset[str]:
    """Ids of the shards that are marked."""
    with contextlib.suppress(OSError):
        return frozenset(name for name in store.children(SUSPECTS) if re.fullmatch(r"[0-9a-f]{16}", name))
    return frozenset()


def unmark(store: Store, shard_id: str) -> None:
    """Take a mark away: the shard was looked at."""
    with contextlib.suppress(OSError):
        store.remove(f"{SUSPECTS}/{shard_id}")
