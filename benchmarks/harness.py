"""What every benchmark shares: interleaved timing of ours and its baseline, claims, and how both are printed.

A benchmark is a script ``benchmarks/NAME.py`` with one function that returns claims:

    def run(quick: bool) -> list[Claim]:
        times = interleave({"ours": ours, "baseline": baseline}, seconds=4 if quick else 20)
        return [faster("name_of_claim", times["ours"], times["baseline"], goal=10.0)]

    if __name__ == "__main__":
        harness.main("NAME", __doc__, run)
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits


@dataclass(frozen=True)
class Claim:
    """One figure beside its baseline.

    Attributes:
        name: what is claimed; stays the same once published.
        ours, baseline: medians in ``unit`` (or scores); baseline is None where there is none to compare with.
        unit: of both, e.g. ``ms``, ``frames/s``, ``MB``, ``mIoU``.
        ratio: how many times better than the baseline; None without one.
        goal: what the ratio (or, without a baseline, ``ours``) must reach; None: the figure is only reported.
        met: whether it does; True without a goal.
        agreement: how far the two results are apart, in words or numbers; a faster wrong answer is no answer.
    """

    name: str
    ours: float
    baseline: float | None
    unit: str
    ratio: float | None
    goal: float | None
    met: bool
    agreement: dict[str, Any] | None = None


@dataclass(frozen=True)
class Timing:
    """How functions are timed.

    Attributes:
        seconds: stop starting rounds after so long.
        min_rounds, max_rounds: rounds that are made in any case, and that are enough.
        warmup: untimed calls before (compilation, caches).
        threads: cap on the threads of BLAS and OpenMP pools, for claims about one core; None for no cap.
        turn: seconds that a function's turn lasts at least: short functions are called again and again, and
            the mean counts. 0: once a turn.
        cpu_time: time that the process computes, not time that passes: for claims about one core on a
            machine that does other things too.
    """

    seconds: float = 10.0
    min_rounds: int = 5
    max_rounds: int = 1000
    warmup: int = 2
    threads: int | None = 1
    turn: float = 0.0
    cpu_time: bool = False


def interleave(functions: Mapping[str, Callable[[], object]], **timing: Any) -> dict[str, list[float]]:
    """Time functions in turn, round by round, so that a busy machine slows all of them alike.

    The order is reversed from round to round. The garbage collector is off while a function runs.

    Args:
        functions: what to time, by name.
        **timing: fields of `Timing`.

    Returns:
        {name: seconds of each round}.
    """
    how = Timing(**timing)
    with threadpool_limits(how.threads):
        turns = {name: _Turn(function, how) for name, function in functions.items()}
        return _rounds(turns, how)


def interleave_processes(
    setups: Mapping[str, Callable[[], Callable[[], object]]], **timing: Any
) -> dict[str, list[float]]:
    """As `interleave`, with each function in a process of its own; one runs at a time.

    For functions whose time depends on what else their process did before, such as those that live on the
    memory allocator.

    Args:
        setups: by name, a function of the script's top level that prepares in the process and returns what is
            to be timed.
        **timing: fields of `Timing`.
    """
    how = Timing(**timing)
    context = multiprocessing.get_context("spawn")
    turns: dict[str, Callable[[], float]] = {}
    pipes, processes = [], []
    for name, setup in setups.items():
        pipe, theirs = context.Pipe()
        processes.append(context.Process(target=_serve, args=(setup, how, theirs), daemon=True))
        processes[-1].start()
        theirs.close()
        pipe.recv()  # it is ready
        pipes.append(pipe)

        def turn(pipe: Connection = pipe) -> float:
            pipe.send(True)
            return float(pipe.recv())

        turns[name] = turn
    times = _rounds(turns, how)
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(False)
        process.join()
    return times


def _serve(setup: Callable[[], Callable[[], object]], how: Timing, pipe: Connection) -> None:
    with threadpool_limits(how.threads):
        turn = _Turn(setup(), how)
        pipe.send(True)
        while pipe.recv():
            pipe.send(turn())


class _Turn:
    """Calls of one function, as often as a turn takes; gives the seconds of one call."""

    def __init__(self, function: Callable[[], object], how: Timing) -> None:
        self.function, self.calls = function, 1
        self.clock = time.process_time if how.cpu_time else time.perf_counter
        for _ in range(how.warmup):
            function()
        if how.turn:
            self.calls = max(1, math.ceil(how.turn / max(min(self() for _ in range(3)), 1e-6)))

    def __call__(self) -> float:
        gc.collect(0)
        gc.disable()
        try:
            begin = self.clock()
            for _ in range(self.calls):
                self.function()
            return (self.clock() - begin) / self.calls
        finally:
            gc.enable()


def _rounds(turns: Mapping[str, Callable[[], float]], how: Timing) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in turns}
    end = time.perf_counter() + how.seconds
    for number in range(how.max_rounds):
        if number >= how.min_rounds and time.perf_counter() > end:
            break
        order = list(turns)
        for name in order if number % 2 == 0 else reversed(order):
            times[name].append(turns[name]())
    return times


def faster(
    name: str,
    ours: Sequence[float],
    baseline: Sequence[float] | None,
    *,
    goal: float | None,
    unit: str = "ms",
    agreement: dict[str, Any] | None = None,
    valid: bool = True,
) -> Claim:
    """A claim about time, from the seconds of `interleave`; the ratio is that of the medians.

    Without a baseline, the goal is the most that ours may take, in ``unit``. A claim whose results do
    not agree (``valid`` False) is not met, however fast.
    """
    scale = {"s": 1.0, "ms": 1e3, "us": 1e6}[unit]
    mine = statistics.median(ours) * scale
    if baseline is None:
        return Claim(name, mine, None, unit, None, goal, valid and (goal is None or mine <= goal), agreement)
    other = statistics.median(baseline) * scale
    ratio = other / mine
    return Claim(name, mine, other, unit, ratio, goal, valid and (goal is None or ratio >= goal), agreement)


def score(
    name: str,
    ours: float,
    *,
    goal: float | None,
    unit: str,
    baseline: float | None = None,
    lower_is_better: bool = False,
    agreement: dict[str, Any] | None = None,
) -> Claim:
    """A claim about a value (mIoU, bytes, frames/s).

    With a baseline the goal is a ratio, without one it is a value that ours must reach.
    """
    if baseline is None:
        met = goal is None or (ours <= goal if lower_is_better else ours >= goal)
        return Claim(name, ours, None, unit, None, goal, met, agreement)
    numerator, denominator = (baseline, ours) if lower_is_better else (ours, baseline)
    ratio = numerator / denominator if denominator else float("inf")
    return Claim(name, ours, baseline, unit, ratio, goal, goal is None or ratio >= goal, agreement)


def peak_bytes() -> int:
    """Most memory that this process alone has held; ru_maxrss would count what its parent held, too."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) << 10


def machine() -> str:
    """Processor, number of cores this process may use, operating system and Python, in one line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model
        )
    return f"{model}, {cores} cores, {platform.system()}, Python {platform.python_version()}"


def main(name: str, doc: str | None, run: Callable[[bool], list[Claim]]) -> None:
    """Parse ``--quick`` and ``--json``, run, print a table; with ``--json`` one object as the last line."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="end within 60 seconds")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    arguments = parser.parse_args()
    claims = run(arguments.quick)

    figures = ("ours", "baseline", "ratio", "goal")
    table = Table(title=name, caption=machine(), title_justify="left", caption_justify="left")
    for column in ("claim", "ours", "baseline", "unit", "ratio", "goal", "met", "agreement"):
        table.add_column(column, justify="right" if column in figures else "left")
    for claim in claims:
        agreement = ", ".join(f"{key} {_show(value)}" for key, value in (claim.agreement or {}).items())
        values = (_show(claim.ours), _show(claim.baseline), claim.unit, _show(claim.ratio), _show(claim.goal))
        table.add_row(claim.name, *values, "yes" if claim.met else "NO", agreement)
    console = Console(stderr=arguments.json)
    console.print(table, width=None if console.is_terminal else 160)
    if arguments.json:
        out = {"benchmark": name, "claims": [_plain(claim) for claim in claims], "machine": machine()}
        print(json.dumps(out))


def _plain(claim: Claim) -> dict[str, Any]:
    out = asdict(claim)
    if claim.agreement is None:
        del out["agreement"]
    return out


def _show(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
