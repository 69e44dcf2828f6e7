"""Tables of benchmarks/ablations.py: means and spreads over seeds beside the papers' figures."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from ablation_study import ALL, FIVE, FREE, ONE, PROBE, TEN

#: {(variant, protocol): {seed: mIoU in percent}}.
Results = Mapping[tuple[str, str], Mapping[int, float]]
#: Stands for a variant: what is trained on, scored on the validation cities. It has no seeds.
LABELS = "pseudo-labels"
AFI = f"{FREE} + AFI"

#: Published on nuScenes (VLM2Scene's table and UOV's README; MinkUNet; ScaLR: WaffleIron-48-768).
PAPERS: dict[str, dict[str, float]] = {
    "random": {PROBE: 8.10, ONE: 30.30, FIVE: 47.84, TEN: 56.15},
    "ppkt": {PROBE: 35.90, ONE: 37.80, FIVE: 53.74, TEN: 60.25},
    "slidr": {PROBE: 38.80, ONE: 38.30, FIVE: 52.49, TEN: 59.84},
    "st-slidr": {PROBE: 40.48, ONE: 40.75, FIVE: 54.69, TEN: 60.75},
    "scalr": {PROBE: 67.8, ONE: 51.0},
    "openscene": {},
    "vlm2scene": {PROBE: 51.54, ONE: 47.59, FIVE: 58.08, TEN: 63.08},
    "tmp": {PROBE: 46.29, ONE: 47.60},
}
#: VLM2Scene's component table: (row, variant, 1 %, 5 %).
COMPONENT_ROWS = (
    ("none", "vlm2scene-none", 38.8, 51.6),
    ("RCP", "vlm2scene-rcp", 43.4, 54.6),
    ("SFR", "vlm2scene-sfr", 43.8, 55.0),
    ("RSA", "vlm2scene-rsa", 42.1, 53.6),
    ("RCP + SFR", "vlm2scene-rcp-sfr", 46.5, 56.9),
    ("SFR + RSA", "vlm2scene-sfr-rsa", 45.4, 56.3),
    ("all", "vlm2scene", 47.6, 58.1),
)
#: Its strategy table; see docs/distillation.md for which variant stands for which row.
STRATEGY_ROWS = (
    ("texts: templates only", "vlm2scene-sfr-rsa", 45.4, 56.3),
    ("texts: captions only", "vlm2scene-captions", 46.5, 57.1),
    ("contrast: points", "vlm2scene-rcp", 43.4, 54.6),
    ("contrast: superpixels", "vlm2scene-slic", 44.1, 55.1),
    ("contrast: without the filter", "vlm2scene-unfiltered", 45.0, 55.9),
    ("both, regions, filter", "vlm2scene", 47.6, 58.1),
)
#: UOV's (SAN): (row, variant, protocol, published).
UOV_ROWS: tuple[tuple[str, str, str, float | None], ...] = (
    ("from random weights", "random", FREE, None),
    ("baseline (from SLidR)", "slidr", FREE, 44.16),
    ("+ TMP", "tmp", FREE, 47.42),
    ("+ TMP + AFI", "tmp", AFI, 47.73),
)


def tables(results: Results) -> str:
    """All tables as Markdown."""
    lines = ["## Pre-training methods", "", head("method", ALL)]
    for name, published in PAPERS.items():
        cells = [cell(results, name, protocol, published.get(protocol)) for protocol in ALL]
        lines.append(table_row(name, cells))
    lines += ["", "## VLM2Scene: components", "", head("components", (ONE, FIVE))]
    lines += _pairs(results, COMPONENT_ROWS)
    lines += ["", "## VLM2Scene: strategies", "", head("strategy", (ONE, FIVE))]
    lines += _pairs(results, STRATEGY_ROWS)
    lines += ["", "## UOV: training on pseudo-labels", "", head("training", ("all points",))]
    for row, name, protocol, paper in UOV_ROWS:
        lines.append(table_row(row, [cell(results, name, protocol, paper)]))
    lines.append(table_row("the pseudo-labels themselves", [cell(results, LABELS, FREE, None)]))
    return "\n".join(lines) + "\n"


def orderings(results: Results) -> str:
    """What the papers' orderings have become, each with the difference and its spread over the seeds."""
    lines = ["## Orderings", "", "| expected | difference | holds |", "| --- | --- | --- |"]
    wanted = [(name, "random", p) for name in list(PAPERS)[1:] for p in (PROBE, ONE)]
    wanted += [("vlm2scene", "slidr", p) for p in ALL]
    wanted += [("vlm2scene", "vlm2scene-none", p) for p in (ONE, FIVE)]
    wanted += [("tmp", "random", FREE), ("tmp", "slidr", FREE)]
    for better, worse, protocol in wanted:
        lines.append(
            ordering(f"{better} > {worse}, {protocol}", results, (better, protocol), (worse, protocol))
        )
    lines.append(ordering("AFI > without, after tmp", results, ("tmp", AFI), ("tmp", FREE)))
    free = (LABELS, FREE)
    lines.append(ordering("training > its pseudo-labels, after tmp", results, ("tmp", FREE), free))
    return "\n".join(lines) + "\n"


def ordering(what: str, results: Results, better: tuple[str, str], worse: tuple[str, str]) -> str:
    """A row about a difference: seed by seed, its spread, and whether it holds."""
    first, second = results.get(better, {}), results.get(worse, {})
    if worse[0] == LABELS and second:
        second = dict.fromkeys(first, second[0])
    # Seed by seed: what a seed does to both cancels out.
    gains = [value - second[seed] for seed, value in first.items() if seed in second]
    if not gains:
        return table_row(what, ["", ""])
    mean, spread = statistics.mean(gains), _spread(gains)
    verdict = "no" if mean <= 0 else "yes" if spread is not None and mean > spread else "within the spread"
    return table_row(what, [shown(gains, "+.1f"), verdict])


def _pairs(results: Results, rows: Sequence[tuple[str, str, float, float]]) -> list[str]:
    return [
        table_row(row, [cell(results, name, ONE, one), cell(results, name, FIVE, five)])
        for row, name, one, five in rows
    ]


def head(first: str, columns: Sequence[str]) -> str:
    """The first two lines of a table whose columns stand beside the papers'."""
    names = [name for column in columns for name in (column, "paper")]
    return f"| {first} | {' | '.join(names)} |\n|{' --- |' * (len(names) + 1)}"


def cell(results: Results, variant: str, protocol: str, paper: float | None) -> str:
    """A figure with its spread, and the paper's."""
    published = "" if paper is None else f"{paper:.1f}"
    return f"{shown(list(results.get((variant, protocol), {}).values()))} | {published}"


def shown(values: Sequence[float], form: str = ".1f") -> str:
    """Mean and spread; nothing of nothing."""
    if not values:
        return ""
    spread = _spread(values)
    return f"{statistics.mean(values):{form}}" + ("" if spread is None else f" ± {spread:.1f}")


def _spread(values: Sequence[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def table_row(name: str, cells: Sequence[str]) -> str:
    """A line of a table."""
    return f"| {name} | {' | '.join(cells)} |"
