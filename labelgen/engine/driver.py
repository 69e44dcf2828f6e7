"""How work on a run is driven: held against other drivers, stopped by signals, committed, indexed, recorded.

Both passes come through here, so that what holds for one holds for the other: the rules of leases, SIGTERM,
poison frames, retries and failure fractions. What the work is, and whether it is done in this process or on
Ray, a `Work` knows.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, Self

from labelgen.core.errors import UserError
from labelgen.core.frame import Frame
from labelgen.engine.drain import Stop, draining
from labelgen.engine.lease import Lease, lease
from labelgen.shards import build_index
from labelgen.shards.calls import record_call
from labelgen.shards.there import refuses_writing, while_there

#: Frames of a call from which on a check that most of them show ends it.
ENOUGH = 16
#: Seconds that the workers of a driver that was killed are given to go, too, before its work is taken up.
GRACE_S = 3.0


@dataclass
class Watch:
    """What a driver tells those who do the work, and what it is told meanwhile.

    Attributes:
        on_frame: called with the number of frames that are newly done or have newly failed.
        stop: when set, nothing is begun any more; what is begun is finished and committed.
        strict: stop at the first frame that fails.
        suspects: ids of frames at which an earlier driver died in its own process.
        mark: called with the id of the frame that this process is about to work on, empty for none.
        figures: what was counted, filled in at the end; see `labelgen.engine.metrics.Metrics.to_dict`.
    """

    on_frame: Callable[[int], None] = lambda count: None
    stop: Stop = field(default_factory=Stop)
    strict: bool = False
    suspects: frozenset[str] = frozenset()
    mark: Callable[[str], None] = lambda frame_id: None
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Committed:
    """What was newly committed.

    Attributes:
        frames, partial, failed: how many there are; partial ones are among the frames.
        shards: that hold them.
        scenes: that are whole with them, in pass 2.
        odd: {check that stops a run: frames that show it}.
    """

    frames: int = 0
    partial: int = 0
    failed: int = 0
    shards: int = 0
    scenes: int = 0
    odd: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Committed) -> Committed:
        return Committed(
            self.frames + other.frames,
            self.partial + other.partial,
            self.failed + other.failed,
            self.shards + other.shards,
            self.scenes + other.scenes,
            Counter(self.odd) + Counter(other.odd),
        )


@dataclass
class Outcome:
    """What one call of a driver did.

    Attributes:
        labelled, partial, failed: frames of this call; partial ones are among the labelled.
        shards: that this call committed.
        scenes: done in this call, in pass 2.
        skipped: frames (in pass 2: scenes) of the request that were done, or had failed, before.
        failed_before: frames of the request that had failed before.
        failed_fraction: share of the frames of the request that failed, now or before.
        left: frames that this call was to do and did not.
        elsewhere: those of them that another driver took, which shares the run.
        stopped: whether a signal, or `Watch.strict` and a failed frame, ended the call.
        signal: number of the signal that did; 0 if none.
        seconds: wall time.
        odd: {check that stops a run: frames of this call that show it}.
        figures: see `labelgen.engine.metrics.Metrics.to_dict`.
    """

    labelled: int = 0
    partial: int = 0
    failed: int = 0
    shards: int = 0
    scenes: int = 0
    skipped: int = 0
    failed_before: int = 0
    failed_fraction: float = 0.0
    left: int = 0
    elsewhere: int = 0
    stopped: bool = False
    signal: int = 0
    seconds: float = 0.0
    odd: dict[str, int] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``--json`` and the run's record."""
        return asdict(self)


class Work(Protocol):
    """What a driver has to do on a run."""

    @property
    def run(self) -> str:
        """Folder or address of the run that is written; it is made."""

    @property
    def frames(self) -> tuple[Frame, ...]:
        """What is still to be done. Held against other drivers meanwhile."""

    @property
    def asked(self) -> int:
        """Frames of the request, those included that were done before."""

    @property
    def skipped(self) -> int:
        """Frames, or scenes, of the request that were done, or had failed, before."""

    @property
    def failed_before(self) -> int:
        """Frames of the request that failed in earlier calls and are not tried again."""

    @property
    def shared(self) -> bool:
        """Whether its frames are taken one by one from those that other drivers have, too."""

    @property
    def remedy(self) -> str:
        """What drivers can do that are after the same frames, beside waiting for each other."""

    def begin(self, held: Lease | None) -> Self:
        """Write down what is planned; called once, when the frames are held (None: there are none)."""

    def renewed(self) -> Self:
        """The work without what other drivers have done since it was planned."""

    def carry_out(self, watch: Watch) -> Iterator[Committed]:
        """Do it; yields whenever something is committed.

        Raises:
            UserError: something for which no frame is to blame.
        """

    def expected(self, frames: int, figures: Mapping[str, Any]) -> dict[str, Any]:
        """What so many frames were foretold to take, for the record of the call; empty if nobody asked."""


def drive(
    work: Work,
    on_frame: Callable[[int], None] = lambda count: None,
    *,
    strict: bool = False,
    share: bool = False,
    warn: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Do what is left of some work, and bring the run's index up to date.

    SIGTERM and Ctrl-C end it early: what is begun is finished and committed; so does a check of the input
    that most frames show. A frame at which an earlier driver died is done in a process of its own, and fails
    if it kills that, too. A run of which nothing is left may be one that cannot be written.

    Args:
        work: what is to be done.
        on_frame: called with the number of frames that are newly done or have newly failed.
        strict: stop at the first frame that fails.
        share: let other drivers that share work on the same frames.
        warn: told of what is odd about other drivers.

    Raises:
        UserError: another driver is at work on the frames, the run's folder cannot be written or is removed
            meanwhile, or something is wrong for which no frame is to blame.
    """
    outcome = Outcome(skipped=work.skipped, failed_before=work.failed_before)
    outcome.failed_fraction = work.failed_before / max(1, work.asked)
    with while_there(work.run):
        if work.frames:
            with lease(work.run, work.frames, share=share, warn=warn, remedy=work.remedy) as held:
                _drive(work, held, Watch(on_frame, strict=strict), outcome)
            return outcome
        try:
            work.begin(None)
            build_index(work.run)
        except (OSError, UserError) as error:
            if not refuses_writing(error):
                raise
    return outcome


def _drive(work: Work, held: Lease, watch: Watch, outcome: Outcome) -> None:
    begin = time.time()
    if held.buried:
        time.sleep(GRACE_S)
    work = work.renewed().begin(held)
    watch = replace(watch, suspects=held.suspects, mark=held.mark)
    todo, done = len(work.frames), Committed()
    with draining(watch.stop):
        while work.frames:
            for committed in work.carry_out(watch):
                done += committed
                if (watch.strict and done.failed) or _mostly_odd(done):
                    watch.stop.set()
            if not work.shared or watch.stop.is_set() or not held.alone():
                break
            work = work.renewed()  # without what others have done; with what they had claimed and left
    build_index(work.run)
    outcome.labelled, outcome.partial, outcome.failed = done.frames, done.partial, done.failed
    outcome.shards, outcome.scenes, outcome.odd = done.shards, done.scenes, dict(done.odd)
    outcome.left = todo - done.frames - done.failed
    outcome.signal = watch.stop.signal
    outcome.stopped = bool(outcome.signal) or (outcome.left > 0 and watch.stop.is_set())
    outcome.elsewhere = 0 if outcome.stopped else outcome.left
    outcome.failed_fraction = (work.failed_before + done.failed) / max(1, work.asked)
    outcome.seconds = round(time.time() - begin, 2)
    outcome.figures = watch.figures
    if todo:
        record_call(
            work.run, held.driver.token, begin, outcome.to_dict() | work.expected(todo, outcome.figures)
        )


def _mostly_odd(done: Committed) -> bool:
    return done.frames >= ENOUGH and 2 * max(done.odd.values(), default=0) > done.frames
