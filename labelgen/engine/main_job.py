"""The main job: label what a plan has left, and index it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from labelgen.datasets.checks import refuse
from labelgen.engine.derive import Runner, derive, plan_derivation
from labelgen.engine.drain import draining
from labelgen.engine.job import Committed, Job, Watch
from labelgen.engine.lease import Lease, lease
from labelgen.engine.passes import fusion_of
from labelgen.engine.planning import Plan
from labelgen.engine.probe import expected_of
from labelgen.engine.unchanged import keep
from labelgen.errors import UserError
from labelgen.frame import Frame
from labelgen.runs import Run, have_poses, open_run
from labelgen.shards import build_index, merge_plan, resume
from labelgen.shards.calls import record_call
from labelgen.shards.place import named_after
from labelgen.shards.there import refuses_writing, while_there

#: Frames from which on a local Ray fuses scenes side by side; its start takes as long as fusing some tens.
LOCAL_RAY_FROM = 64
#: Frames of a call from which on a check that most of them show ends it.
ENOUGH = 16
#: Seconds that the workers of a driver that was killed are given to go, too, before its work is taken up.
GRACE_S = 3.0


@dataclass
class Outcome:
    """What one call of `execute` did.

    Attributes:
        labelled, partial, failed: frames of this call; partial ones are among the labelled.
        shards: that this call committed.
        seconds: wall time.
        failed_fraction: over all frames of the request, those of earlier calls included.
        elsewhere: frames that another driver took, which shares the run.
        stopped: whether a signal, or `strict` and a failed frame, ended the call.
        signal: number of the signal that did; 0 if none.
        odd: {check that stops a run: frames of this call that show it}.
        figures: see `labelgen.engine.metrics.Metrics.to_dict`.
    """

    labelled: int = 0
    partial: int = 0
    failed: int = 0
    shards: int = 0
    seconds: float = 0.0
    failed_fraction: float = 0.0
    elsewhere: int = 0
    stopped: bool = False
    signal: int = 0
    odd: dict[str, int] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return asdict(self)


def execute(
    plan: Plan,
    on_frame: Callable[[int], None],
    ray_address: str | None = None,
    *,
    strict: bool = False,
    share: bool = False,
    warn: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Label what the plan has left and bring the index up to date.

    A run without anything left may be one that cannot be written.

    SIGTERM and Ctrl-C end it early: frames that are begun are finished and committed; so does a check of the
    input that most frames show. What then is to be thought of the run, `labelgen.inspection.verdict.judge`
    says.

    Args:
        plan: see `labelgen.engine.planning.make_plan`.
        on_frame: called with the number of frames that have newly left the last stage.
        ray_address: of a running cluster; None runs locally.
        strict: stop at the first frame that fails.
        share: do the frames together with other drivers that share them.
        warn: told of what is odd about other drivers.

    Raises:
        UserError: the data make no sense; the run's folder belongs to other settings, another driver is at
            work on it, it is removed meanwhile, or the cluster cannot be reached.
    """
    if plan.job.frames:
        refuse(plan.findings)
    job = plan.job
    if ray_address and job.frames and job.config.runtime.runner == "ray":
        from labelgen.engine.ray.doctor import preflight

        preflight(plan, ray_address)
    plan.open_run()
    try:
        with while_there(job.run), lease(job.run, job.frames, share=share, warn=warn) as held:
            return _label(plan, held, Watch(on_frame, strict=strict), ray_address)
    except (OSError, UserError) as error:
        if job.frames or not refuses_writing(error):
            raise
        return Outcome(failed_fraction=plan.failed / max(1, len(plan.selected)))


def _label(plan: Plan, held: Lease, watch: Watch, ray_address: str | None) -> Outcome:
    begin = time.time()
    outcome = Outcome()
    if held.buried:
        time.sleep(GRACE_S)
    job = replace(plan.job, frames=still_to_do(plan), claims=held.claims)
    # The whole plan, whatever slice of it is asked for: tasks of an array then write the same file. Unless
    # each of them has looked at the files of its own slice.
    with held.alone_at_it() if plan.unseen or plan.same else nullcontext():
        merge_plan(job.run, [f for f in plan.planned if f.frame_id not in plan.unseen], plan.info)
        keep(held.store, plan.same)
    watch = replace(watch, suspects=held.suspects, mark=held.mark)
    left = job.frames
    with draining(watch.stop):
        while left:
            for committed in _run(replace(job, frames=left), watch, ray_address):
                outcome.labelled += committed.frames
                outcome.partial += committed.partial
                outcome.failed += committed.failed
                outcome.shards += 1
                for name, frames in committed.odd.items():
                    outcome.odd[name] = outcome.odd.get(name, 0) + frames
                most = max(outcome.odd.values(), default=0)
                if outcome.labelled >= ENOUGH and 2 * most > outcome.labelled:
                    watch.stop.set()
            if job.claims is None or watch.stop.is_set() or not held.alone():
                break
            left = still_to_do(plan)  # what others had claimed that have ended since
    build_index(job.run)
    missing = len(job.frames) - outcome.labelled - outcome.failed
    outcome.signal = watch.stop.signal
    outcome.stopped = bool(outcome.signal) or (missing > 0 and watch.stop.is_set())
    outcome.elsewhere = 0 if outcome.stopped else missing
    outcome.failed_fraction = (plan.failed + outcome.failed) / max(1, len(plan.selected))
    outcome.seconds = round(time.time() - begin, 2)
    outcome.figures = watch.figures
    if job.frames:
        record = outcome.to_dict() | expected_of(job, outcome.figures)
        record_call(job.run, held.driver.token, begin, record)
    return outcome


@dataclass(frozen=True)
class Fused:
    """What pass 2 left behind.

    Attributes:
        run: folder or address of the derived run, ``<run>-fused``.
        scenes: done in this call.
        failed: frames of the derived run that could not be done.
        frames: done or failed in this call.
        left: frames that a signal left undone.
        signal: its number; 0 for none.
    """

    run: str
    scenes: int
    failed: int
    frames: int = 0
    left: int = 0
    signal: int = 0


def still_to_do(plan: Plan) -> tuple[Frame, ...]:
    """The plan's frames without what another driver has done since the plan was made.

    Moves manifests aside that do not count, whose frames are in the plan.
    """
    progress = resume(plan.job.run)
    held = progress.done | (progress.failed.keys() - plan.progress.failed.keys())
    return tuple(frame for frame in plan.job.frames if (frame.frame_id, frame.source_id) not in held)


def fuse(
    plan: Plan,
    on_frame: Callable[[int], None],
    ray_address: str | None = None,
    *,
    retry_failed: bool = False,
    warn: Callable[[str], None] = lambda text: None,
) -> Fused | None:
    """Pass 2: fuse what the run holds over the frames of each scene, into a run beside it.

    A scene is fused when all of its planned frames are labelled or have failed, so that of the tasks of a job
    array the one that labels its last frame does it. A scene that is fused already stays as it is, unless it
    has gained frames or had some labelled anew: see `labelgen.engine.derive.derive`.

    Args:
        plan: whose run is labelled.
        on_frame: called with the number of frames of every scene that is done.
        ray_address: of a running cluster; None runs locally.
        retry_failed: try frames again that could not be fused.
        warn: told of what is odd about other drivers.

    Returns:
        None where there is nothing to fuse: no such scene has poses and more than one labelled frame.

    Raises:
        UserError: the folder holds another run, or cannot be written.
    """
    config = plan.job.config
    run = Run(plan.job.run, plan.job.root)
    planned: dict[str, list[Frame]] = {}
    for frame in plan.planned:
        planned.setdefault(frame.scene_id, []).append(frame)
    ready: dict[str, list[Frame]] = {}  # labelled frames of the scenes that are complete
    for name, frames in planned.items():
        if all(frame.frame_id in run or frame.frame_id in run.failures for frame in frames):
            ready[name] = [frame for frame in frames if frame.frame_id in run]
    if not any(len(frames) > 1 and have_poses(frames) for frames in ready.values()):
        return None

    derivation = plan_derivation(
        run,
        fusion_of(config.labels, config.fusion, config.projection),
        named_after(plan.job.run, "-fused"),
    )
    runner: Runner | None = None
    many = sum(map(len, ready.values())) >= LOCAL_RAY_FROM
    if config.runtime.runner == "ray" and (ray_address or many):
        from labelgen.engine.ray.scenes import RayScenes

        runner = RayScenes(ray_address)
    outcome = derive(
        derivation,
        on_frame,
        lambda _, scene: scene.scene_id in ready,
        runner,
        retry_failed=retry_failed,
        share=True,
        warn=warn,
    )
    fused = open_run(derivation.output)
    done = outcome.frames + outcome.failed
    return Fused(fused.url, outcome.scenes, len(fused.failures), done, outcome.left, outcome.signal)


def _run(job: Job, watch: Watch, ray_address: str | None) -> Iterator[Committed]:
    if job.config.runtime.runner == "sequential":
        from labelgen.engine.sequential_runner import run_sequential

        return run_sequential(job, watch)
    from labelgen.engine.ray.runner import run_ray

    return run_ray(job, watch, ray_address)
