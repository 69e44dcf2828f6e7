"""Can a labelled run be right as a whole? Counts what its frames noted, and looks at what came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from labelgen.core.records import Reason
from labelgen.datasets.checks import CHECKS, Finding, Odd, check, noted_check
from labelgen.datasets.checks.registry import NOTE
from labelgen.runs import Run
from labelgen.shards import FrameEntry

#: Share of the points that cameras see below which labels are few.
LEAST_LABELLED = 0.2
#: Share of the points in images above which the depth test is not to be believed.
MOST_HIDDEN = 0.7
#: Why points that a camera sees have no label.
_SEEN = {
    Reason.NO_REGION: "they are in no region",
    Reason.TOO_CLOSE: "the votes were too close (labels.min_margin)",
    Reason.VOID: "their regions are of no known class",
}


@dataclass(frozen=True)
class RunInput:
    """What checks of runs see: the manifests' entries of the labelled frames.

    Attributes:
        entries: of the frames.
    """

    entries: Sequence[FrameEntry]

    @cached_property
    def reasons(self) -> Counter[int]:
        """{reason: points of all frames}."""
        counts = Counter[int]()
        for entry in self.entries:
            counts.update(entry.reasons or {})
        return counts


@check("no-label", "run", refuse=True)
def no_label(run: RunInput) -> Iterator[Odd]:
    """No point of any frame has a label."""
    if run.entries and not any(entry.labelled for entry in run.entries):
        yield Odd(
            f"not one point of {len(run.entries)} frames has a label",
            "look at a frame with `labelgen inspect RUN --frame 0 --out frame.png`, and at the calibration",
        )


@check("images-left-out", "run")
def images_left_out(run: RunInput) -> Iterator[Odd]:
    """Frames were labelled without an image that could not be used."""
    partial = [entry for entry in run.entries if entry.status == "partial"]
    if partial:
        why = next((note for entry in partial for note in entry.notes if noted_check(note) is None), "")
        yield Odd(
            f"{len(partial):,} of {len(run.entries):,} frames were labelled without an image, such as {why}"
        )


@check("no-region", "run", refuse=True)
def no_region(run: RunInput) -> Iterator[Odd]:
    """Most frames that see points have no region in any image."""
    seeing = [entry for entry in run.entries if entry.num_views and entry.num_regions is not None]
    empty = [entry for entry in seeing if not entry.num_regions]
    if 2 * len(empty) > len(seeing):
        yield Odd(
            f"no region in any image of {len(empty)} of {len(seeing)} frames, such as {empty[0].frame_id}",
            "look at the images, and at what the settings of regions leave out",
        )


@check("few-labels", "run")
def few_labels(run: RunInput) -> Iterator[Odd]:
    """Far fewer of the points that cameras see have a label than should."""
    counts = run.reasons
    unlabelled = {reason: counts[reason] for reason in _SEEN}
    seen = counts[Reason.LABELLED] + sum(unlabelled.values())
    if seen and counts[Reason.LABELLED] < LEAST_LABELLED * seen:
        most = max(unlabelled, key=unlabelled.__getitem__)
        yield Odd(
            f"only {counts[Reason.LABELLED] / seen:.1%} of the {seen:,} points that a camera sees have a "
            f"label; of most others, {_SEEN[most]}"
        )


@check("most-hidden", "run")
def most_hidden(run: RunInput) -> Iterator[Odd]:
    """The depth test hides most of the points that fall into an image."""
    counts = run.reasons
    hidden = counts[Reason.OCCLUDED]
    inside = hidden + counts[Reason.LABELLED] + sum(counts[reason] for reason in _SEEN)
    if hidden > MOST_HIDDEN * inside:
        yield Odd(
            f"{hidden / inside:.0%} of the points that fall into an image count as hidden behind others",
            "look at the calibration, and at the angles between beams in lidar_layout; "
            "projection.occlusion=false leaves the test out",
        )


def judge(run: Run, frames: Collection[str] | None = None, allow: Collection[str] = ()) -> list[Finding]:
    """What does not make sense about a run, from its manifests alone.

    Args:
        run: of `labelgen.open_run`.
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
    data = RunInput(entries)
    for one in CHECKS.values():
        if one.subject == "run" and one.name not in allow:
            findings += [Finding(one.name, one.refuse, str(odd)) for odd in one.function(data)]
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
