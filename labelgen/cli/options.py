"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

#: Addresses are texts: a path would make one slash of two.
RunFolder = Annotated[
    str, typer.Argument(metavar="RUN", help="The run's folder, s3://… or gs://….", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Dataroot = Annotated[
    Path | None,
    typer.Option(
        "--dataroot", help="Where the raw files are now. Default: where they were.", show_default=False
    ),
]
