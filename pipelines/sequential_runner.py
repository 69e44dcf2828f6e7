"""Run the stages in this process, frame after frame: for debugging, tests, and slices of a Slurm array."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipelines.job import Committed, Job, commit
from pipelines.stages import FrameTask, run_stages


def run_sequential(job: Job, on_frame: Callable[[int], None]) -> Iterator[Committed]:
    """Label the job's frames; yields after every committed shard.

    Args:
        job: the planned run.
        on_frame: called with 1 for every frame that left the last stage.
    """
    stages = [*job.load(), *job.models(), *job.label()]
    for stage in stages:
        stage.setup()
    size = job.config.runtime.frames_per_shard
    for begin in range(0, len(job.frames), size):
        tasks = []
        for frame in job.frames[begin : begin + size]:
            tasks.append(run_stages(stages, FrameTask(frame)))
            on_frame(1)
        yield commit(job, tasks)
