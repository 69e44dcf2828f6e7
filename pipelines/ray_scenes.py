"""Pass 2 on Ray: one task per scene."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import ray
from ray.exceptions import RayTaskError

from labelgen.errors import UserError
from pipelines.connection import EXTRA_LOCAL_CPUS, connected
from pipelines.derive import Derivation, Todo, derive_scene, open_scenes


@dataclass(frozen=True)
class RayScenes:
    """Does scenes side by side; a `pipelines.derive.Runner`.

    A scene is a task: it needs no model, and what it reads and writes it takes from and leaves in the runs'
    folders, so that its arguments and results are small. Ray may run it twice: shards have deterministic
    names and are published once.

    Attributes:
        address: of a running cluster; None starts a local Ray.
    """

    address: str | None = None

    def __call__(self, derivation: Derivation, todo: Todo) -> Iterator[tuple[int, int]]:
        """Yield frames labelled and failed of each scene as it is done.

        Raises:
            UserError: the cluster cannot be reached, or a scene cannot be read or written.
        """
        if not todo:
            return
        with connected(self.address):
            # A local Ray offers more CPUs than there are, for the main job's pools; scenes need real ones.
            cores = len(os.sched_getaffinity(0))
            cpus = 1.0 if self.address else 1 + EXTRA_LOCAL_CPUS / cores
            work = ray.remote(num_cpus=cpus, max_retries=2)(_do_scene)
            waiting = [work.remote(derivation, number, there) for number, there in todo.items()]
            while waiting:
                done, waiting = ray.wait(waiting)
                for one in done:
                    try:
                        yield ray.get(one)
                    except RayTaskError as error:
                        if isinstance(error.cause, UserError):
                            raise error.cause from None
                        raise


def _do_scene(derivation: Derivation, number: int, there: frozenset[str]) -> tuple[int, int]:
    return derive_scene(derivation, open_scenes(derivation)[number], there)
