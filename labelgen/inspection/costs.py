"""What a run was expected to take, beside what it took."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from labelgen.inspection.tables import human_bytes, human_time
from labelgen.runs import Run
from labelgen.shards.calls import Call, Expected, read_calls

#: The run's own files beside shards and manifests: run.json, frames.parquet, index.parquet.
_OWN = 3


def compare_costs(run: Run, on_damage: Callable[[str], None] | None = None) -> list[dict[str, Any]]:
    """The plan beside what came, over all calls of the main job; empty if none is recorded.

    Args:
        run: labelled, or derived: then the run that it comes from in the end is meant.
        on_damage: see `read_calls`.

    Returns:
        One mapping for each line: ``what``; ``planned``, None without a plan that was measured
        (`labelgen plan --probe`); ``actual``; ``unit``: ``frames``, ``s`` (a frame), ``time`` (in seconds),
        ``hours``, ``bytes``, ``objects``, ``money``.
    """
    while run.parent is not None:
        run = run.parent
    calls = read_calls(run.store, on_damage)
    if not calls:
        return []
    plans = [call.expected for call in calls if call.expected is not None]
    # A sum of plans says nothing of calls that had none.
    whole = len(plans) == len(calls)

    def planned(value: Callable[[Expected], float]) -> float | None:
        return sum(value(plan) for plan in plans) if whole else None

    hours = sum(call.seconds * _machines(call) for call in calls) / 3600
    done = sum(call.labelled + call.failed for call in calls)
    lines = [
        _line("frames", "frames", planned(lambda plan: plan.frames), done),
        _line(
            "wall time, all calls", "time", planned(lambda plan: plan.wall_s), sum(c.seconds for c in calls)
        ),
        _line(f"{_unit(calls[-1])}-hours", "hours", planned(lambda plan: plan.gpu_hours), hours),
    ]
    price = plans[-1].price if plans else None
    if price is not None:
        priced = all(plan.cost is not None for plan in plans)
        cost = planned(lambda plan: plan.cost or 0.0) if priced else None
        lines.append(_line("cost", "money", cost, hours * price))
    entries = [run.entry(frame_id) for frame_id in run.frames]
    for stage in dict.fromkeys(stage for entry in entries for stage in entry.seconds):
        took = [entry.seconds[stage] for entry in entries if stage in entry.seconds]
        expected = plans[-1].seconds.get(stage) if plans else None
        lines.append(_line(f"{stage}, a frame", "s", expected, sum(took) / len(took)))
    files = [size for manifest in run.manifests for _, size in manifest.files()]
    objects = len(files) + len(run.manifests) + _OWN
    own = planned(lambda plan: plan.objects)
    lines.append(_line("stored", "bytes", planned(lambda plan: plan.bytes), sum(files)))
    # Each call's plan counts the run's own files.
    lines.append(_line("objects", "objects", None if own is None else own - _OWN * (len(plans) - 1), objects))
    return lines


def shown(line: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """A line as four texts: what, planned, actual, and the actual value as a share of the planned one."""

    def text(value: float | None) -> str:
        if value is None:
            return "-"
        match line["unit"]:
            case "bytes":
                return human_bytes(value)
            case "time":
                return human_time(value)
            case "frames" | "objects":
                return f"{value:,.0f}"
            case "s":
                return f"{value:.3f} s"
            case _:
                return f"{value:,.2f}"

    planned, actual = line["planned"], line["actual"]
    return line["what"], text(planned), text(actual), f"{actual / planned:.0%}" if planned else "-"


def _line(what: str, unit: str, planned: float | None, actual: float) -> dict[str, Any]:
    return {"what": what, "unit": unit, "planned": planned, "actual": actual}


def _machines(call: Call) -> float:
    """GPUs that a call had; cores, where it had none."""
    return call.figures.gpus or call.figures.cores or 1


def _unit(call: Call) -> str:
    return "GPU" if call.figures.gpus else "core"
