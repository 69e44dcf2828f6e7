"""The folder that an export makes or adds to: whole or not at all, never over anything."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labelgen.core.errors import UserError
from labelgen.io.scratch import keep, scratch
from labelgen.io.store import is_address


class Output:
    """Files below a new folder.

    Attributes:
        folder: where they are written.
        names: theirs, in the order in which they were asked for.
        before: a folder with files that these are added to; None: there is nothing yet.
    """

    def __init__(self, folder: Path, before: Path | None = None) -> None:
        self.folder = folder
        self.names: list[str] = []
        self.before = before

    def path(self, name: str) -> Path:
        """Where a new file goes; its folder is made.

        Raises:
            UserError: there is such a file already: two frames have the same name.
        """
        path = self.folder / name
        if path.exists():
            raise UserError(f"two frames or images are called {name}; this format needs different names")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.names.append(name)
        return path

    def write(self, name: str, data: bytes) -> None:
        """Write bytes."""
        self.path(name).write_bytes(data)

    def json(self, name: str, content: Any) -> None:
        """Write JSON."""
        self.write(name, (json.dumps(content, indent=1) + "\n").encode())

    def array(self, name: str, values: NDArray[Any]) -> None:
        """Write the values alone, little-endian, in C order."""
        self.write(name, np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes())

    def png(self, name: str, values: NDArray[np.uint8]) -> None:
        """Write (H, W) uint8 as a grey PNG."""
        buffer = io.BytesIO()
        Image.fromarray(values).save(buffer, "PNG", compress_level=4)
        self.write(name, buffer.getvalue())

    def link(self, name: str, target: Path) -> None:
        """Link to a file or folder of the data set; its content is not touched."""
        self.path(name).symlink_to(target.resolve())


@contextmanager
def new_folder(out: Path, adds: bool = False) -> Iterator[Output]:
    """Write an export; the folder appears when everything is there, and nothing is left if it fails.

    Args:
        out: the folder.
        adds: it may hold files already, which the writer must look at, and has to refuse if they are not an
            earlier export that these go with. They are added one by one, in the order of `Output.names`:
            what refers to others comes last.

    Raises:
        UserError: the folder exists and is not empty, or cannot be written.
    """
    if is_address(out):
        raise UserError(f"{out}: exports are written to a local disk; copy the folder from there")
    out = Path(os.path.abspath(out))
    filled = out.exists() and (not out.is_dir() or any(out.iterdir()))
    if filled and not (adds and out.is_dir()):
        raise already_there(out)
    new = [folder for folder in out.parents if not folder.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with scratch(out.parent, f".{out.name}.partial-") as folder:
            output = Output(folder, out if filled else None)
            yield output
            if filled:
                for name in output.names:
                    os.replace(folder / name, out / name)
            else:
                keep(folder, out)
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        if not out.exists():
            for folder in new:
                with contextlib.suppress(OSError):
                    folder.rmdir()


def already_there(out: Path) -> UserError:
    """The error of a folder that holds something else."""
    return UserError(f"{out} already exists and is not empty; exports never overwrite anything")
