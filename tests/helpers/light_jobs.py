"""Main jobs whose models cost nothing, with faults where a trial wants them; also as a process of its own."""

from __future__ import annotations

import argparse
import ctypes
import errno
import json
import os
import signal
import sys
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from labelgen.engine.driver import Committed, Outcome
from labelgen.engine.job import Job, commit
from labelgen.engine.labelling import label_plan
from labelgen.engine.planning import Plan, Request, make_plan
from labelgen.engine.ray import operators
from labelgen.engine.recipe import split
from labelgen.engine.task import FrameTask, Step
from labelgen.shards import writer
from tests.helpers.labelled_runs import Tiles

#: Settings whose models are never loaded, as `LightJob` has none.
LIGHT = (
    "regions.backend=superpixel",
    "regions.superpixel_method=slic",
    "semantics.context=0",
    "fusion.enabled=false",
    "runtime.frames_per_shard=2",
    "shards.store_points=true",
)


@dataclass
class Work:
    """Takes its time on every frame, and does harm on some.

    Attributes:
        seconds: of computing per frame.
        faults: {frame id: what happens}: ``segfault``, ``allocate`` without end,
            ``memory``, ``exit``, ``cuda``, ``error``; ``write``: whoever writes it dies (see `LightJob`).
    """

    seconds: float
    faults: dict[str, str]
    name: str = "work"
    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ()
    holds_model: ClassVar[bool] = True

    def setup(self) -> None:
        """Nothing to load."""

    def __call__(self, task: FrameTask) -> None:
        end = time.perf_counter() + self.seconds
        while time.perf_counter() < end:
            pass
        match self.faults.get(task.frame.frame_id):
            case "segfault":
                ctypes.string_at(0)
            case "allocate":
                hoard = []
                while True:
                    hoard.append(np.ones(1 << 22, np.uint8))
            case "memory":
                raise MemoryError
            case "exit":
                os._exit(3)
            case "cuda":
                raise RuntimeError("CUDA error: an illegal memory access was encountered")
            case "error":
                raise ValueError("no such thing")


@dataclass(frozen=True)
class LightJob(Job):
    """A `Job` with `Work` and `Tiles` in the place of models.

    Attributes:
        seconds, faults: see `Work`.
        kill_writers: folder of marks: the first so many tasks to write die after writing, before they tell.
        full_disk: a file; while it is there, shards cannot be written.
    """

    seconds: float = 0.0
    faults: dict[str, str] = field(default_factory=dict)
    kill_writers: str = ""
    full_disk: str = ""

    def steps(self) -> list[Step]:
        """Without models."""
        before, _, after = split(super().steps())
        return [*before, Work(self.seconds, self.faults), Tiles(len(self.taxonomy)), *after]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickled in a worker: put the faults of writing in place there."""
        self.__dict__.update(state)
        if self.kill_writers or "write" in self.faults.values():
            operators.commit = _commit_and_die  # type: ignore[assignment]
        _fill_disk(self.full_disk)


def _commit_and_die(job: LightJob, tasks: list[FrameTask]) -> Committed:
    if any(job.faults.get(task.frame.frame_id) == "write" for task in tasks if task.failure is None):
        os.kill(os.getpid(), signal.SIGKILL)
    committed = commit(job, tasks)
    # The process may serve a job without such marks by now.
    for mark in sorted(Path(job.kill_writers).iterdir()) if job.kill_writers else []:
        try:
            mark.unlink()
        except FileNotFoundError:
            continue  # another one died by it
        os.kill(os.getpid(), signal.SIGKILL)
    return committed


_write_group = writer.write_group


def _fill_disk(mark: str) -> None:
    def write_group(*arguments: Any) -> None:
        if mark and Path(mark).exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        _write_group(*arguments)

    writer.write_group = write_group


def light_plan(dataroot: Path, run: Path, overrides: tuple[str, ...] = (), **faults: Any) -> Plan:
    """What a run of a data root has left, to be done by a `LightJob`."""
    plan = make_plan(Request("nuscenes", dataroot, output=run, overrides=(*LIGHT, *overrides)))
    given = {entry.name: getattr(plan.job, entry.name) for entry in fields(Job)}
    return replace(plan, job=LightJob(**given, **faults))


def label(plan: Plan, address: str | None = None, **options: bool) -> Outcome:
    """Do what a plan has left."""
    return label_plan(plan, lambda count: None, address, **options)


def main() -> None:
    """``python -m tests.helpers.light_jobs JSON``: one driver; its exit codes are `labelgen run`'s."""
    parser = argparse.ArgumentParser()
    parser.add_argument("request", help="JSON: dataroot, run, overrides, address, faults, options")
    request = json.loads(parser.parse_args().request)
    overrides = tuple(request.get("overrides", ()))
    plan = light_plan(Path(request["dataroot"]), Path(request["run"]), overrides, **request.get("faults", {}))
    try:
        outcome = label(plan, request.get("address"), **request.get("options", {}))
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        sys.exit(2)
    print(json.dumps(outcome.to_dict()), flush=True)
    sys.exit(75 if outcome.stopped else 0)


if __name__ == "__main__":
    main()
