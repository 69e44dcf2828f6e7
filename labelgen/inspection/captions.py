"""Captions of one frame's regions, for those who look at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from labelgen.core.records import UNLABELLED
from labelgen.inspection.fitting import make_table, show
from labelgen.inspection.tables import plain
from labelgen.runs import Run


def captions_of(run: Run, frame_id: str) -> list[dict[str, Any]]:
    """The captioned regions of a frame, largest first.

    Args:
        run: open.
        frame_id: of the frame.

    Returns:
        ``region`` (row within the frame), ``camera`` (number), ``area`` (pixels), ``label`` (name of the
        class, or ``void``) and ``caption`` of each; nothing where the run has no captions.
    """
    frame = run.frame(frame_id)
    captions = frame.semantics.caption
    if captions is None:
        return []
    names = [entry["name"] for entry in run.info.taxonomy.get("classes", [])]
    area, label = frame.regions.area, frame.semantics.label
    rows = sorted((row for row, text in enumerate(captions) if text), key=lambda row: (-int(area[row]), row))
    return [
        {
            "region": row,
            "camera": int(frame.regions.camera[row]),
            "area": int(area[row]),
            "label": _name(names, int(label[row])),
            "caption": captions[row],
        }
        for row in rows
    ]


def render_captions(console: Console, captions: Sequence[Mapping[str, Any]], most: int = 24) -> None:
    """Print captions of a frame, the largest regions first; nothing where there are none."""
    if not captions:
        return
    columns = ("region", "camera", "area", "label", "caption")
    table = make_table(*columns, title="captions of the largest regions")
    for row in captions[:most]:
        numbers = (f"{row[key]:,}" for key in ("region", "camera", "area"))
        table.add_row(*numbers, plain(row["label"]), plain(row["caption"]))
    show(console, table)
    if len(captions) > most:
        console.print(f"and {len(captions) - most} more; --json lists all")


def _name(names: list[str], label: int) -> str:
    if label == UNLABELLED:
        return "void"
    return names[label] if label < len(names) else str(label)
