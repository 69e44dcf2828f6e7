"""What a run is doing, in numbers: the same ones for both runners, Prometheus, and in the run's record."""

from __future__ import annotations

import itertools
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from labelgen.core.records import UNLABELLED

if TYPE_CHECKING:  # the supervisor's process needs none of what steps need
    from labelgen.engine.task import FrameTask, Step


class Sink(Protocol):
    """Where numbers are shown while they change; see `labelgen.engine.ray.prometheus`."""

    def count(self, name: str, value: float, **tags: str) -> None:
        """Add to a number that only grows."""

    def observe(self, name: str, value: float, **tags: str) -> None:
        """Add a value to a distribution."""

    def set(self, name: str, value: float, **tags: str) -> None:
        """Say what a number is now."""


def report_of(task: FrameTask, steps: Sequence[Step], *, last: bool, failed: bool) -> dict[str, Any]:
    """What is worth counting after an operator has done its steps on a frame; small.

    Args:
        task: after the steps.
        steps: of the operator.
        last: whether the frame leaves the last operator.
        failed: whether the frame failed in this operator.
    """
    names = [step.name for step in steps]
    report: dict[str, Any] = {
        "seconds": {name: task.seconds[name] for name in names if name in task.seconds},
        "failed": task.failure.stage if failed and task.failure is not None else None,
        "last": last,
    }
    if last and task.regions is not None and task.labels is not None:
        report["images"] = sum(data is not None for data in task.images)
        report["regions"] = len(task.regions)
        report["points"] = len(task.labels)
        report["labelled"] = int((task.labels.label != UNLABELLED).sum())
    if gpu := _gpu_bytes():
        report["gpu_bytes"] = gpu
    return report


class Metrics:
    """Numbers of one call of the main job. Work that is done twice, after a death, counts twice."""

    def __init__(self, sink: Sink | None = None) -> None:
        self.sink = sink
        self.frames: dict[str, dict[str, int]] = defaultdict(lambda: {"ok": 0, "failed": 0})
        self.seconds: dict[str, float] = defaultdict(float)
        self.slowest: dict[str, float] = defaultdict(float)
        self.deaths: dict[str, int] = defaultdict(int)
        self.totals = dict.fromkeys(("images", "regions", "points", "labelled"), 0)
        self.gpu_bytes: dict[str, int] = {}
        self._begun: dict[str, int] = {}
        self._ended: dict[str, int] = defaultdict(int)

    def begun(self, operator: str) -> None:
        """An operator has begun a frame."""
        self._begun[operator] = self._begun.get(operator, 0) + 1
        self._show_queues()

    def died(self, operator: str) -> None:
        """A worker died over a frame."""
        self.deaths[operator] += 1
        if self.sink:
            self.sink.count("worker_deaths", 1, operator=operator)

    def add(self, operator: str, report: Mapping[str, Any], worker: str = "") -> None:
        """An operator is done with a frame; see `report_of`."""
        self._ended[operator] += 1
        failed = report.get("failed")
        for stage, seconds in report.get("seconds", {}).items():
            self.seconds[stage] += seconds
            self.slowest[stage] = max(self.slowest[stage], seconds)
            if self.sink:
                self.sink.observe("stage_seconds", seconds, stage=stage)
            if stage != failed:
                self._count(stage, "ok")
        if failed:
            self._count(failed, "failed")
        for name in self.totals:
            if name in report:
                self.totals[name] += report[name]
                if self.sink:
                    self.sink.count(name, report[name])
        if gpu := report.get("gpu_bytes"):
            self.gpu_bytes[worker] = max(gpu, self.gpu_bytes.get(worker, 0))
            if self.sink:
                self.sink.set("gpu_bytes", gpu, worker=worker)
        if self.sink and self.totals["points"]:
            self.sink.set("coverage", self.totals["labelled"] / self.totals["points"])
            self.sink.set("masks_per_image", self.totals["regions"] / max(1, self.totals["images"]))
        self._show_queues()

    def _count(self, stage: str, outcome: str) -> None:
        self.frames[stage][outcome] += 1
        if self.sink:
            self.sink.count("frames", 1, stage=stage, outcome=outcome)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the run's record."""
        points, images = self.totals["points"], self.totals["images"]
        return {
            "frames": {stage: dict(counts) for stage, counts in self.frames.items()},
            "seconds": {
                stage: {
                    "total": round(total, 3),
                    "mean": round(total / max(1, sum(self.frames[stage].values())), 4),
                    "slowest": round(self.slowest[stage], 4),
                }
                for stage, total in self.seconds.items()
            },
            **self.totals,
            "coverage": round(self.totals["labelled"] / points, 4) if points else None,
            "masks_per_image": round(self.totals["regions"] / images, 1) if images else None,
            "gpu_bytes": max(self.gpu_bytes.values(), default=0),
            "worker_deaths": dict(self.deaths),
        }

    def queues(self) -> dict[str, int]:
        """Frames that wait before each operator but the first."""
        order = list(self._begun)
        return {
            after: max(0, self._ended[before] - self._begun[after])
            for before, after in itertools.pairwise(order)
        }

    def _show_queues(self) -> None:
        if self.sink:
            for operator, waiting in self.queues().items():
                self.sink.set("queue", waiting, operator=operator)


def _gpu_bytes() -> int:
    """Most GPU memory that this process ever held; 0 without torch or a GPU, which this does not load."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return int(torch.cuda.max_memory_allocated())
