"""What a distillation gave, as one HTML page: scores beside those of the labels, loss curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelgen.distill.log import read_log
from labelgen.inspection.markup import Html, join, tag
from labelgen.inspection.report_style import CSS

_WIDTH, _HEIGHT = 720, 180


def write_report(folder: Path, summary: Mapping[str, Any]) -> Path:
    """Write ``index.html``.

    Args:
        folder: where the page goes.
        summary: what `labelgen.engine.distill.distill` gives.

    Returns:
        The page.
    """
    training = summary["training"]
    stages = [stage for stage in (summary["pretraining"], *training["rounds"]) if stage is not None]
    page = tag(
        "html",
        tag("head", tag("meta", charset="utf-8"), tag("title", "distillation"), tag("style", Html(CSS))),
        tag(
            "body",
            tag("h1", f"{training['backbone']} on pseudo-labels"),
            tag("p", _origin(summary), class_="muted"),
            _scores(training["scores"]),
            join(*(_stage(stage) for stage in stages)),
        ),
        lang="en",
    )
    path = folder / "index.html"
    path.write_text("<!doctype html>\n" + page + "\n")
    return path


def _origin(summary: Mapping[str, Any]) -> str:
    training, before = summary["training"], summary["pretraining"]
    start = f"from {before['method']}" if before else "from random weights"
    rounds = len(training["rounds"])
    return (
        f"{start}, {training['frames']} frames, {rounds} round{'s' if rounds > 1 else ''}, split "
        f"{training['split']}; all labels of the network: {summary['predicted']['run']}"
    )


def _scores(scores: Mapping[str, Any] | None) -> Html:
    if scores is None:
        return tag("p", "The data set has no truth for the held-out frames: no scores.")
    network, labels = scores["network"], scores["labels"]
    rows = [("all points, mIoU", network["miou_all"], labels["miou_all"])]
    rows += [
        (name, network["iou_all"][name], labels["iou_all"][name])
        for name, points in network["truth_points"].items()
        if points
    ]
    head = tag("tr", *(tag("th", text) for text in ("IoU over the whole cloud", "network", "labels", "gain")))
    body = [
        tag("tr", tag("td", name), *(tag("td", text, class_="number") for text in _values(ours, theirs)))
        for name, ours, theirs in rows
    ]
    title = f"Scores on {scores['frames']} held-out frames"
    note = "labels: the run's own; a point without a label is a miss"
    return join(tag("h2", title), tag("table", head, *body), tag("p", note, class_="muted"))


def _values(ours: float | None, theirs: float | None) -> tuple[str, str, str]:
    gain = "-" if ours is None or theirs is None else f"{100 * (ours - theirs):+.1f}"
    return _percent(ours), _percent(theirs), gain


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _stage(stage: Mapping[str, Any]) -> Html:
    title = f"{stage['method']}: {stage['steps']} steps, {stage['seconds']:.0f} s"
    values = [float(line["loss"]) for line in read_log(Path(stage["checkpoint"])) if line.get("loss")]
    return join(tag("h2", title), _curve(values), tag("p", f"loss of {stage['checkpoint']}", class_="muted"))


def _curve(values: list[float]) -> Html | None:
    if len(values) < 2:
        return None
    low, high = min(values), max(values)
    points = " ".join(
        f"{_WIDTH * n / (len(values) - 1):.1f},{_HEIGHT * (1 - (value - low) / ((high - low) or 1)):.1f}"
        for n, value in enumerate(values)
    )
    line = tag("polyline", points=points, fill="none", stroke="var(--bar)", stroke_width="2")
    scale = tag("p", f"{high:.3g} at the top, {low:.3g} at the bottom", class_="muted")
    return join(tag("svg", line, viewBox=f"0 -4 {_WIDTH} {_HEIGHT + 8}", width="100%"), scale)
