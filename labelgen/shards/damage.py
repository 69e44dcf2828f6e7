"""What can be wrong with a run on disk: one problem, and the error that carries it."""

from __future__ import annotations

from dataclasses import dataclass

from labelgen.errors import UserError

#: Kinds of problems that lose no data: left behind by killed processes, ignored by every reader.
HARMLESS = frozenset({"unreferenced-attempt", "leftover", "set-aside", "removed-features"})


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


class DamageError(UserError):
    """Something that was written is not as it was written; nothing of it is returned as data."""

    def __init__(self, kind: str, where: str = "", detail: str = "") -> None:
        super().__init__(kind, where, detail)
        self.problem = Problem(kind, where, detail)

    def as_given(self) -> str:
        """File, what is wrong with it, and what to do."""
        if not self.problem.where:  # a DataLoader makes its worker's error anew from the text alone
            return self.problem.kind
        return (
            f"{self.problem.where}: {self.problem.detail}; `labelgen verify RUN` lists all damage, "
            "running the same job again redoes the frames"
        )
