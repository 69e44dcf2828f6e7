"""Pass 2 on Ray: one task per scene."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayTaskError, WorkerCrashedError

from labelgen.engine.derive import Derivation, Todo, derive_scene, fail_scene, open_scenes
from labelgen.engine.isolation import Died
from labelgen.engine.job import Watch
from labelgen.engine.ray.connection import EXTRA_LOCAL_CPUS, connected
from labelgen.errors import UserError

#: Times that Ray does a scene again whose worker died, and scenes that wait beside those that are done.
_RETRIES, _SPARE = 2, 2


@dataclass(frozen=True)
class RayScenes:
    """Does scenes side by side; a `labelgen.engine.derive.Runner`.

    A scene is a task: it needs no model, and what it reads and writes it takes from and leaves in the runs'
    folders, so that its arguments and results are small. Ray may run it twice: shards have deterministic
    names and are published once.

    Attributes:
        address: of a running cluster; None starts a local Ray.
    """

    address: str | None = None

    def __call__(self, derivation: Derivation, todo: Todo, watch: Watch) -> Iterator[tuple[int, int]]:
        """Yield frames labelled and failed of each scene as it is done.

        A scene that kills its workers, again and again, has failed.

        Raises:
            UserError: the cluster cannot be reached, or a scene cannot be read or written.
        """
        if not todo:
            return
        with connected(self.address):
            # A local Ray offers more CPUs than there are, for the main job's pools; scenes need real ones.
            cores = len(os.sched_getaffinity(0))
            cpus = 1.0 if self.address else 1 + EXTRA_LOCAL_CPUS / cores
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
                    number = waiting.pop(one)
                    try:
                        yield ray.get(one)
                    except RayTaskError as error:
                        if isinstance(error.cause, UserError):
                            raise error.cause from None
                        raise
                    except (WorkerCrashedError, OutOfMemoryError) as error:
                        reason = f"killed {1 + _RETRIES} workers ({type(error).__name__})"
                        how = Died(derivation.operation.name, "WorkerDied", reason, str(error))
                        yield fail_scene(derivation, open_scenes(derivation)[number], todo[number], how)


def _resources() -> dict[str, float]:
    found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return found


def _do_scene(derivation: Derivation, number: int, there: frozenset[str]) -> tuple[int, int]:
    return derive_scene(derivation, open_scenes(derivation)[number], there)
