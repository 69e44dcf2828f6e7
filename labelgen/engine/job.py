"""What both runners are given, and the closing of a group of frames into a shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from labelgen.config import RunConfig
from labelgen.datasets.checks import CHECKS, noted_check
from labelgen.engine.claims import Claims
from labelgen.engine.drain import Stop
from labelgen.engine.stages import label_stages, load_stages, model_stages
from labelgen.engine.task import FrameTask, Stage, build_record
from labelgen.frame import Frame
from labelgen.records import FrameRecord
from labelgen.retry import patiently
from labelgen.shards import write_shard
from labelgen.taxonomy import Taxonomy

#: Operators of the main job: groups of stages that run in the same place.
FIRST, MODELS, REGIONS, SEMANTICS, LAST = "load", "models", "regions", "semantics", "label"


@dataclass(frozen=True)
class Job:
    """A planned run: everything that a worker needs, small enough to be pickled with each operator.

    Attributes:
        run: the run's folder or address.
        root: the data root; paths in frames are relative to it.
        config, taxonomy, fingerprint: as in ``run.json``.
        frames: what is still to be done, in order. Empty in the copies that workers get.
        claims: where the run's frames are shared with other drivers.
    """

    run: Path | str
    root: Path
    config: RunConfig
    taxonomy: Taxonomy
    fingerprint: str
    frames: tuple[Frame, ...] = ()
    claims: Claims | None = None

    def with_device(self, device: Literal["cpu", "cuda"]) -> Job:
        """The same job, its models on that device."""
        runtime = self.config.runtime.model_copy(update={"device": device})
        return replace(self, config=self.config.model_copy(update={"runtime": runtime}))

    def operators(self) -> list[str]:
        """Names of the operators that a frame goes through."""
        models = [MODELS] if self.config.runtime.fuse_models else [REGIONS, SEMANTICS]
        return [FIRST, *models, LAST]

    def stages(self, operator: str) -> list[Stage]:
        """The stages of one operator, before their ``setup``."""
        match operator:
            case "load":
                return self.load()
            case "models":
                return self.models()
            case "regions":
                return self.models()[:1]
            case "semantics":
                return self.models()[1:]
            case "label":
                return self.label()
        raise ValueError(f"no operator {operator!r}")

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


@dataclass
class Watch:
    """What a driver tells its runner, and what it is told while the runner works.

    Attributes:
        on_frame: called with the number of frames that have newly left the models, or failed before.
        stop: when set, no frame is begun any more; what is begun is finished and committed.
        strict: stop at the first frame that fails.
        suspects: ids of frames at which an earlier driver died in its own process.
        mark: called with the id of the frame that this process is about to work on, empty for none.
        figures: what was counted, filled in at the end; see `labelgen.engine.metrics.Metrics.to_dict`.
    """

    on_frame: Callable[[int], None] = lambda count: None
    stop: Stop = field(default_factory=Stop)
    strict: bool = False
    suspects: frozenset[str] = frozenset()
    mark: Callable[[str], None] = lambda frame_id: None
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Committed:
    """What one committed shard held.

    Attributes:
        shard_id: its name; empty where every frame failed.
        frames, partial, failed: how many there are; partial ones are among the frames.
        odd: {check that stops a run: frames that show it}.
    """

    shard_id: str
    frames: int
    partial: int
    failed: int
    odd: Mapping[str, int] = field(default_factory=dict)


def commit(job: Job, tasks: Sequence[FrameTask]) -> Committed:
    """Write the tasks as one shard and publish its manifest; skipped ones are left out.

    Writing is safe to repeat, and is repeated where the store fails for a moment.
    """
    done = [task for task in tasks if task.failure is None and not task.skipped]
    records = [build_record(task, job.config.shards.store_points) for task in done]
    failures = [task.failure for task in tasks if task.failure is not None]
    attributes = done[0].attributes if done else {}
    manifest = patiently(
        lambda: write_shard(job.run, records, failures, fingerprint=job.fingerprint, attributes=attributes)
    )
    return Committed(
        shard_id=manifest.shard_id if manifest else "",
        frames=len(records),
        partial=sum(bool(record.status) for record in records),
        failed=len(failures),
        odd=Counter(name for record in records for name in _stopping_checks(record)),
    )


def _stopping_checks(record: FrameRecord) -> set[str]:
    names = {noted_check(note) for note in record.notes}
    return {name for name in names if name is not None and CHECKS[name].refuse}
