"""The oracle ladder of a run, kept beside its report: it takes models, and the report none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from labelgen.core.errors import UserError
from labelgen.runs import Run
from labelgen.shards.documents import plain_json

#: In the run's folder.
LADDER = "report/ladder.json"
#: Bytes of the largest one that is read, and most rungs and characters of a rung's text.
_LARGEST, _MOST, _LONGEST = 1 << 20, 100, 400
_Share = Annotated[float, Field(ge=0, le=1)] | None


class _Rung(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    text: str = Field(max_length=_LONGEST)
    miou: _Share = None
    coverage: _Share = None
    miou_all: _Share = None
    right: _Share = None


class _Ladder(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    fingerprint: str
    frames: int
    rungs: list[_Rung] = Field(max_length=_MOST)


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
        kept = _Ladder.model_validate(plain_json(run.store.read(LADDER, _LARGEST)))
    except (OSError, ValueError):
        return []
    if (kept.fingerprint, kept.frames) != (run.info.fingerprint, len(run)):
        return []
    return [rung.model_dump() for rung in kept.rungs]
