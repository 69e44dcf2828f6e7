"""Which manifest speaks for a frame, when several name it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from labelgen.core.errors import UserError
from labelgen.core.records import Failure
from labelgen.io.bounded import read_parquet
from labelgen.io.store import Store, StoreError
from labelgen.shards.damage import DamageError
from labelgen.shards.documents import LARGEST_JSON
from labelgen.shards.manifest import FrameEntry, Manifest, list_manifests, parse_manifest
from labelgen.shards.names import PLAN, PLAN_REMEDY

#: Manifests whose bytes are in memory together.
_AT_ONCE = 32
_RANK = {"ok": 0, "partial": 1}
_FAILED = 2


@dataclass(frozen=True)
class Outcome:
    """What became of one frame: a row of a shard, or a failure."""

    manifest: Manifest
    result: FrameEntry | Failure


def load_manifests(store: Store, fingerprint: str | None) -> tuple[list[Manifest], list[DamageError]]:
    """All readable manifests of the run, sorted by shard id, and what is wrong with the others.

    Args:
        store: of the run.
        fingerprint: of the run; None takes those of any.
    """
    manifests, damaged = [], []
    keys = list_manifests(store)
    for begin in range(0, len(keys), _AT_ONCE):
        some = keys[begin : begin + _AT_ONCE]
        for key, raw in zip(some, store.read_all(some, LARGEST_JSON + 1), strict=True):
            try:
                manifests.append(parse_manifest(raw, key, fingerprint=fingerprint))
            except DamageError as error:
                error.run = store.url
                damaged.append(error)
    return manifests, damaged


def planned_sources(store: Store) -> dict[str, str]:
    """{frame id: source id} of the run's plan; empty if there is none.

    Raises:
        DamageError: the plan is damaged.
        UserError: it cannot be read.
    """
    try:
        content = store.read(PLAN)
    except FileNotFoundError:
        return {}
    except StoreError:
        raise
    except OSError as error:
        raise UserError(f"cannot read {store.url}/{PLAN}: {error.strerror}") from error
    try:
        table = read_parquet(content, ["frame_id", "source_id"])
        ids, sources = table["frame_id"].to_pylist(), table["source_id"].to_pylist()
    except (OSError, ValueError, pa.ArrowException, KeyError) as error:
        detail = f"not a plan of frames ({' '.join(str(error).split())})"
        raise DamageError("damaged-plan", f"{store.url}/{PLAN}", detail, PLAN_REMEDY) from error
    return {frame_id: source or "" for frame_id, source in zip(ids, sources, strict=True)}


def resolve(manifests: Iterable[Manifest], sources: Mapping[str, str]) -> dict[str, Outcome]:
    """Choose one outcome for every frame, the same one whatever the order of the manifests.

    Preferred is what was made from the planned source files, then ok over partial over failed, then the
    lower shard id.

    Args:
        manifests: of one run.
        sources: {frame id: planned source id}; frames that it lacks have no preference.

    Returns:
        {frame id: outcome}.
    """
    best: dict[str, tuple[tuple[bool, int, str], Outcome]] = {}
    for manifest in manifests:
        results: list[FrameEntry | Failure] = [*manifest.frames, *manifest.failed]
        for result in results:
            rank = _RANK[result.status] if isinstance(result, FrameEntry) else _FAILED
            stale = sources.get(result.frame_id, result.source_id) != result.source_id
            key = (stale, rank, manifest.shard_id)
            if result.frame_id not in best or key < best[result.frame_id][0]:
                best[result.frame_id] = (key, Outcome(manifest, result))
    return {frame_id: outcome for frame_id, (_, outcome) in best.items()}
