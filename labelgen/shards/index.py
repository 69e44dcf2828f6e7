"""``index.parquet``: one row per frame, derived from the manifests and rebuildable at any time."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelgen.core.errors import UserError
from labelgen.core.records import Failure
from labelgen.io.bounded import read_parquet
from labelgen.io.place import open_store
from labelgen.io.seal import sealed_parquet
from labelgen.io.store import Store
from labelgen.shards.names import INDEX
from labelgen.shards.resolve import Outcome, load_manifests, planned_sources, resolve
from labelgen.shards.run import read_run_info
from labelgen.shards.schema import FORMAT_VERSION

SCHEMA = pa.schema(
    [
        pa.field("frame_id", pa.string(), nullable=False),
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("scene_id", pa.string()),
        pa.field("timestamp_us", pa.int64()),
        pa.field("shard_id", pa.string(), nullable=False),
        pa.field("row", pa.int32()),
        pa.field("num_points", pa.int32()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("labelled", pa.int32()),
        pa.field("histogram", pa.map_(pa.uint8(), pa.int32())),
        pa.field("notes", pa.list_(pa.string())),
        pa.field("error_stage", pa.string()),
        pa.field("error_type", pa.string()),
        pa.field("error_message", pa.string()),
    ]
)


def build_index(run: Path | str | Store) -> str:
    """Write ``index.parquet`` from the manifests, unless it is up to date: frames labelled and failed, once.

    Columns are those of `SCHEMA`; of a failed frame scene, time, row, points and histogram are null. Rows
    are sorted by scene, time and frame id.

    Returns:
        Where it is.

    Raises:
        UserError: a manifest is damaged (named), or the file cannot be written.
    """
    store = open_store(run)
    content = sealed_parquet(index_table(store))
    where = f"{store.url}/{INDEX}"
    with contextlib.suppress(OSError):
        if store.read(INDEX) == content:
            return where
    try:
        store.replace(INDEX, content)
    except OSError as error:
        raise UserError(f"cannot write {where}: {error.strerror}") from error
    return where


def index_table(run: Path | str | Store) -> pa.Table:
    """The table that ``index.parquet`` should hold.

    Raises:
        UserError: a manifest is damaged; the message names it.
    """
    store = open_store(run)
    info = read_run_info(store)
    manifests, damaged = load_manifests(store, info.fingerprint)
    if damaged:
        raise damaged[0]
    rows = [_row(outcome) for outcome in resolve(manifests, planned_sources(store)).values()]
    rows.sort(key=lambda row: (row.get("scene_id", ""), row.get("timestamp_us", 0), row["frame_id"]))
    metadata = {"format_version": str(FORMAT_VERSION), "fingerprint": info.fingerprint}
    return pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata(metadata))


def read_index(run: Path | str | Store) -> pa.Table:
    """Read ``index.parquet``.

    Raises:
        UserError: missing, damaged, or of another run; says to rebuild it.
    """
    store = open_store(run)
    path, remedy = f"{store.url}/{INDEX}", f"`labelgen index {store.url}` rebuilds it"
    try:
        table = read_parquet(store.read(INDEX))
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read ({reason}); {remedy}") from error
    if not table.schema.equals(SCHEMA):
        raise UserError(f"{path}: not an index of this version; {remedy}")
    return table


def _row(outcome: Outcome) -> dict[str, Any]:
    result = outcome.result
    row: dict[str, Any] = {
        "frame_id": result.frame_id,
        "source_id": result.source_id,
        "shard_id": outcome.manifest.shard_id,
    }
    if isinstance(result, Failure):
        return row | {
            "status": "failed",
            "error_stage": result.stage,
            "error_type": result.error_type,
            "error_message": result.message,
        }
    return row | {
        "scene_id": result.scene_id,
        "timestamp_us": result.timestamp_us,
        "row": result.row,
        "num_points": result.num_points,
        "status": result.status,
        "labelled": result.labelled,
        "histogram": sorted(result.histogram.items()),
        "notes": list(result.notes),
    }
