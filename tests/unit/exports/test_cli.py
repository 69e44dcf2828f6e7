"""export, import, diff, inspect and compact as a shell calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from labelgen.cli.main import app
from tests.unit.exports.conftest import Labelled


def call(*arguments: object) -> Any:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_out_and_in_again_changes_nothing(labelled: Labelled, tmp_path: Path) -> None:
    run, out, back = labelled.run, tmp_path / "out", tmp_path / "back"
    done = call("export", run, "--format", "lidarseg-overlay", "--out", out)
    assert (done["frames"], done["path"]) == (8, str(out))
    assert done["files"] == sum(not path.is_dir() or path.is_symlink() for path in out.rglob("*"))
    assert call("import", out, "--plan", run / "frames.parquet", "--out", back) == {
        "path": str(back),
        "frames": 8,
        "failed": 0,
    }
    difference = call("diff", run, back)
    assert (difference["frames"], difference["changed"], difference["pairs"]) == (8, 0, [])
    assert call("compact", back, tmp_path / "compact")["shards"] == 1
    assert call("verify", tmp_path / "compact", "--deep") == {"ok": True, "problems": []}
    worst = call("inspect", run, "--worst", 2)
    assert [entry["by"] for entry in worst] == ["miou", "miou"]
    assert worst[0]["score"] <= worst[1]["score"]
    assert call("inspect", run, "--errors") == {"frames": 8, "failed": 0, "errors": [], "notes": []}
