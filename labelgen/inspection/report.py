"""One self-contained HTML page about a run: what made it, what came out, and pictures.

The page needs no network and runs no script but that which turns the points of one frame; its content
security policy says so to the browser.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from labelgen.core.errors import UserError
from labelgen.core.records import Reason
from labelgen.inspection.costs import shown
from labelgen.inspection.ladder import kept_ladder
from labelgen.inspection.legend import REASON_TEXT
from labelgen.inspection.markup import Html, bar, join, number, table, tag
from labelgen.inspection.report_scores import classes_html, ladder_html, panoptic_html, score, steps_html
from labelgen.inspection.report_style import CSS
from labelgen.inspection.scatter import SCRIPT_SOURCE, script_html
from labelgen.inspection.summary import summarise_run
from labelgen.inspection.tables import human_bytes
from labelgen.io.place import open_store, put_file
from labelgen.runs import Run

#: A picture's caption and its pixels, (H, W, 3) uint8 RGB.
Picture = tuple[str, NDArray[np.uint8]]

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_MOST_ROWS = 200


def write_report(
    run: Run,
    out_dir: Path | str,
    pictures: Iterable[Picture],
    steps: Sequence[tuple[str, Mapping[str, Any]]],
    scatter: Html | None = None,
) -> str:
    """Write ``out_dir/index.html`` about a run.

    Args:
        run: of `labelgen.open_run`.
        out_dir: a folder, made if it is missing, or an address.
        pictures: shown in their order; see `labelgen.inspection.picture.draw`.
        steps: names and evaluations of the runs that this one comes from and, last, of this one; empty where
            there is no truth.
        scatter: see `report_html`.

    Returns:
        Where the page is.

    Raises:
        UserError: a shard is damaged, or the folder cannot be written.
    """
    info = run.info.model_dump(mode="json")
    before, evaluation = steps[:-1], steps[-1][1] if steps else None
    summary, ladder = summarise_run(run), kept_ladder(run)
    page = report_html(run.name, info, summary, pictures, evaluation, scatter, before, ladder)
    return save_report(page, out_dir)


def report_html(
    name: str,
    info: Mapping[str, Any],
    summary: Mapping[str, Any],
    pictures: Iterable[Picture],
    evaluation: Mapping[str, Any] | None,
    scatter: Html | None = None,
    before: Sequence[tuple[str, Mapping[str, Any]]] = (),
    ladder: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Write the page.

    Args:
        name: of the run.
        info: content of ``run.json``: config, taxonomy, models, tools, fingerprint, created.
        summary: from `labelgen.inspection.summary.summarise_run`.
        pictures: shown in their order.
        evaluation: ``miou`` and ``iou`` by class (None: not in the truth); None where there is no truth.
        scatter: from `labelgen.inspection.scatter.scatter_html`; the page then runs that module's script.
        before: names and evaluations, as above, of the runs that this one comes from, the first one first.
        ladder: from `labelgen.inspection.ladder.kept_ladder`.
    """
    body = join(
        _head(name, info, summary, evaluation),
        _warnings(info, summary),
        None if evaluation is None else steps_html([*before, (name, evaluation)]),
        classes_html(info, summary, evaluation),
        None if evaluation is None else panoptic_html(evaluation),
        ladder_html(ladder),
        tag("div", _confidence(summary), _reasons(summary), class_="two"),
        _timings(summary),
        _bill(summary),
        _failures(summary),
        scatter,
        _pictures(pictures),
        _origin(info),
        None if scatter is None else script_html(),
    )
    policy = _POLICY if scatter is None else f"{_POLICY}; script-src {SCRIPT_SOURCE}"
    page = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=policy),
            tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
            tag("title", f"labelgen: {name}"),
            tag("link", rel="icon", href="data:,"),
            tag("style", Html(CSS)),
        ),
        tag("body", body),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n"


def save_report(page: str, out_dir: Path | str) -> str:
    """Write ``out_dir/index.html`` whole or not at all; gives its path or address.

    Raises:
        UserError: the folder cannot be written.
    """
    path = f"{open_store(out_dir).url}/index.html"
    try:
        put_file(path, page.encode())
    except OSError as error:
        raise UserError(f"cannot write the report to {path}: {error.strerror or error}") from error
    return path


def _head(
    name: str, info: Mapping[str, Any], summary: Mapping[str, Any], evaluation: Mapping[str, Any] | None
) -> Html:
    config = info.get("config", {})
    facts = [
        "labelgen report",
        f"data set {config.get('dataset', '?')}",
        f"created {info.get('created', '?')}",
    ]
    tiles = [
        (
            f"{summary['frames']:,}",
            "frames" + (f", {summary['partial']:,} partial" if summary["partial"] else ""),
        ),
        (f"{summary['points']:,}", "points"),
        (f"{summary['coverage']:.1%}", "of them labelled"),
    ]
    if evaluation is not None:
        tiles.append((score(evaluation["miou"]), "mIoU"))
    tiles += [
        (f"{summary['regions']:,}", "regions"),
        (f"{summary['failed']:,}", "failed frames"),
        (human_bytes(summary["bytes"]), "on disk"),
    ]
    cards = (tag("div", tag("b", value), tag("span", what), class_="tile") for value, what in tiles)
    return join(
        tag("h1", name), tag("p", " · ".join(facts), class_="muted"), tag("div", *cards, class_="tiles")
    )


def _warnings(info: Mapping[str, Any], summary: Mapping[str, Any]) -> Html:
    notes = dict.fromkeys(str(model["note"]) for model in info.get("models", ()) if model.get("note"))
    return join(*(tag("p", note, class_="warning") for note in [*notes, *summary["warnings"]]))


def _confidence(summary: Mapping[str, Any]) -> Html:
    counts = summary["confidence_histogram"]
    most = max(counts) or 1
    bars = (
        tag(
            "i",
            style=f"height: {100 * count / most:.1f}%",
            title=f"{k / 10:.1f} to {(k + 1) / 10:.1f}: {count:,}",
        )
        for k, count in enumerate(counts)
    )
    middle = (
        f"half of the labels are above {summary['confidence'][4]:.2f}"
        if summary["confidence"]
        else "no labels"
    )
    return tag(
        "section",
        tag("h2", "Confidence"),
        tag("div", *bars, class_="columns"),
        tag("div", tag("span", "0"), tag("span", middle), tag("span", "1"), class_="scale"),
    )


def _reasons(summary: Mapping[str, Any]) -> Html:
    total = max(summary["points"], 1)
    text = {reason.name.lower(): words for reason, words in REASON_TEXT.items() if reason != Reason.LABELLED}
    rows = [
        tag(
            "tr",
            tag("td", text.get(name, name)),
            number(f"{count:,}"),
            number(f"{count / total:.1%}"),
            bar(count / total),
        )
        for name, count in sorted(summary["reasons"].items(), key=lambda item: -item[1])
        if name != "labelled"
    ]
    columns = ["", "#points", "#share of all", ""]
    return tag("section", tag("h2", "Why points have no label"), table(columns, rows))


def _timings(summary: Mapping[str, Any]) -> Html | None:
    stages = summary["seconds"]
    if not stages:
        return None
    most = max(entry["mean"] for entry in stages.values()) or 1
    rows = [
        tag(
            "tr",
            tag("td", name),
            number(f"{entry['mean']:.3f}"),
            number(f"{entry['total']:,.1f}"),
            bar(entry["mean"] / most),
        )
        for name, entry in stages.items()
    ]
    return join(tag("h2", "Time per stage"), table(["stage", "#seconds a frame", "#in all", ""], rows))


def _bill(summary: Mapping[str, Any]) -> Html | None:
    lines = summary.get("bill")
    if not lines:
        return None
    rows = []
    for line in lines:
        what, *numbers = shown(line)
        rows.append(tag("tr", tag("td", what), *map(number, numbers)))
    hint = None
    if all(line["planned"] is None for line in lines):
        hint = tag("p", "labelgen plan --probe before a run fills the plan's column.", class_="muted")
    columns = ["", "#plan", "#actual", "#actual of plan"]
    return join(tag("h2", "Plan and cost"), table(columns, rows), hint)


def _failures(summary: Mapping[str, Any]) -> Html:
    parts: list[Html | None] = [tag("h2", "Failures and notes")]
    if not summary["failures"] and not summary["notes"]:
        parts.append(tag("p", "No frame failed, and no problem was noted.", class_="muted"))
    if failures := summary["failures"]:
        rows = [
            tag(
                "tr",
                *(
                    tag("td", failure[k], class_="wrap")
                    for k in ("frame_id", "stage", "error_type", "message")
                ),
            )
            for failure in failures[:_MOST_ROWS]
        ]
        parts += [table(["failed frame", "stage", "error", "message"], rows), _more(len(failures))]
    if notes := summary["notes"]:
        rows = [
            tag("tr", tag("td", note["frame_id"], class_="wrap"), tag("td", note["note"], class_="wrap"))
            for note in notes[:_MOST_ROWS]
        ]
        parts += [table(["frame", "note"], rows), _more(len(notes))]
    return join(*parts)


def _pictures(pictures: Iterable[Picture]) -> Html | None:
    figures = []
    for caption, pixels in pictures:
        height, width = pixels.shape[:2]
        image = tag("img", src=_data_uri(pixels), alt=caption, width=width, height=height)
        zoom = tag("label", tag("input", type="checkbox", aria_label="full size"), image)
        figures.append(tag("figure", zoom, tag("figcaption", caption)))
    return join(tag("h2", "Frames with the lowest scores"), *figures) if figures else None


def _origin(info: Mapping[str, Any]) -> Html:
    columns = ["model", "revision", "licence", "weights (hash)"]
    rows = [
        tag(
            "tr",
            *(
                tag("td", model.get(k) or "none", class_="wrap")
                for k in ("name", "revision", "licence", "weights")
            ),
        )
        for model in info.get("models", ())
    ]
    versions = [
        tag("tr", tag("td", name), tag("td", version)) for name, version in info.get("tools", {}).items()
    ]
    settings = yaml.safe_dump(info.get("config", {}), sort_keys=False, allow_unicode=True)
    return join(
        tag("h2", "How it was made"),
        table(columns, rows),
        tag("p", "fingerprint ", tag("code", info.get("fingerprint", "?")), class_="muted"),
        tag("details", tag("summary", "All settings"), tag("pre", settings)),
        tag("details", tag("summary", "Versions of the software"), table(["", ""], versions)),
    )


def _more(count: int) -> Html | None:
    if count <= _MOST_ROWS:
        return None
    return tag("p", f"and {count - _MOST_ROWS:,} more; labelgen inspect --json lists all", class_="muted")


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=82, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
