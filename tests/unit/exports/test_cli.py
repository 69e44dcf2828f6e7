"""export, import, diff, inspect and compact as a shell calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from labelgen.cli.main import app
from labelgen.core.errors import UserError
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
    # The clouds end with two points that are no return, which an import never labels.
    assert difference["frames"] == 8
    assert {pair["to"] for pair in difference["pairs"]} == {"unlabelled"}
    assert 0 < difference["changed"] <= 2 * 8
    assert call("compact", back, tmp_path / "compact")["shards"] == 1
    assert call("verify", tmp_path / "compact", "--deep") == {"ok": True, "problems": []}
    worst = call("inspect", run, "--worst", 2)
    assert [entry["by"] for entry in worst] == ["miou", "miou"]
    assert worst[0]["score"] <= worst[1]["score"]
    assert call("inspect", run, "--errors") == {"frames": 8, "failed": 0, "errors": [], "notes": []}


def test_labels_of_another_tool_are_fused(labelled: Labelled, tmp_path: Path) -> None:
    """They have no regions that could vote: each label is evidence of its own."""
    out, back = tmp_path / "out", tmp_path / "back"
    call("export", labelled.run, "--format", "lidarseg-overlay", "--out", out)
    call("import", out, "--plan", labelled.run / "frames.parquet", "--out", back)
    fused = call("fuse", back)
    assert (fused["frames"], fused["failed"]) == (8, 0)
    before, after = call("inspect", back), call("inspect", fused["run"])
    assert after["labelled"] >= before["labelled"] > 0
    same = call("diff", back, fused["run"])
    lost = sum(pair["points"] for pair in same["pairs"] if pair["to"] == "unlabelled")
    assert lost < 0.1 * before["labelled"]
    with pytest.raises(UserError, match="no regions that could vote"):
        call("revote", back)
