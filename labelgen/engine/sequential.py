"""Pass 1 in this process, frame after frame: for debugging, tests, and slices of a Slurm array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from labelgen.core.frame import Frame
from labelgen.engine.driver import Committed, Watch
from labelgen.engine.in_process import one_by_one
from labelgen.engine.isolation import run_isolated
from labelgen.engine.job import LAST, Job, commit
from labelgen.engine.metrics import Metrics, report_of
from labelgen.engine.task import FrameTask, Step, run_steps


def run_sequential(job: Job, watch: Watch) -> Iterator[Committed]:
    """Label the job's frames; yields after every committed shard.

    Args:
        job: the planned run.
        watch: what to heed and to tell.
    """
    operators = {name: job.steps_of(name) for name in job.operators()}
    for steps in operators.values():
        for step in steps:
            step.setup()
    metrics = Metrics()
    tasks: list[FrameTask] = []

    def label(frame: Frame, *, alone: bool = False) -> FrameTask:
        task = FrameTask(frame)
        for name, steps in operators.items():
            metrics.begun(name)
            before = task.failure is not None
            task = _run(job, name, steps, task, alone=alone)
            failed = task.failure is not None and not before
            metrics.add(name, report_of(task, steps, last=name == LAST, failed=failed))
        return task

    frames = (frame for frame in job.frames if job.claims is None or job.claims.take(frame))
    alone = partial(label, alone=True)
    done = one_by_one(frames, watch, lambda frame: [frame.frame_id], label, alone)
    try:
        for task in done:
            watch.on_frame(1)
            tasks.append(task)
            if watch.strict and task.failure is not None:
                watch.stop.set()
            if len(tasks) == job.config.runtime.frames_per_shard:
                yield commit(job, tasks)
                tasks = []
        if tasks:
            yield commit(job, tasks)
    finally:
        figures = metrics.to_dict()
        watch.figures.update(figures | {"cores": 1, "gpus": int(figures["gpu_bytes"] > 0)})


def _run(job: Job, operator: str, steps: Sequence[Step], task: FrameTask, *, alone: bool) -> FrameTask:
    if alone and task.failure is None:
        return run_isolated(job, operator, task)
    try:
        return run_steps(steps, task)
    except MemoryError:  # of this operator: what those before it did still counts
        return run_isolated(job, operator, task)
