"""Pass 1 as it is sent to workers: settings and frames, its operators, and how a shard is committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from labelgen.config import RunConfig
from labelgen.core.frame import Frame
from labelgen.core.records import FrameRecord
from labelgen.core.taxonomy import Taxonomy
from labelgen.datasets.checks import CHECKS, noted_check
from labelgen.engine.claims import Claims
from labelgen.engine.driver import Committed
from labelgen.engine.recipe import Recipe, label_frames, split
from labelgen.engine.task import FrameTask, Step, build_record
from labelgen.io.retry import patiently
from labelgen.shards import write_shard

#: Operators of the main job: groups of steps that run in the same place.
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
        recipe: makes the steps that a frame goes through.
    """

    run: Path | str
    root: Path
    config: RunConfig
    taxonomy: Taxonomy
    fingerprint: str
    frames: tuple[Frame, ...] = ()
    claims: Claims | None = None
    recipe: Recipe = label_frames

    def with_device(self, device: Literal["cpu", "cuda"]) -> Job:
        """The same job, its models on that device."""
        runtime = self.config.runtime.model_copy(update={"device": device})
        return replace(self, config=self.config.model_copy(update={"runtime": runtime}))

    def operators(self) -> list[str]:
        """Names of the operators that a frame goes through."""
        models = [MODELS] if self.config.runtime.fuse_models else [REGIONS, SEMANTICS]
        return [FIRST, *models, LAST]

    def steps(self) -> list[Step]:
        """All steps of a frame, before their ``setup``."""
        return self.recipe(self.root, self.config, self.taxonomy, str(self.run))

    def steps_of(self, operator: str) -> list[Step]:
        """Those of one operator."""
        before, models, after = split(self.steps())
        return {
            FIRST: before,
            MODELS: models,
            REGIONS: models[:1],
            SEMANTICS: models[1:],
            LAST: after,
        }[operator]


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
        frames=len(manifest.frames) if manifest else 0,
        partial=sum(bool(record.status) for record in records),
        failed=len(manifest.failed) if manifest else 0,
        shards=int(manifest is not None),
        odd=Counter(name for record in records for name in _stopping_checks(record)),
    )


def _stopping_checks(record: FrameRecord) -> set[str]:
    names = {noted_check(note) for note in record.notes}
    return {name for name in names if name is not None and CHECKS[name].refuse}
