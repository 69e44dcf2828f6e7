"""The named checks: what each looks at, and whether what it finds stops a run."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from labelgen.core.errors import UserError

#: What a check looks at: the plan with its tables, one frame with its cloud in hand, one decoded image,
#: the texts of a taxonomy, or a labelled run.
Subject = Literal["plan", "frame", "image", "texts", "run"]
#: Begins a note of a frame, so that notes of checks can be told from others and counted.
NOTE = "check "
#: Longest text of a finding; what it quotes comes from files.
_LONGEST = 400


@dataclass(frozen=True)
class Odd:
    """One thing that does not make sense.

    Attributes:
        text: one sentence that says what is odd, with the numbers; names the file, camera or scene.
        hint: what it probably is and what to do, where one can tell.
        about: what it is about, such as a camera's name: the same of several frames is told once.
    """

    text: str
    hint: str = ""
    about: str = ""

    def __str__(self) -> str:
        whole = f"{self.text}; {self.hint}" if self.hint else self.text
        return whole if len(whole) <= _LONGEST else f"{whole[: _LONGEST - 1]}…"


@dataclass(frozen=True)
class Check:
    """A named check.

    Attributes:
        name: of lower-case words with hyphens, as ``--allow`` takes it.
        refuse: whether a run stops (one frame alone never stops it: most of those looked at must show it).
        subject: what its function takes.
        about: one sentence for ``labelgen datasets checks``.
        function: gives what is odd.
    """

    name: str
    refuse: bool
    subject: Subject
    about: str
    function: Callable[[Any], Iterator[Odd]]


#: {name: check}; filled by the modules beside this one, and by what looks at runs.
CHECKS: dict[str, Check] = {}
_Function = TypeVar("_Function", bound=Callable[[Any], Iterator[Odd]])


def check(name: str, subject: Subject, *, refuse: bool = False) -> Callable[[_Function], _Function]:
    """Register a function under a name; the first line of its docstring says what it looks for."""

    def register(function: _Function) -> _Function:
        assert name not in CHECKS, f"two checks are called {name}"
        about = (function.__doc__ or "").strip().partition("\n")[0]
        CHECKS[name] = Check(name, refuse, subject, about, function)
        return function

    return register


@dataclass(frozen=True)
class Finding:
    """What a check found, as it is told and kept.

    Attributes:
        check: name of the check.
        refuse: whether it stops a run.
        text: one or two sentences.
        count: frames that show it, of those that were looked at; 0: it is about the data set as a whole.
        of: frames that were looked at.
    """

    check: str
    refuse: bool
    text: str
    count: int = 0
    of: int = 0

    def __str__(self) -> str:
        many = f" ({self.count} of {self.of} frames checked)" if self.of > 1 else ""
        return f"{self.text}{many}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``--json`` and ``run.json``."""
        return asdict(self)


def check_names(names: Iterable[str]) -> frozenset[str]:
    """The names of checks that are to be passed over.

    Raises:
        UserError: there is no such check; says which one might be meant.
    """
    wanted = frozenset(name.strip() for name in names if name.strip())
    for name in sorted(wanted - CHECKS.keys()):
        near = difflib.get_close_matches(name, CHECKS, 1)
        raise UserError(
            f"--allow {name}: there is no such check"
            + (f"; did you mean {near[0]}?" if near else "; `labelgen datasets checks` lists them")
        )
    return wanted


def refuse(findings: Iterable[Finding]) -> None:
    """Stop where a finding says so.

    Raises:
        UserError: the first of them, how many more there are, and how to go on all the same.
    """
    stopping = [finding for finding in findings if finding.refuse]
    if stopping:
        more = f" ({len(stopping) - 1} more: `labelgen check` lists all)" if stopping[1:] else ""
        names = " ".join(f"--allow {name}" for name in dict.fromkeys(f.check for f in stopping))
        raise UserError(f"{stopping[0]}{more}. If it is right as it is: {names}")


def warnings_of(findings: Iterable[Finding]) -> list[str]:
    """One line for each finding that does not stop a run, with the name of its check."""
    return [f"{finding} [{finding.check}]" for finding in findings if not finding.refuse]


def note_of(name: str, odd: Odd) -> str:
    """What is odd about a frame, as a note of that frame."""
    return f"{NOTE}{name}: {odd}"


def noted_check(note: str) -> str | None:
    """The name of the check that wrote a note; None if none did."""
    name, sign, _ = note.removeprefix(NOTE).partition(": ")
    return name if note.startswith(NOTE) and sign and name in CHECKS else None
