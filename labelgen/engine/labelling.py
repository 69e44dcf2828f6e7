"""Pass 1: the frames that a plan has left, labelled in this process or on Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Self

from labelgen.core.frame import Frame
from labelgen.datasets.checks import refuse
from labelgen.engine.driver import Committed, Outcome, Watch, drive
from labelgen.engine.lease import REMEDY, Lease
from labelgen.engine.planning import Plan
from labelgen.engine.probe import expected_of
from labelgen.engine.unchanged import keep
from labelgen.io.place import open_store
from labelgen.shards import merge_plan, resume


@dataclass(frozen=True)
class Labelling:
    """What a plan has left, as a `labelgen.engine.driver.Work`.

    Attributes:
        plan: its job holds the frames that are still to be done.
        ray_address: of a running cluster; None starts a local Ray, where the settings ask for Ray.
    """

    plan: Plan
    ray_address: str | None = None
    remedy: str = REMEDY

    @property
    def run(self) -> str:
        """Folder or address of the run."""
        return str(self.plan.job.run)

    @property
    def frames(self) -> tuple[Frame, ...]:
        """Still to be labelled."""
        return self.plan.job.frames

    @property
    def asked(self) -> int:
        """Frames of the request."""
        return len(self.plan.selected)

    @property
    def skipped(self) -> int:
        """Frames of the request that were done, or failed, before."""
        return self.asked - len(self.frames)

    @property
    def failed_before(self) -> int:
        """Frames of the request that failed and are not retried."""
        return self.plan.failed

    @property
    def shared(self) -> bool:
        """Whether each frame is claimed before it is loaded."""
        return self.plan.job.claims is not None

    def begin(self, held: Lease | None) -> Self:
        """Write the whole plan, whatever slice is asked for: tasks of an array then write the same file.

        Unless each of them has looked at the files of its own slice; then one after the other adds to it.
        """
        plan = self.plan
        turns = held is not None and (plan.unseen or plan.same)
        with held.alone_at_it() if held is not None and turns else nullcontext():
            merge_plan(self.run, [f for f in plan.planned if f.frame_id not in plan.unseen], plan.info)
            keep(open_store(self.run), plan.same)
        return self if held is None else self._with(claims=held.claims)

    def renewed(self) -> Self:
        """Without frames that another driver has done; moves manifests aside that do not count."""
        progress = resume(self.run)
        held = progress.done | (progress.failed.keys() - self.plan.progress.failed.keys())
        return self._with(
            frames=tuple(frame for frame in self.frames if (frame.frame_id, frame.source_id) not in held)
        )

    def carry_out(self, watch: Watch) -> Iterator[Committed]:
        """Label the frames; yields after every committed shard."""
        job = self.plan.job
        if job.config.runtime.runner == "sequential":
            from labelgen.engine.sequential import run_sequential

            return run_sequential(job, watch)
        from labelgen.engine.ray.runner import run_ray

        return run_ray(job, watch, self.ray_address)

    def expected(self, frames: int, figures: Mapping[str, Any]) -> dict[str, Any]:
        """What `labelgen plan --probe` foretold."""
        return expected_of(self.plan.job, frames, figures)

    def _with(self, **changes: Any) -> Self:
        return replace(self, plan=replace(self.plan, job=replace(self.plan.job, **changes)))


def label_plan(
    plan: Plan,
    on_frame: Callable[[int], None] = lambda count: None,
    ray_address: str | None = None,
    *,
    strict: bool = False,
    share: bool = False,
    warn: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Label what the plan has left, under the rules of `labelgen.engine.driver.drive`.

    What then is to be thought of the run, `labelgen.inspection.verdict.judge` says.

    Args:
        plan: see `labelgen.engine.planning.make_plan`.
        on_frame: called with the number of frames that have newly left the models, or failed before.
        ray_address: of a running cluster; None runs locally.
        strict: stop at the first frame that fails.
        share: do the frames together with other drivers that share them.
        warn: told of what is odd about other drivers.

    Raises:
        UserError: the data make no sense; the run's folder belongs to other settings, another driver is at
            work on it, it is removed meanwhile, or the cluster cannot be reached.
    """
    job = plan.job
    if job.frames:
        refuse(plan.findings)
    if ray_address and job.frames and job.config.runtime.runner == "ray":
        from labelgen.engine.ray.doctor import preflight

        preflight(plan, ray_address)
    plan.open_run()
    return drive(Labelling(plan, ray_address), on_frame, strict=strict, share=share, warn=warn)
