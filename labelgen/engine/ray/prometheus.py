"""Shows a run's numbers through Ray's metrics, which Prometheus collects; see cluster/grafana.json."""

from __future__ import annotations

from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from labelgen.engine.supervisor import Supervisor

#: {name: (kind, description, tags)}; Prometheus sees them as ``ray_labelgen_<name>``.
METRICS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "frames": ("counter", "Frames done, by stage and outcome (ok, failed).", ("stage", "outcome")),
    "stage_seconds": ("histogram", "Seconds per frame and stage.", ("stage",)),
    "queue": ("gauge", "Frames that wait before an operator.", ("operator",)),
    "coverage": ("gauge", "Share of the points that have a label.", ()),
    "masks_per_image": ("gauge", "Mean number of regions per image.", ()),
    "images": ("counter", "Images whose regions were proposed.", ()),
    "regions": ("counter", "Regions proposed.", ()),
    "points": ("counter", "Points voted on.", ()),
    "labelled": ("counter", "Points that got a label.", ()),
    "gpu_bytes": ("gauge", "Most GPU memory that a worker held, bytes.", ("worker",)),
    "worker_deaths": ("counter", "Workers that died over a frame.", ("operator",)),
}
#: Seconds.
BOUNDARIES = [0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100]


class RayMetrics:
    """A `labelgen.engine.metrics.Sink`; to be made in the process whose numbers it shows."""

    def __init__(self, run: str) -> None:
        self._metrics: dict[str, Any] = {}
        for name, (kind, description, tags) in METRICS.items():
            full, keys = f"labelgen_{name}", ("run", *tags)
            metric: Any
            if kind == "counter":
                metric = Counter(full, description=description, tag_keys=keys)
            elif kind == "gauge":
                metric = Gauge(full, description=description, tag_keys=keys)
            else:
                metric = Histogram(full, description=description, boundaries=BOUNDARIES, tag_keys=keys)
            metric.set_default_tags({"run": run})
            self._metrics[name] = metric

    def count(self, name: str, value: float, **tags: str) -> None:
        """See `Sink.count`."""
        if value > 0:  # Ray refuses zero
            self._metrics[name].inc(value, tags=tags)

    def observe(self, name: str, value: float, **tags: str) -> None:
        """See `Sink.observe`."""
        self._metrics[name].observe(value, tags=tags)

    def set(self, name: str, value: float, **tags: str) -> None:
        """See `Sink.set`."""
        self._metrics[name].set(value, tags=tags)


class ReportingSupervisor(Supervisor):
    """A supervisor whose numbers Prometheus sees; to be made as an actor."""

    def __init__(self, run: str) -> None:
        super().__init__(RayMetrics(run))
