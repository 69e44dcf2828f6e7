"""Looks at a plan, or at one frame, with all checks, and says what does not make sense."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Any

from labelgen.datasets.checks.inputs import FrameInput, PlanInput
from labelgen.datasets.checks.registry import CHECKS, Finding, Odd, Subject, note_of
from labelgen.datasets.checks.texts import TextInput
from labelgen.datasets.images import Picture

#: Findings of one kind that are told; of more, the number is.
MOST_TOLD = 3


def survey(plan: PlanInput, allow: Collection[str] = ()) -> list[Finding]:
    """Look for what is well formed and cannot be right, in seconds for any number of frames.

    Args:
        plan: with how many of its frames are to be read.
        allow: names of checks that are passed over.

    Returns:
        What was found: what stops a run first. Something odd of a frame stops it if most of the frames that
        were looked at show it.
    """
    findings = check_plan(plan, allow)
    inputs = [one for one in plan.frame_inputs if isinstance(one, FrameInput)]
    odd: dict[tuple[str, str], dict[str, Odd]] = {}  # {(check, about): {frame: its first}}
    for data in inputs:
        for name, found in check_frame(data, allow):
            odd.setdefault((name, found.about), {}).setdefault(data.frame.frame_id, found)
    for picture in plan.pictures:
        for name, found in check_image(picture, allow) if isinstance(picture, Picture) else ():
            odd.setdefault((name, found.about), {}).setdefault(picture.frame_id, found)
    for (name, _), frames in odd.items():
        stop = CHECKS[name].refuse and 2 * len(frames) > len(plan.frame_inputs)
        findings.append(
            Finding(name, stop, str(next(iter(frames.values()))), len(frames), len(plan.frame_inputs))
        )
    return sorted(findings, key=lambda finding: not finding.refuse)


def check_plan(plan: PlanInput, allow: Collection[str] = ()) -> list[Finding]:
    """What is odd about a plan as a whole; of the same kind, the first ones and how many more."""
    findings = []
    for one in CHECKS.values():
        if one.subject != "plan" or one.name in allow:
            continue
        told = Counter[str]()
        for odd in one.function(plan):
            told[odd.about] += 1
            if told[odd.about] <= MOST_TOLD:
                findings.append(Finding(one.name, one.refuse, str(odd)))
        for about, count in told.items():
            if count > MOST_TOLD:
                more = f"{count - MOST_TOLD:,} more like that{f' of {about}' if about else ''}"
                findings.append(Finding(one.name, one.refuse, more))
    return findings


def check_frame(data: FrameInput, allow: Collection[str] = ()) -> Iterator[tuple[str, Odd]]:
    """What is odd about a frame: names of checks, and what they found."""
    return _check("frame", data, allow)


def check_image(picture: Picture, allow: Collection[str] = ()) -> Iterator[tuple[str, Odd]]:
    """What is odd about an image: names of checks, and what they found."""
    return _check("image", picture, allow)


def frame_notes(data: FrameInput, allow: Collection[str] = ()) -> Iterable[str]:
    """What is odd about a frame, as its notes, each once."""
    return dict.fromkeys(note_of(name, odd) for name, odd in check_frame(data, allow))


def image_notes(picture: Picture) -> Iterable[str]:
    """What is odd about an image, as notes of its frame, each once."""
    return dict.fromkeys(note_of(name, odd) for name, odd in check_image(picture))


def text_notes(texts: TextInput) -> Iterable[str]:
    """What is odd about a taxonomy's texts, as notes of the frames that are labelled with them."""
    return [note_of(name, odd) for name, odd in islice(_check("texts", texts, ()), MOST_TOLD)]


def _check(subject: Subject, data: Any, allow: Collection[str]) -> Iterator[tuple[str, Odd]]:
    for one in CHECKS.values():
        if one.subject == subject and one.name not in allow:
            for odd in one.function(data):
                yield one.name, odd
