"""Summaries, evaluations and plans as tables on the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from labelgen.core.wording import one_line
from labelgen.inspection.fitting import make_table, show, tell

_BAR = 20
_MOST_FAILURES = 10
_MOST_NOTES = 10
_MOST_PAIRS = 30


def render_summary(console: Console, summary: Mapping[str, Any]) -> None:
    """Print what `labelgen.inspection.summary.summarise_run` returns."""
    facts = _facts()
    frames = f"{summary['frames']:,}"
    if summary["partial"]:
        frames += f", {summary['partial']:,} of them partial"
    facts.add_row("frames", frames)
    facts.add_row("failed", Text(f"{summary['failed']:,}", "bold red" if summary["failed"] else ""))
    facts.add_row("points", f"{summary['points']:,}")
    facts.add_row("labelled", f"{summary['labelled']:,} ({summary['coverage']:.1%})")
    facts.add_row("regions", f"{summary['regions']:,}")
    facts.add_row("on disk", human_bytes(summary["bytes"]))
    show(console, facts)
    for warning in summary["warnings"]:
        tell(console, one_line(f"warning: {warning}"), "yellow", "")

    classes = make_table("class", "points", "share", "", "confidence", title="labels (share of the labelled)")
    present = {name: entry for name, entry in summary["labels"].items() if entry["points"]}
    most = max((entry["share"] for entry in present.values()), default=0.0)
    for name, entry in sorted(present.items(), key=lambda item: -item[1]["points"]):
        bar = _bar(entry["share"] / most)
        classes.add_row(
            plain(name),
            f"{entry['points']:,}",
            f"{entry['share']:.1%}",
            bar,
            f"{entry['mean_confidence']:.2f}",
        )
    show(console, classes)
    absent = [plain(name).plain for name, entry in summary["labels"].items() if not entry["points"]]
    if absent:
        tell(console, "no points: " + ", ".join(absent), "dim", "")

    reasons = make_table("reason", "points", "share of all", "", title="why points have a label or none")
    for name, count in sorted(summary["reasons"].items(), key=lambda item: -item[1]):
        share = count / max(summary["points"], 1)
        reasons.add_row(plain(name.replace("_", " ")), f"{count:,}", f"{share:.1%}", _bar(share))
    show(console, reasons)

    if summary["confidence"]:
        deciles = make_table(
            *(f"{k}0 %" for k in range(1, 10)), title="confidence: share of the labels below"
        )
        deciles.columns[0].justify, deciles.pad_edge = "right", False
        deciles.add_row(*(f"{value:.2f}" for value in summary["confidence"]))
        show(console, deciles)

    if summary["notes"]:
        notes = make_table("frame", "note", title="notes")
        for note in summary["notes"][:_MOST_NOTES]:
            notes.add_row(plain(note["frame_id"], "dim"), plain(note["note"]))
        show(console, notes)
        _more(console, len(summary["notes"]) - _MOST_NOTES, "notes")
    if summary["failures"]:
        failures = make_table("frame", "stage", "error", "message", title="failed frames")
        for column in failures.columns:
            column.justify = "left"
        for failure in summary["failures"][:_MOST_FAILURES]:
            failures.add_row(*(plain(failure[k]) for k in ("frame_id", "stage", "error_type", "message")))
        show(console, failures)
        _more(console, len(summary["failures"]) - _MOST_FAILURES, "failed frames")


def render_evaluation(console: Console, result: Mapping[str, Any]) -> None:
    """Print an evaluation: ``miou``, ``coverage``, ``iou`` by class (None: not in the truth), and more.

    Other plain numbers in ``result`` are printed with the facts, as they are.
    """
    facts = _facts()
    facts.add_row("mIoU", Text(_number(result["miou"]), "bold"))
    facts.add_row("coverage", "-" if result["coverage"] is None else f"{result['coverage']:.1%}")
    if "miou_all" in result:
        facts.add_row("mIoU if no label is a miss", _number(result["miou_all"]))
    for key, value in result.items():
        plain_number = isinstance(value, int | float) and not isinstance(value, bool)
        if plain_number and key not in ("miou", "coverage", "miou_all"):
            facts.add_row(plain(key.replace("_", " ")), _number(value))
    show(console, facts)
    classes = make_table("class", "IoU", "")
    for name, value in sorted(result["iou"].items(), key=lambda item: 1.0 if item[1] is None else -item[1]):
        classes.add_row(plain(name), _number(value), "" if value is None else _bar(value))
    show(console, classes)
    if "protocols" in result:
        tools = make_table("mIoU as computed by", "mIoU", "", title="three tools, the same labels")
        for name, found in result["protocols"].items():
            refused = found["miou"] is None and result["points"]
            tools.add_row(name, "refused" if refused else _number(found["miou"]), plain(found["how"]))
        show(console, tools)
    for group in ("by_range", "by_cameras", "by_visibility"):
        if result.get(group):
            parts = make_table(group.replace("_", " "), "points", "coverage", "mIoU", "mIoU of all")
            for name, part in result[group].items():
                shown = (part["points"], part["coverage"], part["miou"], part["miou_all"])
                parts.add_row(plain(name), *(_number(value) for value in shown))
            show(console, parts)
    if result.get("confidence", {}).get("labels"):
        trust = result["confidence"]
        deciles = make_table(
            *(f"{k + 1}." for k in range(10)), title="accuracy by tenths of rising confidence"
        )
        deciles.columns[0].justify, deciles.pad_edge = "right", False
        deciles.add_row(*(_number(value) for value in trust["deciles"]))
        show(console, deciles)
        console.print(f"  expected calibration error {_number(trust['ece'])}")
    if result.get("panoptic"):
        if "split" in result:
            novel = ", ".join(result["split"]["novel"]) or "none"
            tell(console, one_line(f"split {result['split']['name']}: novel classes {novel}"))
        for name, found in result["panoptic"].items():
            title = f"panoptic, by the rules of {name}: segments from {found['min_points']} points"
            show(console, panoptic_table(found, title))


def panoptic_table(found: Mapping[str, Any], title: str) -> Table:
    """Panoptic quality of groups of classes, as of `PanopticScore.result`."""
    table = make_table("classes", "there", "PQ", "RQ", "SQ", "PQ dagger", "mIoU", title=title)
    for group, means in found["groups"].items():
        keys = ("pq", "rq", "sq", "pq_dagger", "miou")
        there = f"{means['present']} of {means['classes']}"
        table.add_row(group, there, *(_number(means[key]) for key in keys))
    return table


def render_steps(console: Console, steps: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Print the scores of a run and of those that it is derived from, the first one first."""
    if len(steps) < 2:
        return
    table = make_table("labels", "mIoU", "coverage", "mIoU of all", title="step by step")
    for name, result in steps:
        table.add_row(plain(name), *(_number(result[key]) for key in ("miou", "coverage", "miou_all")))
    show(console, table)


def render_ladder(console: Console, rungs: Mapping[str, Mapping[str, Any]], texts: Mapping[str, str]) -> None:
    """Print the oracle ladder: {rung: its scores}, and what is true and what is not on each."""
    table = make_table("", "mIoU", "coverage", "mIoU of all", "right where seen", "", title="oracle ladder")
    for name, scores in rungs.items():
        keys = ("miou", "coverage", "miou_all", "right")
        table.add_row(name, *(_number(scores[key]) for key in keys), plain(texts[name]))
    show(console, table)


def render_plan(console: Console, plan: Mapping[str, Any]) -> None:
    """Print a plan: ``frames``, ``todo``, ``done``, ``failed``, ``images``, ``estimated_bytes``, and more.

    Keys are printed in their order; those that end in ``bytes`` as sizes; lists and mappings are left out.
    """
    facts = _facts()
    for key, value in plan.items():
        if value is None or isinstance(value, list | tuple | dict):
            continue
        is_size = key.endswith("bytes") and isinstance(value, int | float)
        text = human_bytes(value) if is_size else _number(value)
        facts.add_row(plain(key.removesuffix("_bytes").replace("_", " ")), plain(text))
    show(console, facts)


def render_estimates(console: Console, plan: Mapping[str, Any]) -> None:
    """Print ``probe`` and ``estimates`` of a plan; see `labelgen.engine.probe.summarise`."""
    probe, estimates = plan["probe"], plan["estimates"]
    unit = "GPUs" if probe["device"] == "cuda" else "cores"
    stages = ", ".join(f"{stage} {seconds:.3f}" for stage, seconds in probe["seconds"].items())
    measured = f"{probe['frames']} frames (±{probe['error']:.0%}) on {probe['machine']}"
    tell(console, f"seconds a frame, over {measured}: {stages}")
    table = make_table(unit, "frames/s", "limited by", "wall time", f"{unit[:-1]}-hours", "busy", "cost")
    for entry in estimates:
        table.add_row(
            f"{entry['gpus']:,}",
            f"{entry['frames_per_s']:.2f}",
            entry["bound"],
            human_time(entry["wall_s"]),
            f"{entry['gpu_hours']:,.2f}",
            f"{entry['busy']:.0%}",
            "-" if entry["cost"] is None else f"{entry['cost']:,.2f}",
        )
    show(console, table)
    if unit == "cores":
        tell(
            console,
            "measured without a GPU: the numbers are for CPU cores and say nothing about GPUs",
            "yellow",
        )


def render_errors(console: Console, counts: Mapping[str, Any]) -> None:
    """Print what `labelgen.inspection.failures.count_errors` returns."""
    console.print(f"{counts['failed']:,} frames failed, {counts['frames']:,} are labelled")
    errors = make_table("stage", "error", "frames", "for example", "message")
    for entry in counts["errors"]:
        words = (plain(entry[key]) for key in ("stage", "error_type", "frames", "frame_id", "message"))
        errors.add_row(*words)
    notes = make_table("note", "frames", "for example")
    for entry in counts["notes"]:
        notes.add_row(*(plain(entry[key]) for key in ("note", "frames", "frame_id")))
    for table in (errors, notes):
        if table.row_count:
            show(console, table)


def render_worst(console: Console, frames: Sequence[Mapping[str, Any]]) -> None:
    """Print what `labelgen.inspection.worst.worst_frames` returns."""
    table = make_table("frame", "scene", "score", "by", "coverage")
    for entry in frames:
        table.add_row(
            plain(entry["frame_id"]),
            plain(entry["scene_id"]),
            f"{entry['score']:.3f}",
            "mIoU" if entry["by"] == "miou" else "confidence",
            f"{entry['coverage']:.1%}",
        )
    show(console, table)


def render_diff(console: Console, diff: Mapping[str, Any]) -> None:
    """Print what `labelgen.inspection.diff.diff_runs` returns."""
    facts = _facts()
    facts.add_row("frames in both", f"{diff['frames']:,}")
    for key, words in (("only_a", "only in the first"), ("only_b", "only in the second")):
        facts.add_row(words, f"{len(diff[key]):,}")
    share = diff["changed"] / max(diff["points"], 1)
    facts.add_row("labels that changed", f"{diff['changed']:,} of {diff['points']:,} ({share:.2%})")
    facts.add_row("in frames", f"{diff['changed_frames']:,}")
    show(console, facts)
    pairs = make_table("from", "to", "points", "frames", "for example")
    for entry in diff["pairs"][:_MOST_PAIRS]:
        example = entry["examples"][0] if entry["examples"] else ""
        numbers = (f"{entry['points']:,}", f"{entry['frames']:,}")
        pairs.add_row(plain(entry["from"]), plain(entry["to"]), *numbers, plain(example))
    if diff["pairs"]:
        show(console, pairs)
    _more(console, len(diff["pairs"]) - _MOST_PAIRS, "pairs of classes")


def plain(text: Any, style: str = "") -> Text:
    """One printable line, which Rich takes as it is."""
    return Text(one_line(text), style)


def human_bytes(count: float) -> str:
    """A size as people write it, in powers of 1000: ``1.4 MB``."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 999.5 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"


def human_time(seconds: float) -> str:
    """A duration as people write it: ``45 s``, ``12 min``, ``3.4 h``, ``2.1 d``."""
    for unit, size, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 48)):
        if seconds / size < most:
            return f"{seconds / size:.0f} {unit}" if unit != "h" else f"{seconds / size:.1f} h"
    return f"{seconds / 86400:.1f} d"


def _number(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _bar(share: float) -> Text:
    eighths = round(min(max(share, 0.0), 1.0) * _BAR * 8)
    return Text("█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8], "cyan")


def _facts() -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _more(console: Console, count: int, what: str) -> None:
    if count > 0:
        console.print(Text(f"  and {count:,} more {what}; --json lists all", "dim"))
