"""The run's plan, ``frames.parquet``, where the run is: on a disk or in an object store."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from labelgen.core.errors import UserError
from labelgen.core.frame import Frame
from labelgen.datasets.info import DatasetInfo
from labelgen.datasets.manifest import decode_frames, encode_frames
from labelgen.io.place import open_store
from labelgen.io.store import Store, StoreError
from labelgen.shards.damage import DamageError
from labelgen.shards.names import PLAN, PLAN_REMEDY


def read_plan(run: Path | str | Store) -> tuple[list[Frame], DatasetInfo]:
    """The frames that a run is about, and what holds for all of them.

    Where the file records no data root, it is the run's folder.

    Raises:
        UserError: there is no plan, or it cannot be read.
        DamageError: it is no plan, or not as it was written; the message names file, row and column.
    """
    store = open_store(run)
    where = f"{store.url}/{PLAN}"
    try:
        content = store.read(PLAN)
    except FileNotFoundError:
        raise UserError(f"no file {where}; running the same job again writes it") from None
    except StoreError:
        raise
    except OSError as error:
        raise UserError(f"cannot read {where}: {error.strerror}") from error
    try:
        frames, info = decode_frames(content, where)
    except UserError as error:
        detail = error.as_given().removeprefix(f"{where}: ")
        raise DamageError("damaged-plan", where, detail, PLAN_REMEDY) from error
    return frames, info if info.dataroot else replace(info, dataroot=str(store.folder.resolve()))


def merge_plan(run: Path | str | Store, frames: Sequence[Frame], info: DatasetInfo) -> None:
    """Bring the plan up to date: frames of earlier calls stay, those given take the place of their namesakes.

    A plan that is damaged is moved aside, and the one written holds the frames given alone.

    Raises:
        UserError: the plan there is about another data set, or it cannot be written.
    """
    store = open_store(run)
    where = f"{store.url}/{PLAN}"
    merged: Sequence[Frame] = frames
    try:
        if (kept := _plan_there(store)) is not None:
            stored, before = kept
            if before.categories and info.categories and before.categories != info.categories:
                raise UserError(
                    f"{where} belongs to another data set ({before.dataset}); choose another output folder"
                )
            fresh = {frame.frame_id: frame for frame in frames}
            merged = [fresh.pop(frame.frame_id, frame) for frame in stored] + list(fresh.values())
            if info == before and _identities(merged) == _identities(stored):
                return
        store.replace(PLAN, encode_frames(merged, info, where))
    except OSError as error:
        raise UserError(f"cannot write {where}: {error.strerror or error}") from error


def _plan_there(store: Store) -> tuple[list[Frame], DatasetInfo] | None:
    if not store.exists(PLAN):
        return None
    try:
        return read_plan(store)
    except DamageError:
        set_plan_aside(store)
        return None


def set_plan_aside(store: Store) -> None:
    """Move a plan that is damaged out of the way; nothing is deleted."""
    store.move(PLAN, f"{PLAN}.damaged-{uuid.uuid4().hex[:12]}")


def _identities(frames: Sequence[Frame]) -> list[tuple[str, str]]:
    return [(frame.frame_id, frame.source_id) for frame in frames]
