"""Who works on which frame: tells poison frames from bad luck, counts what is done, and stops the work.

A worker asks before it begins a frame. If the frame is on the books of another worker, that one died over it,
as a worker has one frame at a time: no frame has to be sought by halves. Plain Python, so that an actor of
it starts at once and the rules can be tested without an engine.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from labelgen.core.errors import UserError
from labelgen.engine.metrics import Metrics, Sink

#: Workers that a frame may take with it before it is done in a process of its own. One death is bad luck
#: more often than not: machines are preempted, and the kernel picks whom it likes when memory is short.
DEATHS = 2
#: Deaths from which a frame is given up: the process of its own took its worker along, too.
GIVE_UP = DEATHS + 2
#: Name of writing, beside those of the operators.
WRITE = "write"


class Orders(NamedTuple):
    """What a worker is told before it begins a frame.

    Attributes:
        deaths: workers that died over this frame in this operator.
        stop: leave the frame alone: the run is being stopped.
    """

    deaths: int
    stop: bool


class State(NamedTuple):
    """How a run stands.

    Attributes:
        passed: frames that left the models, or failed before, since the last time.
        left: frames that left the last operator since the last time.
        inside: frames that were begun and have not left.
        failed: frames that failed so far.
    """

    passed: int
    left: int
    inside: int
    failed: int


class Supervisor:
    """The books of one run. A lost supervisor loses counts, not frames: a new one begins with empty books."""

    def __init__(self, sink: Sink | None = None) -> None:
        self.metrics = Metrics(sink)
        self._at_work: dict[tuple[str, str], str] = {}
        self._of_worker: dict[str, tuple[str, str]] = {}
        self._deaths: Counter[tuple[str, str]] = Counter()
        self._inside: set[str] = set()
        self._shards: defaultdict[str, list[str]] = defaultdict(list)
        self._stop = False
        self._fault: UserError | None = None
        self._passed = self._left = self._failed = 0

    def begin(self, worker: str, operator: str, frame_id: str, finish: bool = False) -> Orders:
        """A worker is about to begin a frame; what it had before is thereby done.

        Args:
            worker: its name.
            operator: what is done with the frame.
            frame_id: of the frame.
            finish: the frame is done even if the run is being stopped.
        """
        deaths = self._take_over(worker, operator, frame_id)
        if finish or not self._stop:
            self._enter(worker, operator, frame_id)
            self._inside.add(frame_id)
            self.metrics.begun(operator)
        else:
            self._inside.discard(frame_id)
        return Orders(deaths, self._stop)

    def end(self, worker: str, operator: str, report: Mapping[str, Any]) -> None:
        """A worker is done with its frame; see `labelgen.engine.metrics.report_of`."""
        entry = self._of_worker.get(worker)
        self._let_go(worker)
        self.metrics.add(operator, report, worker)
        self._failed += report.get("failed") is not None
        self._passed += bool(report.get("passed"))
        if report.get("last"):
            self._left += 1
            self._inside.discard(entry[1] if entry else "")

    def begin_write(self, worker: str, name: str) -> int:
        """A worker is about to write a shard, or a single frame of one; gives the writers that died over it.

        Args:
            worker: its name.
            name: of the shard or frame.
        """
        deaths = self._take_over(worker, WRITE, name)
        self._enter(worker, WRITE, name)
        return deaths

    def end_write(self, worker: str) -> None:
        """A worker has written what it was about to."""
        self._let_go(worker)

    def assign(self, frame_ids: Sequence[str], shard_id: str) -> dict[str, list[str]]:
        """Frames are about to be written as a shard; gives all others that they were to be in before.

        Blocks that are lost with a node are made again, and may then be grouped in another way.
        """
        others: dict[str, list[str]] = {}
        for frame_id in frame_ids:
            shards = self._shards[frame_id]
            if before := [other for other in shards if other != shard_id]:
                others[frame_id] = before
            if shard_id not in shards:
                shards.append(shard_id)
        return others

    def stop(self) -> None:
        """Let no frame be begun any more."""
        self._stop = True

    def report(self, error: UserError) -> None:
        """A worker found what no frame is to blame for, and ends the run; the first such error counts."""
        self._fault = self._fault or error

    def fault(self) -> UserError | None:
        """What `report` was told."""
        return self._fault

    def take(self) -> State:
        """How things stand; the first two counts begin anew with every call."""
        passed, left = self._passed, self._left
        self._passed = self._left = 0
        return State(passed, left, len(self._inside), self._failed)

    def figures(self) -> dict[str, Any]:
        """See `Metrics.to_dict`."""
        return self.metrics.to_dict()

    def _take_over(self, worker: str, operator: str, name: str) -> int:
        """End what a worker had, blame who had this before; gives the deaths over it."""
        self._let_go(worker)
        entry = (operator, name)
        other = self._at_work.get(entry)
        if other is not None:
            self._let_go(other)
            self._deaths[entry] += 1
            self.metrics.died(operator)
        return self._deaths[entry]

    def _enter(self, worker: str, operator: str, name: str) -> None:
        self._at_work[operator, name] = worker
        self._of_worker[worker] = operator, name

    def _let_go(self, worker: str) -> None:
        entry = self._of_worker.pop(worker, None)
        if entry is not None and self._at_work.get(entry) == worker:
            del self._at_work[entry]
