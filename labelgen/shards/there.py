"""Can a run's folder be written: does it exist, still belong to this run, and have room?"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labelgen.core.errors import UserError
from labelgen.io.local import LocalStore
from labelgen.io.place import open_store
from labelgen.io.store import Store
from labelgen.shards.names import RUN_JSON
from labelgen.shards.run import read_run_info


def check_there(run: Path | str | Store, fingerprint: str | None = None) -> None:
    """Check that a run that was made is there, before something is written that would make half of one.

    Args:
        run: folder or address.
        fingerprint: that it has to have.

    Raises:
        UserError: it was removed or moved, or another run is in its place.
    """
    store = open_store(run)
    if not store.exists(RUN_JSON):
        raise UserError(
            f"the run's folder {store.url} is gone: it was removed or moved while it was being written; "
            f"the same command begins it anew"
        )
    if fingerprint is not None and read_run_info(store).fingerprint != fingerprint:
        raise UserError(f"{store.url} now holds another run, which will not be written to")


def refuses_writing(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, says that nothing can be written at some place."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            return True
        error = error.__cause__
    return False


@contextmanager
def while_there(run: Path | str | Store) -> Iterator[None]:
    """Whatever goes wrong in the block because the run's folder was removed is said to be that.

    Raises:
        UserError: the run's folder is gone.
    """
    try:
        yield
    except Exception:
        store = open_store(run)
        if isinstance(store, LocalStore):  # others fail for reasons of their own
            check_there(store)
        raise
