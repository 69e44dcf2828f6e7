"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from labelgen.core.errors import UserError


def on_disk(path: Path | None) -> Path | None:
    """Callback of options whose files can only be on a disk.

    Raises:
        UserError: it is an address.
    """
    from labelgen.io.store import is_address

    if path is not None and is_address(path):
        raise UserError(
            f"{path}: a path on a local disk is expected here; mount the bucket, or copy from or to it"
        )
    return path


#: Addresses are texts: a path would make one slash of two.
RunFolder = Annotated[
    str, typer.Argument(metavar="RUN", help="The run's folder, s3://… or gs://….", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Dataroot = Annotated[
    Path | None,
    typer.Option(
        "--dataroot",
        help="Where the raw files are now. Default: where they were.",
        show_default=False,
        callback=on_disk,
    ),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="NAME",
        help="Skip a check of the input; `labelgen datasets checks` lists them. Repeatable.",
        show_default=False,
    ),
]
