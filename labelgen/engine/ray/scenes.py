"""Pass 2 on Ray: one task per scene."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayTaskError, WorkerCrashedError

from labelgen.core.errors import UserError
from labelgen.engine.derivation import Derivation, open_scenes
from labelgen.engine.driver import Committed, Watch
from labelgen.engine.isolation import Died
from labelgen.engine.ray.connection import EXTRA_LOCAL_CPUS, connected
from labelgen.engine.scenes import Todo, derive_scene, fail_scene

#: Times that Ray does a scene again whose worker died, and scenes that wait beside those that are done.
_RETRIES, _SPARE = 2, 2


def run_scenes(
    derivation: Derivation, todo: Todo, watch: Watch, address: str | None = None
) -> Iterator[Committed]:
    """Do scenes side by side; yields after each.

    A scene is a task: it needs no model, and what it reads and writes it takes from and leaves in the runs'
    folders, so that its arguments and results are small. Ray may run it twice: shards have deterministic
    names and are published once. A scene that kills its workers, again and again, has failed.

    Args:
        derivation: see `labelgen.engine.derivation.plan_derivation`.
        todo: {number of a scene: its frames that are done already}.
        watch: what to heed and to tell.
        address: of a running cluster; None starts a local Ray.

    Raises:
        UserError: the cluster cannot be reached, or a scene cannot be read or written.
    """
    with connected(address):
        # A local Ray offers more CPUs than there are, for the main job's pools; scenes need real ones.
        cores = len(os.sched_getaffinity(0))
        cpus = 1.0 if address else 1 + EXTRA_LOCAL_CPUS / cores
        work = ray.remote(num_cpus=cpus, max_retries=_RETRIES)(_do_scene)
        # Not all at once: what has not begun when a signal comes is not begun any more.
        at_once = _SPARE + int(_resources().get("CPU", 1) / cpus)
        left = deque(todo.items())
        waiting: dict[Any, int] = {}
        while waiting or (left and not watch.stop.is_set()):
            while left and len(waiting) < at_once and not watch.stop.is_set():
                number, there = left.popleft()
                waiting[work.remote(derivation, number, there)] = number
            done, _ = ray.wait(list(waiting))
            for one in done:
                committed = _result(one, derivation, number := waiting.pop(one), todo[number])
                watch.on_frame(committed.frames + committed.failed)
                yield committed


def _result(task: Any, derivation: Derivation, number: int, there: frozenset[str]) -> Committed:
    try:
        committed: Committed = ray.get(task)
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    except (WorkerCrashedError, OutOfMemoryError) as error:
        reason = f"killed {1 + _RETRIES} workers ({type(error).__name__})"
        how = Died(derivation.operation.name, "WorkerDied", reason, str(error))
        committed = fail_scene(derivation, number, there, how)
    return committed


def _resources() -> dict[str, float]:
    found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return found


def _do_scene(derivation: Derivation, number: int, there: frozenset[str]) -> Committed:
    return derive_scene(derivation, open_scenes(derivation)[number], there)
