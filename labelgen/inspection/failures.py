"""What went wrong in a run, counted by stage and type."""

from __future__ import annotations

from typing import Any

from labelgen.runs import Run


def count_errors(run: Run) -> dict[str, Any]:
    """Histogram of the failures and of the notes of partial frames.

    Returns:
        Plain data. ``frames``, ``failed``; ``errors``: stage, error_type, frames, and the frame_id and
        message of one of them, most frequent first; ``notes``: note without the parts that name a file,
        frames, and frame_id of one of them.
    """
    errors: dict[tuple[str, str], dict[str, Any]] = {}
    for failure in run.failures.values():
        entry = errors.setdefault(
            (failure.stage, failure.error_type),
            {
                "stage": failure.stage,
                "error_type": failure.error_type,
                "frames": 0,
                "frame_id": failure.frame_id,
                "message": failure.message,
            },
        )
        entry["frames"] += 1
    notes: dict[str, dict[str, Any]] = {}
    for frame_id in run.frames:
        for note in run.entry(frame_id).notes:
            kind = note.rpartition(": ")[2]
            notes.setdefault(kind, {"note": kind, "frames": 0, "frame_id": frame_id})["frames"] += 1
    return {
        "frames": len(run.frames),
        "failed": len(run.failures),
        "errors": sorted(errors.values(), key=lambda e: (-e["frames"], e["stage"], e["error_type"])),
        "notes": sorted(notes.values(), key=lambda e: (-e["frames"], e["note"])),
    }
