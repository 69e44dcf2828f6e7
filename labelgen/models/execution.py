"""Where a network runs: device, threads, precision, all set in one place.

``python -m labelgen.models.execution`` tries the GPU: it exits with 1 and says why torch cannot use it.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from labelgen.core.errors import UserError
from labelgen.models.gpus import driver_problem, named_gpus

#: Of glibc's malloc.h, and the largest value that they take.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _MOST = -1, -4, 2**31 - 1


def select_device(device: str, threads: int) -> torch.device:
    """Resolve ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` and fix the number of CPU threads.

    Sums of floats depend on how many threads share them: with equal ``threads``, results on a CPU are
    equal to the bit in every process. On a CPU, freed memory is kept for the next tensors.

    Raises:
        UserError: another word; or torch cannot use the GPU that is asked for, or that the driver names where
            ``auto`` is.
    """
    torch.set_num_threads(threads)
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UserError(f"device {device!r}: expected auto, cpu, cuda or cuda:N")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() or named_gpus().names else "cpu"
    if device == "cpu":
        _keep_freed_memory()
    elif problem := _cuda_problem(device):
        raise UserError(problem)
    return torch.device(device)


def _cuda_problem(device: str) -> str:
    """Why torch cannot compute on a GPU, and what to do; empty if it can."""
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns of what it raises, too
            torch.zeros(1, device=device).add(1).item()
        return ""
    except (RuntimeError, AssertionError) as error:  # an assertion where torch is built without CUDA
        said = " ".join(str(error).partition("\n")[0].partition(". ")[0].split())[:200]
    gpus = named_gpus()
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    reasons = (
        "" if torch.version.cuda else "it is built without CUDA",
        driver_problem(torch.version.cuda, gpus.driver),
        "" if hidden is None else f"CUDA_VISIBLE_DEVICES is {hidden[:80]!r}",
        gpus.fault,
        f"it says: {said}",
    )
    named = f"the driver lists {', '.join(dict.fromkeys(gpus.names))}, but " if gpus.names else ""
    return (
        f"device {device}: {named}torch {torch.__version__} cannot use CUDA here: "
        f"{'; '.join(filter(None, reasons))}. Fix that (see `labelgen doctor`), or use the CPU: "
        "--set runtime.device=cpu (--device cpu)"
    )


def _keep_freed_memory() -> None:
    """Let glibc reuse what large tensors leave behind.

    By default it gives blocks of 32 MB and more back at once, and the kernel hands out zeroed pages for the
    next ones: half the time of a small network's training. Elsewhere than on glibc this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _MOST)


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Reduced precision on GPUs (bfloat16 where the GPU has it), float32 on CPUs."""
    if device.type != "cuda":
        return nullcontext()
    return torch.autocast("cuda", torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)


if __name__ == "__main__":
    sys.exit(_cuda_problem("cuda") or 0)
