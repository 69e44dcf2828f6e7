"""Sections of the report on what the labels are worth: classes, steps to the labels, the oracle ladder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from labelgen.core.taxonomy import Taxonomy
from labelgen.inspection.markup import Html, bar, join, number, table, tag


def classes_html(
    info: Mapping[str, Any], summary: Mapping[str, Any], evaluation: Mapping[str, Any] | None
) -> Html:
    """Every class with its points, confidence and, where there is truth, IoU."""
    colors = {spec.name: spec.color for spec in Taxonomy.from_dict(info["taxonomy"], "run.json").classes}
    iou = {} if evaluation is None else evaluation["iou"]
    columns = ["class", "#points", "#share of labelled", "", "#mean confidence"]
    most = max((entry["share"] for entry in summary["labels"].values()), default=0) or 1
    rows = []
    for name, entry in sorted(summary["labels"].items(), key=lambda item: -item[1]["points"]):
        red, green, blue = colors.get(name, (90, 90, 90))
        swatch = tag("i", class_="swatch", style=f"background: rgb({red}, {green}, {blue})")
        cells = [
            tag("td", swatch, name),
            number(f"{entry['points']:,}"),
            number(f"{entry['share']:.1%}"),
            bar(entry["share"] / most),
            number(score(entry["mean_confidence"], 2)),
        ]
        if evaluation is not None:
            value = iou.get(name)
            cells += [number(score(value)), bar(value or 0.0)]
        rows.append(tag("tr", *cells))
    if evaluation is not None:
        columns += ["#IoU", ""]
    return join(tag("h2", "Classes"), table(columns, rows))


def steps_html(steps: Sequence[tuple[str, Mapping[str, Any]]]) -> Html | None:
    """Scores of the runs that this one comes from, and of this one; None where it comes from none."""
    if len(steps) < 2:
        return None
    keys = ("miou", "coverage", "miou_all")
    columns = ["labels", "#mIoU", "#coverage", "#mIoU of all points"]
    values = [[result[key] for key in keys] for _, result in steps]
    if any(result.get("panoptic") for _, result in steps):
        columns.append("#PQ")
        for row, (_, result) in zip(values, steps, strict=True):
            row.append(result["panoptic"]["devkit"]["pq"] if result.get("panoptic") else None)
    rows = [
        tag("tr", tag("td", name), *(number(score(value)) for value in row))
        for (name, _), row in zip(steps, values, strict=True)
    ]
    return join(tag("h2", "Step by step"), table(columns, rows))


def panoptic_html(evaluation: Mapping[str, Any]) -> Html | None:
    """Panoptic quality of groups of classes, by the rules of both devkits; None without instances."""
    if not evaluation.get("panoptic"):
        return None
    keys = ("pq", "rq", "sq", "pq_dagger", "miou")
    columns = ["classes", "#there", "#PQ", "#RQ", "#SQ", "#PQ dagger", "#mIoU", ""]
    parts = [tag("h2", "Panoptic quality")]
    if "split" in evaluation:
        split = evaluation["split"]
        parts.append(tag("p", f"split {split['name']}; novel: {', '.join(split['novel']) or 'none'}"))
    for name, found in evaluation["panoptic"].items():
        rows = [
            tag(
                "tr",
                tag("td", group),
                number(f"{means['present']} of {means['classes']}"),
                *(number(score(means[key])) for key in keys),
                bar(means["pq"] or 0.0),
            )
            for group, means in found["groups"].items()
        ]
        note = f"by the rules of {name}: segments from {found['min_points']} points, over all classes"
        parts += [tag("p", note, class_="muted"), table(columns, rows)]
    return join(*parts)


def ladder_html(rungs: Sequence[Mapping[str, Any]]) -> Html | None:
    """What the run would reach with the truth in the place of each stage; None where nobody measured it."""
    if not rungs:
        return None
    keys = ("miou", "coverage", "right")
    rows = [
        tag(
            "tr",
            tag("td", rung["text"], class_="wrap"),
            *(number(score(rung.get(key))) for key in keys),
            bar(rung.get("miou") or 0.0),
        )
        for rung in rungs
    ]
    columns = ["what is true, and what is the run's own", "#mIoU", "#coverage", "#right where seen", ""]
    return join(tag("h2", "Where the quality is lost"), table(columns, rows))


def score(value: float | None, digits: int = 3) -> str:
    """A number of a table, or a dash."""
    return "-" if value is None else f"{value:.{digits}f}"
