"""Connects to a Ray cluster, or starts a local one, and sets what holds for all that runs on it.

A local Ray is for its driver alone: it listens on the loopback address, asks for the user's token, and keeps
sockets, logs and spilled objects in a private folder that goes with it.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants
from ray._private import utils as ray_utils
from ray._private.authentication.authentication_token_setup import (
    maybe_enable_token_auth_if_token_available,
)
from ray.data import DataContext
from ray.exceptions import AuthenticationError

from labelgen.core.errors import UserError
from labelgen.core.wording import one_line
from labelgen.io.scratch import scratch

#: Logical CPUs offered beyond the physical ones on a local Ray. With as many as there are cores, two actor
#: pools could hold them all while the readers that feed them wait for one for ever.
EXTRA_LOCAL_CPUS = 4
_QUIET: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
#: Characters of the longest temporary folder in which Ray can make its sockets: their paths have 107 at most.
_LONGEST_FOLDER = 107 - len("/session_2026-01-31_00-00-00_000000_1234567/sockets/plasma_store")


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """A connection for a block, unless this process is connected already.

    One to a cluster outlives the block; a local Ray that was started for it ends with it.

    Args:
        address: of a running cluster (``ray://…``, ``host:port``, ``auto``); None starts a local Ray.

    Raises:
        UserError: the cluster cannot be reached, or Ray does not start here.
    """
    if ray.is_initialized():
        yield
    elif address:
        connect(address)
        yield
    else:
        with _folder_for_ray() as folder:
            try:
                _start(folder)
                yield
            finally:
                ray.shutdown()


def connect(address: str) -> None:
    """Connect to a running cluster.

    Raises:
        UserError: it cannot be reached.
    """
    _prepare()
    try:
        _knock(address)
        with _own_sigterm():
            ray.init(address=address, **_QUIET)
    except Exception as error:
        raise UserError(
            f"cannot connect to Ray at {address!r} ({type(error).__name__}: {one_line(error, 500)}); "
            "check RAY_ADDRESS, that the cluster is up (`ray status`), and that its Ray version is "
            f"{ray.__version__}"
        ) from error
    _set_up_data()


def _start(folder: Path | None) -> None:
    """Start a Ray of our own, with spare logical CPUs."""
    _prepare()
    guard_token()
    cores = len(os.sched_getaffinity(0))
    try:
        with _on_loopback(), _own_sigterm():
            ray.init(
                address="local",
                num_cpus=cores + EXTRA_LOCAL_CPUS,
                include_dashboard=False,
                _temp_dir=None if folder is None else str(folder),
                **_QUIET,
            )
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error, 300)}"
        raise UserError(
            f"Ray does not start on this machine ({reason}); it gives up after half a minute where the "
            "machine is busy: try again, or use --runner sequential"
        ) from error
    _set_up_data()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """`ray.init` lets SIGTERM exit at once; a handler that was there before stays.

    It is not enough to bring it back: connecting takes seconds, in which a signal may come.
    """
    before = signal.getsignal(signal.SIGTERM)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    theirs = ray_utils.set_sigterm_handler
    ray_utils.set_sigterm_handler = lambda handler: None
    try:
        yield
    finally:
        ray_utils.set_sigterm_handler = theirs
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _folder_for_ray() -> Iterator[Path | None]:
    """Where a local Ray keeps its things, where Ray itself would; None if no path there is short enough."""
    with ExitStack() as stack:
        short: Path | None = None
        usual = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")
        for place in (usual, Path("/tmp")):
            with suppress(OSError):
                folder = stack.enter_context(scratch(place)) / "r"  # Ray opens its own one to everybody
                if len(str(folder)) <= _LONGEST_FOLDER:
                    short = folder
                    break
        yield short


@contextmanager
def _on_loopback() -> Iterator[None]:
    """While the block lasts, a Ray that is started listens on 127.0.0.1, as where it cannot make clusters."""
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def guard_token() -> None:
    """Make the file of the user's token, if there is none, and let nobody else read it: Ray would not."""
    elsewhere = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if elsewhere or os.environ.get("RAY_AUTH_MODE") == "disabled":
        return
    file = Path.home() / ".ray" / "auth_token"
    with suppress(OSError):  # a home that cannot be written: Ray says so if it matters
        file.parent.mkdir(mode=0o700, exist_ok=True)
        with (
            suppress(FileExistsError),
            open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as new,
        ):
            new.write(secrets.token_hex(32))
        if file.stat().st_mode & 0o077:
            file.chmod(0o600)


def _prepare() -> None:
    """Set what Ray reads when it starts or connects."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Nobody is told that Ray is used, and one process less is started for it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's own remarks on Ray Data's actors go to the terminal at level "error" and mean nothing to a user.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")


def _set_up_data() -> None:
    """Set how Ray Data works and what it says."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.enable_operator_progress_bars = False
    context.execution_options.verbose_progress = False
    # Its advice on memory is for graphs whose parts are not known beforehand.
    context.issue_detectors_config.high_memory_detector_config.detection_time_interval_s = -1
    # A first batch on a cold node loads weights and may compile: slow is not stuck.
    context.execution_no_progress_timeout_s = 6 * 3600
    # An actor that is killed while it starts is replaced; one whose weights do not load fails the run at its
    # first frame (`labelgen.engine.ray.operators.Operator`).
    context.max_consecutive_actor_init_deaths = 3
    # Ours is the progress that is shown; Ray would tell of its own, and warn that it is off.
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)


def _knock(address: str) -> None:
    """Fail within seconds where no Ray listens, or one with another token; Ray itself would try for minutes.

    Raises:
        OSError: no connection, or something else listens there.
        ray.exceptions.AuthenticationError: its token is not ours.
    """
    if address.startswith(("http://", "https://")):
        raise OSError("that is the dashboard's address, for `ray job submit`; the cluster's is HOST:6379")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return  # such as "auto"
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        # The beginning of HTTP/2, which Ray's servers speak; they answer with their settings, frame type 4.
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        try:
            answer = connection.recv(9)
        except OSError:
            answer = b""
    if answer[3:4] != b"\x04":
        raise OSError(
            "something listens there, but it is not Ray; Ray's port is 6379 unless `ray start` was given "
            "another"
        )
    if address.startswith("ray://"):
        return
    try:  # refuses at once, where ray.init would ask twenty times
        ray._raylet.GcsClient(address=address)  # type: ignore[attr-defined]
    except AuthenticationError:
        # `ray start` takes the token of ~/.ray/auth_token, if there is one, where ray.init waits to be told.
        if not maybe_enable_token_auth_if_token_available(warn_if_disabled=False):
            raise
        ray._raylet.GcsClient(address=address)  # type: ignore[attr-defined]
