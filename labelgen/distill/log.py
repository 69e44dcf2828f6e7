"""What a training writes down: a CSV line now and then, and TensorBoard's events where it is installed."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOG = "log.csv"


class Log:
    """Means of what each step measured, every so many steps.

    Args:
        folder: of the training; ``log.csv`` and TensorBoard's ``events.*`` are kept in it.
        every: steps per line.
        start: step at which the training goes on; later lines of a run that was killed are dropped.
        sums: `sums` of then: what the steps since the last line measured.
    """

    def __init__(
        self, folder: Path, every: int, start: int = 0, sums: Mapping[str, list[float]] | None = None
    ) -> None:
        self.path, self.every = folder / LOG, every
        self.lines = [line for line in read_log(folder) if int(line["step"]) <= start]
        self.sums: dict[str, list[float]] = defaultdict(list, sums or {})
        self._events = _event_writer(folder, start)
        self._names = ["step"]
        self._write()

    def add(self, step: int, values: Mapping[str, float], last: bool = False) -> dict[str, float] | None:
        """Take in one step; gives the line if one is due.

        Args:
            step: counted from 1.
            values: losses, rate, norm of the gradient.
            last: whether no step follows.
        """
        for name, value in values.items():
            self.sums[name].append(value)
        if step % self.every and not last:
            return None
        line = {"step": step, **{name: sum(v) / len(v) for name, v in self.sums.items()}}
        self.sums.clear()
        self.lines.append({name: f"{value:.9g}" for name, value in line.items()})
        if line.keys() <= set(self._names):
            self._append()
        else:
            self._write()
        if self._events is not None:
            for name, value in line.items():
                self._events.add_scalar(name, value, step)
        return line

    def close(self) -> None:
        """Flush what is written."""
        if self._events is not None:
            self._events.close()

    def _append(self) -> None:
        with self.path.open("a", newline="") as stream:
            csv.DictWriter(stream, self._names, restval="").writerow(self.lines[-1])

    def _write(self) -> None:
        """The whole file: at the start, and when a value is measured for the first time."""
        self._names = list(dict.fromkeys(["step", *(name for line in self.lines for name in line)]))
        with self.path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, self._names, restval="")
            writer.writeheader()
            writer.writerows(self.lines)


def read_log(folder: Path) -> list[dict[str, str]]:
    """Lines of ``log.csv``; none if there is no such file."""
    path = folder / LOG
    if not path.is_file():
        return []
    with path.open(newline="") as stream:
        return [line for line in csv.DictReader(stream) if (line.get("step") or "").isdigit()]


def _event_writer(folder: Path, start: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:  # an extra
        return None
    return SummaryWriter(str(folder), purge_step=start + 1)
