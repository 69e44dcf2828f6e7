"""What can be wrong with a run on disk: one problem, and the error that carries it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from labelgen.core.errors import UserError

#: Kinds of problems that lose no data: left behind by killed processes, ignored by every reader.
HARMLESS = frozenset({"unreferenced-attempt", "leftover", "set-aside", "removed-features"})

#: Kinds of problems that the job which made the run, called again, does away with.
_HEALED = frozenset(
    {
        "damaged-manifest",
        "foreign-manifest",
        "damaged-plan",
        "missing-shard",
        "torn-shard",
        "checksum",
        "index-drift",
    }
)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a run.

    Attributes:
        kind: ``run``, ``damaged-manifest``, ``foreign-manifest``, ``damaged-plan``, ``missing-shard``,
            ``torn-shard``, ``checksum``, ``not-zarr``, ``overlap``, ``unknown-class``, ``index-drift``,
            ``source-changed``, or one of `HARMLESS`.
        where: the file or folder, relative to the run's folder.
        detail: one line that names the field.
    """

    kind: str
    where: str
    detail: str

    @property
    def harmless(self) -> bool:
        """True if no reader is affected."""
        return self.kind in HARMLESS

    @property
    def heals(self) -> bool:
        """True if the job that made the run, called again, does away with it."""
        return self.kind in _HEALED


#: What to do about a shard or a manifest.
REPAIR = (
    "`labelgen verify {run} --deep --repair` lists all damage and sets it aside, "
    "then the job that made the run does those frames anew"
)


class DamageError(UserError):
    """Something that was written is not as it was written; nothing of it is returned as data.

    Attributes:
        problem: what it is.
        run: folder or address of the run, where that is known.
        content: what a file says whose checksum is wrong, not to be relied on; else None.
    """

    def __init__(self, kind: str, where: str = "", detail: str = "", remedy: str = REPAIR) -> None:
        super().__init__(kind, where, detail, remedy)
        self.problem = Problem(kind, where, detail)
        self.remedy = remedy
        self.run = "RUN"
        self.content: Any = None

    def as_given(self) -> str:
        """File, what is wrong with it, and what to do."""
        if not self.problem.where:  # a DataLoader makes its worker's error anew from the text alone
            return self.problem.kind
        return f"{self.problem.where}: {self.problem.detail}; {self.remedy.replace('{run}', self.run)}"
