"""The numbers of a run, for the console, for ``--json`` and for the report."""

from __future__ import annotations

from typing import Any

from labelgen.inspection.costs import compare_costs
from labelgen.inspection.counts import PointCounts
from labelgen.inspection.tables import render_evaluation, render_plan, render_steps, render_summary
from labelgen.inspection.verdict import judge
from labelgen.runs import Run

__all__ = ["render_evaluation", "render_plan", "render_steps", "render_summary", "summarise_run"]


def summarise_run(run: Run) -> dict[str, Any]:
    """Count what a run holds, from its manifests alone.

    Args:
        run: of `labelgen.open_run`.

    Returns:
        Plain data. frames: labelled frames; partial: those of them that lacked a camera; failed; scenes;
        points, labelled, coverage, labels, reasons, confidence, confidence_histogram: see
        `PointCounts.summary`; regions; bytes: of the shards' files; seconds: {stage: {mean per frame,
            total}};
        bill: the plan beside what came, see `labelgen.inspection.costs.compare_costs`;
        warnings: what did not make sense, before the run or in its frames, see `labelgen.datasets.checks`,
        and records that cannot be read;
        failures: frame_id, stage, error_type, message of each; notes: frame_id and note of each.

    Raises:
        UserError: a shard is damaged; names it.
    """
    names = run.taxonomy.names
    counts, regions = PointCounts(), 0
    entries = [run.entry(frame_id) for frame_id in run.frames]
    for entry in entries:
        # Manifests of before such counts were kept: the arrays have to be read.
        if not counts.add_counts(entry) or entry.num_regions is None:
            frame = run.frame(entry.frame_id)
            if entry.reasons is None:
                counts.add(frame.labels.label, frame.labels.confidence, frame.labels.reason)
            regions += frame.num_regions
        else:
            regions += entry.num_regions
    passed_over: list[str] = []
    times: dict[str, list[float]] = {}
    for entry in entries:
        for stage, time in entry.seconds.items():
            times.setdefault(stage, []).append(time)
    return {
        "run": run.url,
        "dataset": str(run.info.config.get("dataset", "")),
        "fingerprint": run.info.fingerprint,
        "frames": len(entries),
        "partial": sum(entry.status == "partial" for entry in entries),
        "failed": len(run.failures),
        "scenes": len({entry.scene_id for entry in entries}),
        **counts.summary(names),
        "regions": regions,
        "bytes": sum(size for manifest in run.manifests for _, size in manifest.files()),
        "bill": compare_costs(run, passed_over.append),
        "seconds": {stage: {"mean": sum(t) / len(t), "total": sum(t)} for stage, t in times.items()},
        "warnings": _warnings(run) + passed_over,
        "failures": [
            {
                "frame_id": failure.frame_id,
                "stage": failure.stage,
                "error_type": failure.error_type,
                "message": failure.message,
            }
            for failure in run.failures.values()
        ],
        "notes": [{"frame_id": entry.frame_id, "note": note} for entry in entries for note in entry.notes],
    }


def _warnings(run: Run) -> list[str]:
    kept = {str(found.get("check")): str(found.get("text")) for found in run.info.warnings}
    counted = {finding.check: str(finding) for finding in judge(run)}
    return list({**kept, **counted}.values())
