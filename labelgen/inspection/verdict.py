"""Can a labelled run be right as a whole? Counts what its frames noted, and looks at what came out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from labelgen.datasets.checks import CHECKS, Finding, Odd, check, noted_check
from labelgen.datasets.checks.registry import NOTE
from labelgen.shards import FrameEntry, Run


@dataclass(frozen=True)
class RunSight:
    """What checks of runs see: the manifests' entries of the labelled frames.

    Attributes:
        entries: of the frames.
    """

    entries: Sequence[FrameEntry]


@check("no-label", "run", refuse=True)
def no_label(run: RunSight) -> Iterator[Odd]:
    """No point of any frame has a label."""
    if run.entries and not any(entry.labelled for entry in run.entries):
        yield Odd(
            f"not one point of {len(run.entries)} frames has a label",
            "look at a frame with `labelgen inspect RUN --frame 0 --out frame.png`, and at the calibration",
        )


@check("images-left-out", "run")
def images_left_out(run: RunSight) -> Iterator[Odd]:
    """Frames did without an image that could not be used."""
    partial = [entry for entry in run.entries if entry.status == "partial"]
    if partial:
        why = next((note for entry in partial for note in entry.notes if noted_check(note) is None), "")
        yield Odd(f"{len(partial):,} of {len(run.entries):,} frames did without an image, such as {why}")


def judge(run: Run, frames: Collection[str] | None = None, allow: Collection[str] = ()) -> list[Finding]:
    """What does not make sense about a run, from its manifests alone.

    Args:
        run: from `labelgen.shards.open_run`.
        frames: ids of the frames that count; None: all.
        allow: names of checks that are passed over.

    Returns:
        What was found: what says that the labels are no good first. What a check noted of frames says so if
        most of them show it.
    """
    entries = [run.entry(frame_id) for frame_id in run.frames if frames is None or frame_id in frames]
    findings = []
    for name, notes in _noted(entries).items():
        if name not in allow:
            stop = CHECKS[name].refuse and 2 * len(notes) > len(entries)
            text = next(iter(notes.values()))
            findings.append(Finding(name, stop, text, len(notes), len(entries)))
    for one in CHECKS.values():
        if one.subject == "run" and one.name not in allow:
            findings += [Finding(one.name, one.refuse, str(odd)) for odd in one.function(RunSight(entries))]
    return sorted(findings, key=lambda finding: not finding.refuse)


def _noted(entries: Sequence[FrameEntry]) -> Mapping[str, dict[str, str]]:
    """{check: {frame: what it noted first}}."""
    noted: dict[str, dict[str, str]] = {}
    for entry in entries:
        for note in entry.notes:
            if (name := noted_check(note)) is not None:
                text = note.removeprefix(f"{NOTE}{name}: ")
                noted.setdefault(name, {}).setdefault(entry.frame_id, text)
    return noted
