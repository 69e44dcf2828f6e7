"""The ablation of open-vocabulary panoptic segmentation on the simulated city, beside the paper's figures.

    python benchmarks/panoptic.py --size cpu                               # about 2 hours on two idle cores
    python benchmarks/panoptic.py --size cpu --cities runs/ablations-cpu   # cities and labels of that study
    python benchmarks/panoptic.py --size cpu --tables                      # the tables of what there is

Builds and labels cities as benchmarks/ablations.py does, trains each variant on base classes (nuscenes-b12n4)
with every seed, and scores all classes on validation cities. Stopped and called again, it goes on.
docs/panoptic.md takes the figures.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from ablation_study import Size, Unit, Variant, units
from ablation_tables import Results, cell, head, ordering, shown, table_row
from ablations import (
    ROOT,
    configure,
    prepare,
    put,
    read_records,
    run_of,
    same_study,
    study_options,
    train_all,
)
from harness import machine

PAGE = ROOT / "docs" / "panoptic.md"
CLASSES = "nuscenes-b12n4"
#: {run: the city it labels, settings}; captions are not read here.
RUNS: dict[str, tuple[str, tuple[str, ...]]] = {"sam": ("train", ()), "val": ("val", ())}
#: Scores of the tables: {column: (group of classes, mean)}.
COLUMNS = {
    "PQ": ("all", "pq"),
    "PQ base things": ("base things", "pq"),
    "PQ base stuff": ("base stuff", "pq"),
    "PQ novel things": ("novel things", "pq"),
    "PQ novel stuff": ("novel stuff", "pq"),
    "RQ": ("all", "rq"),
    "SQ": ("all", "sq"),
    "mIoU": ("all", "miou"),
}
#: On nuScenes; the novel classes' and PQ are confirmed, the others recalled (see the page).
PAPER = {
    "pfc": {"PQ": 54.8, "PQ novel things": 37.3, "PQ novel stuff": 0.5, "RQ": 63.6, "SQ": 84.2, "mIoU": 55.5},
    "full": {
        "PQ": 62.0,
        "PQ novel things": 49.6,
        "PQ novel stuff": 35.2,
        "RQ": 70.9,
        "SQ": 87.0,
        "mIoU": 60.1,
    },
}
ROWS = {
    "pfc": "baseline (PFC)",
    "fusion": "+ fusion of CLIP features",
    "unified": "+ unified head",
    "object": "+ object loss",
    "full": "+ voxel loss (full)",
    "pseudo": "full, from pseudo-labels alone",
}
LABELS = "the run's own labels"
#: {what is trained: rows of the table that it gives}. The head is a matter of inference alone.
TRAININGS = {
    "pfc": ("pfc",),
    "full": ("full",),
    "unified": ("fusion", "unified"),
    "object": ("object",),
    "pseudo": ("pseudo",),
}
SIZES = {
    # A test of the whole way, no more: its figures mean nothing.
    "tiny": Size(
        *(2, 1, 1, 2, 0, 0, 0),
        overrides=("data.max_points=1500",),
        label=("regions.max_prompts=4", "runtime.runner=sequential"),
    ),
    # The study: at most two hours on two cores, of which half an hour is labelling.
    "cpu": Size(
        *(80, 20, 2, 1000, 0, 0, 0), overrides=("optimizer.batch_size=1", "optimizer.learning_rate=0.0015")
    ),
    # A night on one GPU.
    "gpu": Size(*(600, 100, 3, 20_000, 0, 0, 0), preset="base", overrides=()),
}


def main() -> int:
    parser = study_options(__doc__, SIZES, PAGE)
    parser.add_argument("--folder", type=Path, help="of weights and scores; default: runs/panoptic-SIZE")
    parser.add_argument("--cities", type=Path, help="folder of a study whose cities and runs are taken")
    parser.add_argument("--only", nargs="+", metavar="TRAINING", choices=TRAININGS, help="instead of all")
    arguments = parser.parse_args()
    size: Size = SIZES[arguments.size]
    folder: Path = arguments.folder or ROOT / "runs" / f"panoptic-{arguments.size}"
    cities: Path = arguments.cities or folder
    deadline = time.time() + 3600 * arguments.hours
    failed: list[str] = []
    if not arguments.tables:
        same_study(folder, size)
        if arguments.cities is None:
            prepare(folder, size, RUNS)
        variants = [Variant(name, "panoptic", settings_of(name)) for name in arguments.only or TRAININGS]
        chosen = list(units(arguments.seeds or size.seeds, variants))
        failed = train_all(folder, size, chosen, arguments.jobs, deadline, partial(train_unit, cities))
    results, seconds = read_records(folder, "pq")
    results |= own_labels(cities)
    said = (
        f"`python benchmarks/panoptic.py --size {arguments.size}`: up to "
        f"{max(map(len, results.values()), default=0)} seeds of {size.pretrain} steps on cities of one frame "
        f"each, {frames_of(cities / 'sam')} to learn from and {frames_of(cities / 'val')} to score; settings "
        f"{', '.join([size.preset or 'of the method', *size.overrides])}; split {CLASSES}. "
        f"{seconds / 3600:.1f} CPU hours of training on {machine()}."
    )
    put(arguments.page, [said, table(results), orderings(results)])
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return bool(failed)


def settings_of(name: str) -> dict[str, Any]:
    """Of the method, for a training."""
    from labelgen.core.taxonomy import load_taxonomy
    from labelgen.distill.classes import load_class_split
    from labelgen.distill.panoptic.variants import VARIANTS

    if name == "pseudo":
        return {"labels": "pseudo"}
    taxonomy = load_taxonomy("nuscenes16")
    novel = [taxonomy.names[c] for c in load_class_split(CLASSES, taxonomy).novel]
    return VARIANTS[name] | {"classes": CLASSES, "novel": novel}


def train_unit(cities: Path, folder: Path, size: Size, unit: Unit, deadline: float) -> dict[str, float]:
    """Train one variant with one seed, and score it: {row and column: per cent}."""
    from labelgen.distill.train import train

    here = folder / "trained" / unit.name
    records = {
        row: folder / "trained" / row / str(unit.seed) / "score.json" for row in TRAININGS[unit.variant.name]
    }
    if not all(record.exists() for record in records.values()):
        if time.time() > deadline:
            return {}
        begin = time.process_time()
        learned, judged = run_of(cities / "sam"), run_of(cities / "val")
        frames = tuple(learned.plan)
        config = configure("panoptic", size, unit, size.pretrain, len(frames))
        truth = config.settings.get("labels") != "pseudo"
        predictor = train(learned, config, frames, here / "training", truth=truth)
        method = predictor.model.method
        for row, record in records.items():
            if len(records) > 1:
                head = "ensemble" if row == "fusion" else "unified"
                method.settings = method.settings.model_copy(update={"head": head})
            found = scores_of(predictor.labels(judged, tuple(judged.plan)), judged)
            spent, begin = time.process_time() - begin, time.process_time()
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(json.dumps({"pq": found, "cpu_seconds": spent}))
    found = {row: json.loads(record.read_text())["pq"] for row, record in records.items()}
    return {f"{row}: {name}": score for row, scores in found.items() for name, score in scores.items()}


def scores_of(labels: Any, judged: Any) -> dict[str, float]:
    """{column: per cent}, over all points of the validation cities."""
    from labelgen.distill.classes import load_class_split
    from labelgen.distill.panoptic.score import score_panoptic

    found = score_panoptic(labels, judged, load_class_split(CLASSES, judged.taxonomy))["panoptic"]["groups"]
    return {column: 100 * (found[group][mean] or 0) for column, (group, mean) in COLUMNS.items()}


def own_labels(cities: Path) -> dict[tuple[str, str], dict[int, float]]:
    """The same scores of what the validation cities were labelled with: it has no seeds."""
    if not (cities / "val" / "done").exists():
        return {}
    judged = run_of(cities / "val")
    found = scores_of(((f, judged.frame(f).labels) for f in judged.frames), judged)
    return {(LABELS, column): {0: value} for column, value in found.items()}


def frames_of(run: Path) -> int:
    """How many frames a run has; 0 where there is none."""
    return len(run_of(run).frames) if (run / "done").exists() else 0


def table(results: Results) -> str:
    """The variants' scores as Markdown."""
    lines = ["### Components", "", head("variant", tuple(COLUMNS))]
    for name, title in ROWS.items():
        published = PAPER.get(name, {})
        lines.append(table_row(title, [cell(results, name, c, published.get(c)) for c in COLUMNS]))
    lines.append(
        table_row(LABELS, [f"{shown(list(results.get((LABELS, c), {}).values()))} | " for c in COLUMNS])
    )
    return "\n".join(lines) + "\n"


def orderings(results: Results) -> str:
    """What the paper's orderings have become."""
    lines = ["### Orderings", "", "| expected | difference | holds |", "| --- | --- | --- |"]
    names = [name for name in ROWS if name != "pseudo"]
    for column in ("PQ", "PQ novel things", "PQ novel stuff"):
        for worse, better in [("pfc", "full"), *pairwise(names)]:
            what = f"{better} > {worse}, {column}"
            lines.append(ordering(what, results, (better, column), (worse, column)))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
