"""Where a network runs: device, threads, precision, all set in one place."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from labelgen.errors import UserError


def select_device(device: str, threads: int) -> torch.device:
    """Resolve ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` and fix the number of CPU threads.

    Sums of floats depend on how many threads share them: with equal ``threads``, results on a CPU are
    equal to the bit in every process.

    Raises:
        UserError: a GPU is asked for and there is none.
    """
    torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device {device!r}: torch finds no CUDA GPU; use --device cpu")
    return torch.device(device)


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Reduced precision on GPUs (bfloat16 where the GPU has it), float32 on CPUs."""
    if device.type != "cuda":
        return nullcontext()
    return torch.autocast("cuda", torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)
