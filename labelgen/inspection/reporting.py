"""What a run's report shows: its scores where there is truth, and its worst frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from labelgen.core.errors import UserError
from labelgen.distill.classes import load_class_split
from labelgen.inspection.evaluation import evaluate_steps, has_truth
from labelgen.inspection.markup import Html
from labelgen.inspection.picture import draw, if_there
from labelgen.inspection.report import Picture, write_report
from labelgen.inspection.scatter import scatter_html
from labelgen.inspection.worst import worst_of
from labelgen.runs import Run, RunFrame

#: Pixels; a picture then weighs about 0.5 MB in the page.
_WIDTH = 1800


def report_run(
    run: Run,
    out_dir: Path | str,
    pictures: int = 6,
    steps: Sequence[tuple[str, Mapping[str, Any]]] = (),
    classes: str | None = None,
) -> tuple[str, list[str]]:
    """Write ``out_dir/index.html`` with scores where there is truth and with some frames drawn.

    Args:
        run: of `labelgen.open_run`.
        out_dir: a folder, made if it is missing, or an address.
        pictures: how many frames: the worst of the run. The first can be turned in space.
        steps: of `labelgen.inspection.evaluation.evaluate_steps`, if they are known already.
        classes: as for `labelgen.inspection.evaluation.evaluate`.

    Returns:
        The page, and one line for each thing that had to be left out.

    Raises:
        UserError: a shard is damaged, the folder cannot be written, or no such classes.
    """
    if classes is not None:
        load_class_split(classes, run.taxonomy)  # what is wrong with it is no missing score
    missing: list[str] = []
    worst = worst_of(run, pictures)
    try:
        if not steps and has_truth(run):
            steps = evaluate_steps(run, classes)
    except UserError as error:
        missing.append(f"scores: {error}")

    def drawn() -> Iterator[Picture]:
        for found in worst:
            frame = run.frame(found["frame_id"])
            entry = frame.entry
            picture, absent = draw(frame, _WIDTH)
            missing.extend(absent)
            share = f"{entry.labelled / max(entry.num_points, 1):.1%} of {entry.num_points:,} points labelled"
            score = f"{'mIoU' if found['by'] == 'miou' else 'mean confidence'} {found['score']:.3f}"
            yield f"frame {entry.frame_id}, scene {entry.scene_id}: {score}, {share}", picture

    scatter = _scatter(run.frame(worst[0]["frame_id"]), missing) if worst else None
    return write_report(run, out_dir, drawn(), steps, scatter), missing


def _scatter(frame: RunFrame, missing: list[str]) -> Html | None:
    """The frame in space, if its points can be had."""
    values = {"label": frame.labels.label, "confidence": frame.labels.confidence}
    xyz = if_there(lambda: frame.xyz, missing)
    truth = if_there(lambda: frame.truth, missing) if frame.has_truth else None
    if xyz is None:
        return None
    if truth is not None:
        values["truth"] = truth
    return scatter_html(f"frame {frame.frame_id}", xyz, values, frame.run.taxonomy)
