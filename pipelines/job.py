"""What both runners are given, and the closing of a group of frames into a shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labelgen.config import RunConfig
from labelgen.frame import Frame
from labelgen.shards import write_shard
from labelgen.taxonomy import Taxonomy
from pipelines.stages import FrameTask, Stage, build_record, label_stages, load_stages, model_stages


@dataclass(frozen=True)
class Job:
    """A planned run: everything that a worker needs, small enough to be pickled with each operator.

    Attributes:
        run: the run's folder or address.
        root: the data root; paths in frames are relative to it.
        config, taxonomy, fingerprint: as in ``run.json``.
        frames: what is still to be done, in order. Empty in the copies that workers get.
        shard_attributes: written into every shard's group (class text embeddings, text encoder).
    """

    run: Path | str
    root: Path
    config: RunConfig
    taxonomy: Taxonomy
    fingerprint: str
    frames: tuple[Frame, ...] = ()
    shard_attributes: dict[str, Any] = field(default_factory=dict)

    def load(self) -> list[Stage]:
        """Stages that read and project."""
        return load_stages(self.root, self.config)

    def models(self) -> list[Stage]:
        """Stages that hold models."""
        label_maps = Path(self.run) / "label_maps" if self.config.regions.label_map else None
        return model_stages(self.config, self.taxonomy, label_maps)

    def label(self) -> list[Stage]:
        """Stages that vote."""
        return label_stages(self.config, self.taxonomy)


@dataclass(frozen=True)
class Committed:
    """What one committed shard held."""

    shard_id: str
    frames: int
    partial: int
    failed: int


def commit(job: Job, tasks: Sequence[FrameTask]) -> Committed:
    """Write the tasks as one shard and publish its manifest."""
    records = [build_record(task, job.config.shards.store_points) for task in tasks if task.failure is None]
    failures = [task.failure for task in tasks if task.failure is not None]
    manifest = write_shard(
        job.run, records, failures, fingerprint=job.fingerprint, attributes=job.shard_attributes
    )
    return Committed(
        shard_id=manifest.shard_id if manifest else "",
        frames=len(records),
        partial=sum(bool(record.status) for record in records),
        failed=len(failures),
    )
