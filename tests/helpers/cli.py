"""Calls the command line in this process, as a shell would."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from labelgen.cli.main import main


@dataclass
class Result:
    """What a shell sees of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


class Shell:
    """Runs ``labelgen`` commands; use it through the fixture ``shell``."""

    def __init__(self, monkeypatch: Any, capsys: Any) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *args: object) -> Result:
        """Run ``labelgen ARGS``."""
        self.monkeypatch.setattr(sys, "argv", ["labelgen", *map(str, args)])
        self.capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as leave:
            code = int(leave.code or 0)
        captured = self.capsys.readouterr()
        return Result(code, captured.out, captured.err)
