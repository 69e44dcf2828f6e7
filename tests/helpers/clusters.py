"""A Ray cluster of several nodes on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def small_cluster() -> Iterator[Any]:
    """A head and two nodes, each with raylet and workers of its own.

    Beside what Ray's `Cluster` has, ``workers`` are the two nodes and ``again`` is what makes another one.
    """
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 2, "object_store_memory": 100 << 20}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "disabled")  # drivers in other processes have no token
        made = Cluster(initialize_head=True, head_node_args=node)
        made.workers = [made.add_node(**node) for _ in range(2)]
        made.again = node
        yield made
        ray.shutdown()
        made.shutdown()
