"""Where a network runs: device, threads, precision, all set in one place."""

from __future__ import annotations

import ctypes
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from labelgen.errors import UserError

#: Of glibc's malloc.h, and the largest value that they take.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _MOST = -1, -4, 2**31 - 1


def select_device(device: str, threads: int) -> torch.device:
    """Resolve ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` and fix the number of CPU threads.

    Sums of floats depend on how many threads share them: with equal ``threads``, results on a CPU are
    equal to the bit in every process. On a CPU, freed memory is kept for the next tensors.

    Raises:
        UserError: a GPU is asked for and there is none.
    """
    torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device {device!r}: torch finds no CUDA GPU; use --device cpu")
    if device == "cpu":
        _keep_freed_memory()
    return torch.device(device)


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
