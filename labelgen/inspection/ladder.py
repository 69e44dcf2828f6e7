"""The oracle ladder of a run, kept beside its report: it takes models, and the report none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from labelgen.errors import UserError
from labelgen.shards import Run

#: In the run's folder.
LADDER = "report/ladder.json"
_SCORES = ("miou", "coverage", "miou_all", "right")


def keep_ladder(run: Run, rungs: Mapping[str, Mapping[str, Any]], texts: Mapping[str, str]) -> str:
    """Write what `labelgen evaluate --ladder` found where the run's report looks for it.

    Args:
        run: that was measured.
        rungs: {rung: its scores}, in order.
        texts: {rung: what is true in it, and what is the run's own}.

    Returns:
        Where it is.

    Raises:
        UserError: it cannot be written.
    """
    content = {
        "fingerprint": run.info.fingerprint,
        "frames": len(run),
        "rungs": [{"name": name, "text": texts[name], **scores} for name, scores in rungs.items()],
    }
    where = f"{run.url}/{LADDER}"
    try:
        run.store.replace(LADDER, (json.dumps(content, indent=1) + "\n").encode())
    except OSError as error:
        raise UserError(f"cannot write {where}: {error.strerror or error}") from error
    return where


def kept_ladder(run: Run) -> list[dict[str, Any]]:
    """The rungs that were kept for a run, or for the one that it comes from; none where there are none.

    One of other settings, of other frames, or that cannot be read is passed over.
    """
    while run.parent is not None:
        run = run.parent
    try:
        content = json.loads(run.store.read(LADDER, 1 << 20))
        if (content["fingerprint"], content["frames"]) != (run.info.fingerprint, len(run)):
            return []
        return [
            {"text": str(rung["text"]), **{key: _number(rung.get(key)) for key in _SCORES}}
            for rung in content["rungs"]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
