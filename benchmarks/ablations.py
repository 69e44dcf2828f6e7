"""The papers' ablation tables on the simulated city: every method and component, like for like.

    python benchmarks/ablations.py --size cpu            # at most 3 hours on two cores
    python benchmarks/ablations.py --size cpu --tables   # the tables of what there is so far

Builds training and validation cities, labels them once with SAM's masks and once with superpixels, pre-trains
every variant with every seed, and scores what follows: probe, fine-tuning on 1, 5 and 10 % of the scenes,
training on pseudo-labels. Stopped and called again, it goes on. docs/ablations.md takes the figures.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any

import ablation_tables
from ablation_study import FREE, PROBE, SHARES, SIZES, Size, Unit, units
from ablation_tables import AFI
from harness import machine

#: Trains one unit, and gives its scores; see `train_unit`.
Work = Callable[[Path, Size, Unit, float], dict[str, float]]
ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "ablations.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
#: First seeds: cities that no small model was trained on, and that no other benchmark looks at.
TRAIN_SEED, VAL_SEED = 90_000, 190_000
# Captions that do not touch the classes: rows without RCP must not learn from them.
CAPTIONS = ("semantics.captions=blip2", "semantics.caption_strategy=template")
#: {run: the city it labels, settings}.
RUNS: dict[str, tuple[str, tuple[str, ...]]] = {
    "sam": ("train", CAPTIONS),
    "slic": ("train", (*CAPTIONS, "regions.backend=superpixel", "regions.superpixel_method=slic")),
    "val": ("val", ()),
}


def main() -> int:
    parser = study_options(__doc__, SIZES, PAGE)
    parser.add_argument(
        "--folder", type=Path, help="of cities, runs and weights; default: runs/ablations-SIZE"
    )
    parser.add_argument("--only", nargs="+", metavar="VARIANT", help="instead of all")
    arguments = parser.parse_args()
    size: Size = SIZES[arguments.size]
    folder: Path = arguments.folder or ROOT / "runs" / f"ablations-{arguments.size}"
    deadline = time.time() + 3600 * arguments.hours
    failed: list[str] = []
    if not arguments.tables:
        same_study(folder, size)
        chosen = [
            unit
            for unit in units(arguments.seeds or size.seeds)
            if not arguments.only or unit.variant.name in arguments.only
        ]
        needed = {"sam", "val", *(unit.variant.cache for unit in chosen)}
        prepare(folder, size, {name: run for name, run in RUNS.items() if name in needed})
        failed = train_all(folder, size, chosen, arguments.jobs, deadline)
    rewrite(arguments.page, folder, arguments.size)
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return bool(failed)


def study_options(about: str | None, sizes: Iterable[str], page: Path) -> argparse.ArgumentParser:
    """What every study of trainings can be told.

    Args:
        about: the script's docstring.
        sizes: names of sizes to choose from.
        page: whose tables are rewritten by default.
    """
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--size", choices=sizes, default="cpu")
    parser.add_argument("--seeds", type=int, help="instead of the size's")
    parser.add_argument(
        "--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes, a thread each"
    )
    parser.add_argument("--hours", type=float, default=float("inf"), help="start no training after so long")
    parser.add_argument("--tables", action="store_true", help="train nothing")
    parser.add_argument("--page", type=Path, default=page, help="whose tables are rewritten")
    return parser


def same_study(folder: Path, size: Size) -> None:
    """Refuse a folder that holds a study of another size."""
    folder.mkdir(parents=True, exist_ok=True)
    record, content = folder / "study.json", json.dumps(asdict(size), indent=1)
    if record.exists() and record.read_text() != content:
        sys.exit(f"{folder} holds a study of another size; choose another --folder")
    record.write_text(content)


def prepare(folder: Path, size: Size, runs: Mapping[str, tuple[str, tuple[str, ...]]] = RUNS) -> None:
    """Cities and runs; what is there is kept, and a run that was stopped goes on."""
    from labelgen.demo.world import build
    from labelgen.engine.isolation import die_with_parent

    for name, scenes, seed in (("train", size.train, TRAIN_SEED), ("val", size.val, VAL_SEED)):
        city, building = folder / f"city-{name}", folder / f"city-{name}.partial"
        if not city.exists():
            shutil.rmtree(building, ignore_errors=True)
            build(building, scenes=scenes, frames=1, seed=seed, image_size=(1600, 900))
            building.rename(city)
    for name, (city_name, settings) in runs.items():
        run = folder / name
        if (run / "done").exists():
            continue
        command = [
            sys.executable,
            "-m",
            "labelgen.cli.main",
            "run",
            "--config",
            "demo",
            "--dataset",
            "nuscenes",
        ]
        command += ["--dataroot", str(folder / f"city-{city_name}"), "--output", str(run), "--no-report"]
        for setting in (*settings, "shards.store_points=true", "fusion.enabled=false", *size.label):
            command += ["--set", setting]
        subprocess.run(command, check=True, cwd=ROOT, preexec_fn=partial(die_with_parent, os.getpid()))
        (run / "done").touch()


def train_all(
    folder: Path, size: Size, chosen: Sequence[Unit], jobs: int, deadline: float, work: Work | None = None
) -> list[str]:
    """Train all units in processes of one thread each; gives a line for each that failed."""
    from labelgen.engine.isolation import die_with_parent

    failed = []
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = "1"  # inherited by the processes, before they load anything
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, initializer=die_with_parent, initargs=(os.getpid(),)) as pool:
        running = {pool.submit(work or train_unit, folder, size, unit, deadline): unit for unit in chosen}
        for number, future in enumerate(as_completed(running), 1):
            unit = running[future]
            if error := future.exception():
                failed.append(f"{unit.name}: {type(error).__name__}: {error}")
                continue
            shown = ", ".join(f"{name} {value:.1f}" for name, value in future.result().items())
            print(f"{number}/{len(chosen)} {unit.name}: {shown or 'not done'}", flush=True)
    return failed


def train_unit(folder: Path, size: Size, unit: Unit, deadline: float) -> dict[str, float]:
    """Pre-train one variant with one seed, and score it: {protocol: mIoU in percent}, of what time allows."""
    from labelgen.distill.train import Start, train

    here = folder / "trained" / unit.name
    scores: dict[str, float] = {}
    for protocol in unit.variant.protocols:
        record = here / f"{protocol.replace(' %', '')}.json"
        if not record.exists():
            if time.time() > deadline:
                continue
            begin = time.process_time()
            start = Start()
            if unit.variant.method is not None:
                learned = run_of(folder / unit.variant.cache)
                frames = tuple(learned.plan)
                config = configure(unit.variant.method, size, unit, size.pretrain, len(frames))
                train(learned, config, frames, here / "pretrain")
                start = Start(here / "pretrain")
            found = follow(folder, size, unit, protocol, start, here / record.stem)
            record.write_text(json.dumps({"miou": found, "cpu_seconds": time.process_time() - begin}))
        scores |= json.loads(record.read_text())["miou"]
    return scores


def follow(folder: Path, size: Size, unit: Unit, protocol: str, start: Any, output: Path) -> dict[str, float]:
    """Train after pre-training, and score on the validation cities: {protocol: mIoU in percent}."""
    from labelgen.distill.predict import score
    from labelgen.distill.splits import choose_fraction
    from labelgen.distill.train import train

    learned, judged = run_of(folder / "sam"), run_of(folder / "val")
    frames = tuple(learned.plan)
    if protocol in SHARES:
        frames = choose_fraction(learned, frames, SHARES[protocol])
    kind, steps = {PROBE: ("probe", size.probe), FREE: ("annotation-free", size.free)}.get(
        protocol, ("finetune", size.finetune)
    )
    config = configure(kind, size, unit, steps, len(frames))
    predictor = train(learned, config, frames, output, start=start, truth=protocol != FREE)
    if protocol == FREE:
        return score_flat(predictor, judged)
    return {protocol: 100 * (score(predictor, judged, tuple(judged.plan)).result()["miou_all"] or 0)}


def configure(kind: str, size: Size, unit: Unit, steps: int, frames: int) -> Any:
    """Settings of one training: the method's file, the size's, the variant's; a tenth of it warms up."""
    from labelgen.distill.config import load_train_config

    settings = unit.variant.settings if kind == unit.variant.method else {}
    overrides = [
        f"seed={unit.seed}",
        "runtime.workers=0",
        "runtime.threads=1",
        "optimizer.epochs=1000000",
        f"optimizer.max_steps={steps}",
        *size.overrides,
        *(size.free_overrides if kind == "annotation-free" else ()),
        *(f"settings.{name}={json.dumps(value)}" for name, value in settings.items()),
    ]
    batch = load_train_config(kind, size.preset, overrides=overrides).optimizer.batch_size
    warmup = 0.1 * steps / max(1, frames // batch)
    return load_train_config(kind, size.preset, overrides=[*overrides, f"optimizer.warmup={warmup}"])


def score_flat(predictor: Any, judged: Any) -> dict[str, float]:
    """mIoU on all points with and without AFI over the predictions."""
    from labelgen.distill.predict import best_class
    from labelgen.labels.afi import ground_classes, refine_probability
    from labelgen.metrics import SegmentationScore

    names = judged.taxonomy.names
    ground = ground_classes(names)
    scores = {FREE: SegmentationScore(names), AFI: SegmentationScore(names)}
    for frame_id, probability in predictor(judged, tuple(judged.plan)):
        truth, xyz = judged.frame(frame_id).truth, judged.frame(frame_id).xyz
        scores[FREE].update(truth, best_class(probability))
        scores[AFI].update(truth, best_class(refine_probability(xyz, probability, ground)))
    return {name: 100 * (found.result()["miou_all"] or 0) for name, found in scores.items()}


@cache
def run_of(run: Path) -> Any:
    """An open run."""
    from labelgen.distill.needs import open_for_training

    return open_for_training(run)


def gather(folder: Path) -> tuple[dict[tuple[str, str], dict[int, float]], float]:
    """{(variant, protocol): {seed: mIoU}} of what there is, and its CPU hours."""
    from labelgen.distill.predict import score_labels

    results, seconds = read_records(folder, "miou")
    if (folder / "val" / "done").exists():
        judged = run_of(folder / "val")
        labels = score_labels(judged, tuple(judged.plan)).result()["miou_all"]
        results[ablation_tables.LABELS, FREE] = {0: 100 * (labels or 0)}
    return results, seconds / 3600


def read_records(folder: Path, scores: str) -> tuple[dict[tuple[str, str], dict[int, float]], float]:
    """{(variant, score): {seed: value}} of the records of units, and their CPU seconds.

    Args:
        folder: of the study.
        scores: field of the records.
    """
    results: dict[tuple[str, str], dict[int, float]] = {}
    seconds = 0.0
    for record in sorted((folder / "trained").glob("*/*/*.json")):
        found: Mapping[str, Any] = json.loads(record.read_text())
        seconds += found["cpu_seconds"]
        for name, value in found[scores].items():
            results.setdefault((record.parts[-3], name), {})[int(record.parts[-2])] = value
    return results, seconds


def rewrite(page: Path, folder: Path, name: str) -> None:
    """Put the tables between the page's marks; what else it says stays."""
    results, hours = gather(folder)
    size = SIZES[name]
    seeds = max(map(len, results.values()), default=0)
    said = (
        f"`python benchmarks/ablations.py --size {name}`: {size.train} training and {size.val} validation "
        f"cities of one frame each, up to {seeds} seeds; {size.pretrain} steps of pre-training, {size.probe} "
        f"of the probe, {size.finetune} of fine-tuning, {size.free} on pseudo-labels; settings "
        f"{', '.join(([size.preset] if size.preset else []) + list(size.overrides))}"
        f"{'; on pseudo-labels ' if size.free_overrides else ''}{', '.join(size.free_overrides)}. "
        f"{hours:.1f} CPU hours of training on {machine()}."
    )
    put(page, [said, ablation_tables.tables(results), ablation_tables.orderings(results)])


def put(page: Path, parts: Sequence[str]) -> None:
    """Put paragraphs between a page's marks."""
    text = page.read_text()
    head, tail = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    page.write_text("\n\n".join(part.strip("\n") for part in (head, *parts, tail)) + "\n")


if __name__ == "__main__":
    sys.exit(main())
