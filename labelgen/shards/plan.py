"""The run's plan, ``frames.parquet``, where the run is: on a disk or in an object store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from labelgen.datasets.info import DatasetInfo
from labelgen.datasets.manifest import decode_frames, encode_frames
from labelgen.errors import UserError
from labelgen.frame import Frame
from labelgen.shards.run import PLAN
from labelgen.shards.store import Store, StoreError, open_store


def read_plan(run: Path | str | Store) -> tuple[list[Frame], DatasetInfo]:
    """The frames that a run is about, and what holds for all of them.

    Where the file records no data root, it is the run's folder.

    Raises:
        UserError: there is no plan, or it cannot be read; the message names file, row and column.
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
    frames, info = decode_frames(content, where)
    return frames, info if info.dataroot else replace(info, dataroot=str(store.folder.resolve()))


def merge_plan(run: Path | str | Store, frames: Sequence[Frame], info: DatasetInfo) -> None:
    """Bring the plan up to date: frames of earlier calls stay, those given replace their namesakes.

    Raises:
        UserError: the plan there is about another data set, or cannot be read or written.
    """
    store = open_store(run)
    where = f"{store.url}/{PLAN}"
    merged: Sequence[Frame] = frames
    try:
        if store.exists(PLAN):
            stored, before = read_plan(store)
            if before.categories and info.categories and before.categories != info.categories:
                raise UserError(
                    f"{where} is of another data set ({before.dataset}); choose another output folder"
                )
            fresh = {frame.frame_id for frame in frames}
            merged = [*(frame for frame in stored if frame.frame_id not in fresh), *frames]
            if info == before and _identities(merged) == _identities(stored):
                return
        store.replace(PLAN, encode_frames(merged, info, where))
    except OSError as error:
        raise UserError(f"cannot write {where}: {error.strerror or error}") from error


def _identities(frames: Sequence[Frame]) -> list[tuple[str, str]]:
    return [(frame.frame_id, frame.source_id) for frame in frames]
