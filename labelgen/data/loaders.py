"""What torch's data loaders expect of a data set; without torch, a data set is a plain sequence or iterable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

try:
    import torch
    from torch.utils.data import Dataset, IterableDataset, get_worker_info
except ModuleNotFoundError:
    if not TYPE_CHECKING:

        class Dataset:
            """In the place of torch's."""

            def __class_getitem__(cls, item: Any) -> type:
                return cls

        IterableDataset = Dataset
        torch = None

__all__ = ["Dataset", "IterableDataset", "rank_here", "shared_numbers", "worker_here"]


def shared_numbers(count: int) -> Any:
    """``count`` int64 zeros that a loader's workers see change, with ``tolist`` and item assignment."""
    if torch is None:
        return np.zeros(count, np.int64)
    return torch.zeros(count, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]


def worker_here() -> tuple[int, int]:
    """Number of the loader's worker that this process is, and how many there are."""
    info = None if torch is None else get_worker_info()
    return (0, 1) if info is None else (info.id, info.num_workers)


def rank_here() -> tuple[int, int]:
    """Rank of this process, and how many there are, as `torch.distributed` has it."""
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
