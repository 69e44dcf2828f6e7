"""Does one frame, or one scene, in a process of its own: for what killed its worker, or ran out of memory.

What kills this process, kills nothing else, and its exit code says why. A good frame that was only there when
its worker died comes out as it would have anyway: ``python -m labelgen.engine.isolation FOLDER`` is it.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import pickle
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelgen.engine.failures import failure
from labelgen.engine.job import Job
from labelgen.engine.task import FrameTask, run_steps
from labelgen.io.scratch import scratch

#: A frame that is not done after so long never will be.
LIMIT_S = 3600.0
_IN, _OUT, _STAGE = "in", "out", "stage"
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Died:
    """How a process ended that did not finish.

    Attributes:
        stage: that it was at, ``setup`` before the first.
        kind: ``WorkerDied`` or ``TimeoutError``.
        reason: how it ended, in words.
        trace: what it wrote before.
    """

    stage: str
    kind: str
    reason: str
    trace: str = ""


def run_alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """Do something in a process of its own.

    Args:
        work: a function of a module; called with a folder, in which it may name its `stage`, and arguments.
        arguments: that can be pickled.

    Returns:
        What the function gives, or `Died`.
    """
    with scratch() as folder:
        (folder / _IN).write_bytes(pickle.dumps((work, arguments), protocol=5))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-m", "labelgen.engine.isolation", str(folder)]
        try:
            done = subprocess.run(
                command, env=environment, stderr=subprocess.PIPE, check=False, timeout=LIMIT_S
            )
        except subprocess.TimeoutExpired:
            return Died(
                _stage(folder), "TimeoutError", f"not finished after {LIMIT_S:.0f} s in a process of its own"
            )
        if done.returncode == 0 and (folder / _OUT).exists():
            return pickle.loads((folder / _OUT).read_bytes())
        trace = done.stderr.decode(errors="replace")
        return Died(_stage(folder), "WorkerDied", _reason(done.returncode, trace), trace)


def run_isolated(job: Job, operator: str, task: FrameTask) -> FrameTask:
    """Do an operator's steps on one frame in a process of its own.

    Args:
        job: whose ``runtime.memory_gb`` the process may use beyond its models; half of the memory that is
            free, if that is not set.
        operator: name of the operator, see `Job.steps_of`.
        task: before the operator.

    Returns:
        The task after the operator; failed, if the process died, with the way it died as the reason.
    """
    found = run_alone(_do_steps, job, operator, task)
    if isinstance(found, Died):
        task.fail(failure(task.frame, found.stage, found.kind, found.reason, found.trace))
        return task
    done: FrameTask = found
    return done


def limit_memory(gigabytes: float | None) -> None:
    """Let this process allocate so much more than it has now (None: any); then `MemoryError` is raised.

    Without effect in a process that uses a GPU: its driver reserves address space that is never filled.
    """
    torch = sys.modules.get("torch")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = hard  # a process may serve another run after this one
    if gigabytes is not None and not (torch is not None and torch.cuda.is_initialized()):
        soft = (_kilobytes("/proc/self/status", "VmData") << 10) + round(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def memory_message(gigabytes: float | None) -> str:
    """What is wrong with a frame that ran out of memory."""
    limit = f"more than {gigabytes:g} GB (runtime.memory_gb)" if gigabytes else "more memory than there is"
    return f"needs {limit}"


def die_with_parent(parent: int) -> None:
    """Let this process end when the one that started it is gone: nobody would wait for the result any more.

    Args:
        parent: id of the process that started this one, which may be gone already.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _stage(folder: Path) -> str:
    path = folder / _STAGE
    return path.read_text() if path.exists() else "setup"


def _reason(code: int, trace: str) -> str:
    if code < 0:
        how = signal.Signals(-code).name
        more = ", as the kernel does when memory is full" if -code == signal.SIGKILL else ""
        return f"kills its process ({how}{more}), alone, too"
    last = next((line for line in reversed(trace.splitlines()) if line.strip()), "")
    return f"ends its process (exit code {code}), alone, too: {last}"


def _kilobytes(file: str, field: str) -> int:
    for line in Path(file).read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    return 0


def _do_steps(folder: Path, job: Job, operator: str, task: FrameTask) -> FrameTask:
    steps = job.steps_of(operator)
    for step in steps:
        step.setup()
    half = _kilobytes("/proc/meminfo", "MemAvailable") / 2**21
    gigabytes = job.config.runtime.memory_gb
    limit_memory(gigabytes or half)
    for step in steps:
        (folder / _STAGE).write_text(step.name)
        try:
            task = run_steps([step], task)
        except MemoryError:
            why = memory_message(gigabytes)
            task.fail(failure(task.frame, step.name, "MemoryError", why, traceback.format_exc()))
    return task


def _main(folder: Path) -> None:
    die_with_parent(os.getppid())
    faulthandler.enable()
    Path("/proc/self/oom_score_adj").write_text("1000")  # the kernel is to choose this one
    work, arguments = pickle.loads((folder / _IN).read_bytes())
    (folder / _OUT).write_bytes(pickle.dumps(work(folder, *arguments), protocol=5))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
