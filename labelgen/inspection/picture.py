"""The picture of a run's frame, with whatever of its raw files can be read."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labelgen.core.errors import FrameError, UserError
from labelgen.inspection.overlay import draw_frame
from labelgen.io.place import put_file
from labelgen.runs import RunFrame

_T = TypeVar("_T")


def if_there(read: Callable[[], _T], missing: list[str]) -> _T | None:
    """What of a frame's raw files can be read; None, and a line in ``missing``, where it cannot."""
    try:
        return read()
    except (FrameError, UserError) as error:
        if str(error) not in missing:
            missing.append(str(error))
        return None


def draw(frame: RunFrame, width: int = 2400) -> tuple[NDArray[np.uint8], list[str]]:
    """Draw a frame.

    Returns:
        (H, width, 3) uint8 RGB, and one line for each thing that had to be left out.

    Raises:
        UserError: the plan lacks the frame, or its shard is damaged.
    """
    planned, record, missing = frame.planned, frame.record(), list[str]()
    images = [if_there(partial(frame.image, k), missing) for k in range(len(planned.cameras))]
    record = replace(record, xyz=if_there(lambda: frame.xyz, missing))
    truth = if_there(lambda: frame.truth, missing) if frame.has_truth else None
    try:
        picture = draw_frame(planned, None, images, record, frame.run.taxonomy, truth=truth, width=width)
    except ValueError as error:  # a shard that says what cannot be, such as a broken run-length code
        reason = " ".join(str(error).split())
        raise UserError(f"frame {frame.frame_id} cannot be drawn: {reason}") from error
    return picture, missing


def save_picture(frame: RunFrame, path: Path | str, width: int = 2400) -> list[str]:
    """Draw a frame and write it as PNG, at a path or an address; the folder is made if it is missing.

    Returns:
        One line for each thing that had to be left out.

    Raises:
        UserError: as `draw`, or the file cannot be written.
    """
    picture, missing = draw(frame, width)
    try:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG", compress_level=4)
        put_file(path, buffer.getvalue())
    except OSError as error:
        raise UserError(f"cannot write the picture {path}: {error.strerror or error}") from error
    return missing
