"""Work on a Ray cluster that is not the main job's: on one worker, or on every node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import ray
from ray._private.authentication.authentication_utils import is_token_auth_enabled
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from labelgen.core.errors import UserError
from labelgen.engine.ray.connection import connect

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Node:
    """One living node of a cluster.

    Attributes:
        node_id: Ray's.
        host: name or address of the machine.
        resources: {``CPU``, ``GPU``, …: how many Ray may give away}.
    """

    node_id: str
    host: str
    resources: dict[str, float]


def connect_once(address: str) -> None:
    """Connect to a cluster unless this process is connected already; the main job stays with the connection.

    Raises:
        UserError: it cannot be reached.
    """
    if not ray.is_initialized():
        connect(address)


def uses_tokens() -> bool:
    """Whether the cluster that we are connected to lets in only who has its token."""
    return bool(is_token_auth_enabled())


def nodes() -> list[Node]:
    """The living nodes of the cluster that we are connected to, by name."""
    found = [
        Node(entry["NodeID"], entry["NodeManagerHostname"], entry["Resources"])
        for entry in ray.nodes()  # type: ignore[no-untyped-call]
        if entry["Alive"]
    ]
    return sorted(found, key=lambda node: (node.host, node.node_id))


def wait_for_nodes(number: int, timeout: float) -> int:
    """Wait until the cluster that we are connected to has so many nodes; gives how many there are."""
    end = time.monotonic() + timeout
    while (there := len(nodes())) < number and time.monotonic() < end:
        time.sleep(1.0)
    return there


def on_worker(function: Callable[..., _Result], *args: Any, address: str, gpus: float) -> _Result:
    """Call a function on some worker of a cluster.

    Args:
        function: of a module that the workers have.
        *args: are pickled.
        address: of the cluster.
        gpus: that the worker must have free, if the cluster has any.

    Raises:
        UserError: the function's own, or the cluster cannot be reached.
    """
    connect_once(address)
    has_gpus = any(node.resources.get("GPU") for node in nodes())
    work: Any = ray.remote(num_cpus=1, num_gpus=gpus if has_gpus else 0, max_retries=0)(function)
    try:
        result: _Result = ray.get(work.remote(*args))
        return result
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise


def on_every_node(
    function: Callable[..., _Result], *args: Any, timeout: float
) -> Iterator[tuple[Node, _Result | Exception]]:
    """Call a function on every node of the cluster that we are connected to, all at the same time.

    Args:
        function: of a module that the nodes have; its last argument is the node's id.
        *args: come before that.
        timeout: seconds for all nodes together.

    Yields:
        Each node with its result, or with the exception that kept it from giving one.
    """
    end = time.monotonic() + timeout
    asked = []
    for node in nodes():
        # No CPU is asked for: a node that is busy answers too.
        place = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        remote: Any = ray.remote  # its stubs do not know where a task is to run
        work = remote(num_cpus=0, max_retries=0, scheduling_strategy=place)(function)
        asked.append((node, work.remote(*args, node.node_id)))
    for node, answer in asked:
        try:
            yield node, ray.get(answer, timeout=max(0.1, end - time.monotonic()))
        except GetTimeoutError:
            yield node, TimeoutError(f"no answer within {timeout:.0f} s")
        except RayTaskError as error:
            yield node, error.cause if isinstance(error.cause, Exception) else error
        except RayError as error:
            yield node, error
