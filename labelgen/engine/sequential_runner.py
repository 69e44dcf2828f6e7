"""Run the stages in this process, frame after frame: for debugging, tests, and slices of a Slurm array."""

from __future__ import annotations

from collections.abc import Iterator

from labelgen.engine.isolation import run_isolated
from labelgen.engine.job import LAST, Committed, Job, Watch, commit
from labelgen.engine.metrics import Metrics, report_of
from labelgen.engine.task import FrameTask, Stage, run_stages


def run_sequential(job: Job, watch: Watch) -> Iterator[Committed]:
    """Label the job's frames; yields after every committed shard.

    A frame that kills this process is done in a process of its own by the next call, which finds out of it
    by what `Watch.mark` left.

    Args:
        job: the planned run.
        watch: what to heed and to tell.
    """
    operators = {name: job.stages(name) for name in job.operators()}
    for stages in operators.values():
        for stage in stages:
            stage.setup()
    metrics = Metrics()
    tasks: list[FrameTask] = []
    try:
        for frame in job.frames:
            if watch.stop.is_set():
                break
            if job.claims and not job.claims.take(frame):
                continue
            task = FrameTask(frame)
            watch.mark(frame.frame_id)
            for name, stages in operators.items():
                metrics.begun(name)
                before = task.failure is not None
                task = _run(job, name, stages, task, alone=frame.frame_id in watch.suspects)
                failed = task.failure is not None and not before
                metrics.add(name, report_of(task, stages, last=name == LAST, failed=failed))
            watch.mark("")
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


def _run(job: Job, operator: str, stages: list[Stage], task: FrameTask, *, alone: bool) -> FrameTask:
    if alone and task.failure is None:
        return run_isolated(job, operator, task)
    try:
        return run_stages(stages, task)
    except MemoryError:
        return run_isolated(job, operator, task)
