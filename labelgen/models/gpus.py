"""The GPUs that the driver names, whatever torch can use; and which driver a torch's CUDA needs."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

#: First driver (Linux) for each major version of CUDA, by NVIDIA's CUDA compatibility guide.
LEAST_DRIVER = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
#: Seconds that nvidia-smi is given, and characters that are read of what it or torch says.
PATIENCE_S, LONGEST = 10.0, 16_384
#: Where the kernel's driver tells of its GPUs.
KERNEL = Path("/proc/driver/nvidia/gpus")
_MOST = 64


@dataclass(frozen=True)
class Gpus:
    """What the driver says.

    Attributes:
        names: of the GPUs.
        texts: one for each: name, memory, driver.
        driver: its version, or empty.
        fault: why nvidia-smi, which is there, does not answer; or empty.
    """

    names: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    driver: str = ""
    fault: str = ""


@cache
def named_gpus() -> Gpus:
    """All GPUs that nvidia-smi names; those that the kernel names where nvidia-smi fails."""
    fields = "name,memory.total,driver_version"
    try:
        code, out = ask(["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"], PATIENCE_S)
    except OSError:
        return Gpus()
    rows = [[part.strip() for part in line.split(",")] for line in out.splitlines()]
    rows = [row for row in rows if len(row) == 3 and all(row)][:_MOST]
    if code == 0 and rows:
        driver = next((row[2] for row in rows if re.fullmatch(r"\d+(\.\d+)+", row[2])), "")
        return Gpus(tuple(row[0] for row in rows), tuple(", ".join(row) for row in rows), driver)
    said = "it does not answer" if code is None else " ".join(out.split())[:200] or f"exit code {code}"
    names = _named_by_kernel()
    return Gpus(names, names, "", "" if "No devices were found" in said else f"nvidia-smi: {said}")


def driver_problem(cuda: str | None, driver: str) -> str:
    """Why a driver is too old for a torch's CUDA; empty if it is not, or that is not known.

    Args:
        cuda: version that torch is built with, such as ``13.0``.
        driver: its version, such as ``535.104.05``.
    """
    if not cuda or not driver:
        return ""
    least = LEAST_DRIVER.get(int(cuda.partition(".")[0]), "")
    if not least or _numbers(driver) >= _numbers(least):
        return ""
    return f"CUDA {cuda} needs driver {least} or newer, this one is {driver}"


def ask(
    command: Sequence[str], seconds: float, environment: Mapping[str, str] | None = None
) -> tuple[int | None, str]:
    """Run a command that may hang or never stop talking.

    Args:
        command: and its arguments.
        seconds: that it is given; then it, and what it has started, are killed.
        environment: of the command; None: this process's.

    Returns:
        Its exit code, None if it did not end by itself; and what it said, printable and bounded.

    Raises:
        OSError: there is no such command.
    """
    end, said, ended = time.monotonic() + seconds, b"", False
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=environment,
    )
    assert process.stdout is not None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while len(said) < LONGEST and selector.select(max(0.0, end - time.monotonic())):
                if not (piece := os.read(process.stdout.fileno(), LONGEST)):
                    ended = True
                    break
                said += piece
        with contextlib.suppress(subprocess.TimeoutExpired):
            if ended:
                process.wait(max(0.1, end - time.monotonic()))
    finally:
        code = process.returncode
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        with contextlib.suppress(subprocess.TimeoutExpired):  # in the kernel, where a lost GPU keeps it
            process.wait(1.0)
    text = said[:LONGEST].decode(errors="replace")
    return code, "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)


def _named_by_kernel() -> tuple[str, ...]:
    names = []
    for path in sorted(KERNEL.glob("*/information"))[:_MOST]:
        with contextlib.suppress(OSError):
            found = re.search(r"^Model:\s*(.{1,100})$", path.read_text(errors="replace"), re.MULTILINE)
            names.append(found[1].strip() if found else path.parent.name)
    return tuple(names)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
