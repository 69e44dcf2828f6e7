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
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
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


def interleave(
    functions: Mapping[str, Callable[[], object]],
    *,
    seconds: float = 10.0,
    min_rounds: int = 5,
    max_rounds: int = 1000,
    warmup: int = 2,
    threads: int | None = 1,
) -> dict[str, list[float]]:
    """Time functions in turn, round by round, so that a busy machine slows all of them alike.

    Each round calls every function once; the order is reversed from round to round. The garbage
    collector is off while a function runs.

    Args:
        functions: what to time, by name.
        seconds: stop starting rounds after so long.
        min_rounds: rounds that are made in any case.
        max_rounds: rounds that are enough.
        warmup: untimed rounds before (compilation, caches).
        threads: cap on the threads of BLAS and OpenMP pools, for claims about one core; None for no cap.

    Returns:
        {name: seconds of each round}.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    with threadpool_limits(threads):
        for _ in range(warmup):
            for function in functions.values():
                function()
        end = time.perf_counter() + seconds
        for number in range(max_rounds):
            if number >= min_rounds and time.perf_counter() > end:
                break
            order = list(functions)
            for name in order if number % 2 == 0 else reversed(order):
                gc.collect(0)
                gc.disable()
                try:
                    begin = time.perf_counter()
                    functions[name]()
                    times[name].append(time.perf_counter() - begin)
                finally:
                    gc.enable()
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
