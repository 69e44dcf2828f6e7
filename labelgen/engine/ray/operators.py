"""What runs in Ray's workers: steps on rows, with the failure policy around them.

Rows hold one pickled `FrameTask` (file bytes, run-length codes and small arrays; never pixels or dense
masks), so that Arrow sees one bytes column whatever the steps add.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import traceback
import uuid
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError

from labelgen.core.errors import UserError
from labelgen.core.frame import Frame
from labelgen.engine.driver import Committed
from labelgen.engine.failures import failure
from labelgen.engine.isolation import limit_memory, run_isolated
from labelgen.engine.job import FIRST, Job, commit
from labelgen.engine.metrics import report_of
from labelgen.engine.supervisor import DEATHS, GIVE_UP, WRITE, Orders
from labelgen.engine.task import FrameTask, Step, is_fatal, run_steps
from labelgen.io.place import open_store
from labelgen.shards.commit import published
from labelgen.shards.writer import shard_id_of

Row = dict[str, Any]

#: Names this process in the supervisor.
WORKER = uuid.uuid4().hex[:12]
#: Exit code of a worker that gives itself up because its GPU context is lost; Ray starts another one.
GPU_LOST = 70


_waiting = ThreadPoolExecutor(1)


def _answer(asked: Any) -> Any:
    """What the supervisor says; waited for in a thread: a task that waits in its own gives its CPU away."""
    return _waiting.submit(ray.get, asked, timeout=30).result()


def _reported(supervisor: Any, error: UserError) -> UserError:
    """Leave the error with the supervisor, where the driver takes it from: Ray would make a text of it."""
    if supervisor is not None:
        with contextlib.suppress(RayError):
            _answer(supervisor.report.remote(error))
    return error


def to_row(task: FrameTask) -> Row:
    """A task as a row."""
    return {"task": pickle.dumps(task, protocol=5)}


def pack(frames: Sequence[Frame]) -> Row:
    """A group of frames as one row: compressed, as they share their cameras' calibration and paths.

    The driver holds all that is still to be done: 0.5 KB a frame in groups of eight, 3.3 KB as they are.
    """
    return {"frames": zlib.compress(pickle.dumps(tuple(frames), protocol=5))}


def unpack(row: Row) -> list[Row]:
    """The tasks of a group of frames, as rows."""
    frames: tuple[Frame, ...] = pickle.loads(zlib.decompress(row["frames"]))
    return [to_row(FrameTask(frame)) for frame in frames]


class Operator:
    """The steps of one operator, set up once per process; called by an actor, or by `run_task`."""

    def __init__(self, job: Job, operator: str, supervisor: Any = None, last: bool = False) -> None:
        """Set the steps up.

        Args:
            job: without its frames.
            operator: a name that `Job.steps_of` knows.
            supervisor: handle of the run's `Supervisor` actor, or None.
            last: whether frames leave the graph after this one.
        """
        self.job, self.operator, self.supervisor, self.last = job, operator, supervisor, last
        self.steps: Sequence[Step] = job.steps_of(operator)
        self.broken: UserError | None = None
        try:
            for step in self.steps:
                step.setup()
        except UserError as error:  # Ray would try again; a call that raises ends the run
            self.broken = error
        limit_memory(job.config.runtime.memory_gb)

    def __call__(self, row: Row) -> Row:
        """Do one frame; what it does to this process decides who does it the next time."""
        if self.broken is not None:
            raise _reported(self.supervisor, self.broken)
        task: FrameTask = pickle.loads(row["task"])
        if task.skipped or (task.failure is not None and not self.last):
            return row
        if self.operator == FIRST and self.job.claims and not self.job.claims.take(task.frame):
            task.skip()  # another driver does it
            return to_row(task)
        failed_before = task.failure is not None
        orders = self._begin(task.frame.frame_id)
        # Who has passed the models is finished: it costs little, and the models' work would be lost.
        if orders.stop and not self.last:
            task.skip()
        else:
            task = self._do(task, orders.deaths)
        self._end(task, failed=task.failure is not None and not failed_before)
        return to_row(task)

    def _do(self, task: FrameTask, deaths: int) -> FrameTask:
        if task.failure is not None:
            return task
        if deaths >= GIVE_UP:
            message = f"{deaths} workers died over it, the last ones while a process of its own did it"
            task.fail(failure(task.frame, self.operator, "WorkerDied", message))
            return task
        if deaths >= DEATHS:
            return run_isolated(self.job, self.operator, task)
        try:
            return run_steps(self.steps, task)
        except MemoryError:
            return run_isolated(self.job, self.operator, task)
        except Exception as error:
            if not is_fatal(error):
                raise
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(GPU_LOST)

    def _begin(self, frame_id: str) -> Orders:
        # Waits for the answer: a frame that kills this process must be on the books before.
        if self.supervisor is not None:
            with contextlib.suppress(RayError):  # a lost supervisor is restarted; its counts are a courtesy
                orders: Orders = _answer(
                    self.supervisor.begin.remote(WORKER, self.operator, frame_id, finish=self.last)
                )
                return orders
        return Orders(deaths=0, stop=False)

    def _end(self, task: FrameTask, failed: bool) -> None:
        if self.supervisor is not None:
            report = report_of(task, self.steps, last=self.last, failed=failed)
            # Frames are shown as done when they leave the models: the last operator waits for a whole shard.
            report["passed"] = not self.last and (failed or self.operator == self.job.operators()[-2])
            self.supervisor.end.remote(WORKER, self.operator, report)


_operators: dict[str, Operator] = {}


def run_task(job: Job, operator: str, supervisor: Any, last: bool, row: Row) -> Row:
    """An operator without a model as a task; its process keeps it for the next one of this run."""
    key = f"{job.run} {job.fingerprint} {operator}"
    if key not in _operators:
        _operators[key] = Operator(job, operator, supervisor, last)
    _operators[key].supervisor = supervisor
    return _operators[key](row)


def write_batch(job: Job, supervisor: Any, batch: Any) -> dict[str, list[bytes]]:
    """Commit a group of frames as one shard; one by one, if it kills those who write it.

    Args:
        job: without its frames.
        supervisor: handle of the run's `Supervisor` actor, or None.
        batch: a pyarrow table of rows.

    Returns:
        Pickled `labelgen.engine.driver.Committed`, one a shard.
    """
    tasks = [pickle.loads(data.as_py()) for data in batch.column("task")] if batch.num_rows else []
    tasks = [task for task in tasks if not task.skipped]
    if not tasks:  # all skipped; or an empty block without columns, when there is nothing to do
        return {"committed": []}
    tasks.sort(key=lambda task: (task.frame.scene_id, task.frame.index, task.frame.frame_id))
    group = shard_id_of(_identities(tasks), job.fingerprint)
    try:
        if _writers_lost(supervisor, group) < DEATHS:
            committed = [_write(job, supervisor, tasks)]
        else:
            committed = [_write_alone(job, supervisor, task) for task in tasks]
    except UserError as error:
        raise _reported(supervisor, error) from error
    if supervisor is not None:
        supervisor.end_write.remote(WORKER)
    return {"committed": [pickle.dumps(one) for one in committed]}


def _write(job: Job, supervisor: Any, tasks: list[FrameTask]) -> Committed:
    left = _not_written(job, supervisor, tasks)
    committed = commit(job, left)
    # What was published before counts here: whoever did it died before it could say so.
    return replace(committed, frames=committed.frames + len(tasks) - len(left))


def _write_alone(job: Job, supervisor: Any, task: FrameTask) -> Committed:
    """Commit a frame of a group that writers died over, alone; it is given up if they still do."""
    deaths = _writers_lost(supervisor, task.frame.frame_id)
    if deaths >= DEATHS and task.failure is None:
        reason = f"{deaths} workers died while they wrote it, alone"
        task.fail(failure(task.frame, WRITE, "WorkerDied", reason))
    return _write(job, supervisor, [task])


def _writers_lost(supervisor: Any, name: str) -> int:
    """Put a shard or frame on the books as being written; gives the workers that died over that."""
    if supervisor is not None:
        with contextlib.suppress(RayError):
            deaths: int = _answer(supervisor.begin_write.remote(WORKER, name))
            return deaths
    return 0


def _not_written(job: Job, supervisor: Any, tasks: list[FrameTask]) -> list[FrameTask]:
    """The tasks without those that an earlier write, of another group of frames, has published."""
    if supervisor is None:
        return tasks
    store = open_store(job.run)
    with contextlib.suppress(RayError):
        while tasks:
            group = _identities(tasks)
            shard_id = shard_id_of(group, job.fingerprint)
            others: dict[str, list[str]] = _answer(
                supervisor.assign.remote([frame_id for frame_id, _ in group], shard_id)
            )
            planned = set().union(*others.values())
            held = {other for other in planned if published(store, other, job.fingerprint)}
            left = [task for task in tasks if held.isdisjoint(others.get(task.frame.frame_id, ()))]
            if len(left) == len(tasks):
                break
            tasks = left  # another group, which is to be on the books, too
    return tasks


def _identities(tasks: Sequence[FrameTask]) -> list[tuple[str, str]]:
    return [(task.frame.frame_id, task.frame.source_id) for task in tasks]
