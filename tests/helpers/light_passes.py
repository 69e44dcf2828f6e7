"""Derived runs by an operation that costs nothing, with faults for trials; also as a process of its own."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from labelgen.core.records import Failure
from labelgen.core.taxonomy import Taxonomy
from labelgen.engine.derivation import Derived, plan_derivation
from labelgen.engine.derive import derive
from labelgen.engine.driver import Outcome
from labelgen.runs import Scene, open_run


@dataclass(frozen=True)
class Halve:
    """Halves every confidence, takes its time, and does harm at some frames.

    Attributes:
        seconds: per frame; not among the settings, nor are the faults.
        faults: {frame id: ``segfault``, ``exit``, ``memory`` or ``error``}.
    """

    seconds: float = 0.0
    faults: dict[str, str] = field(default_factory=dict)
    name: str = "halved"
    stored: tuple[str, ...] = ("points",)
    points: frozenset[str] = frozenset()

    def settings(self) -> dict[str, Any]:
        """Nothing that can be chosen."""
        return {}

    def __call__(self, scene: Scene, taxonomy: Taxonomy) -> Iterator[Derived | Failure]:
        """Frame by frame."""
        for frame_id in scene.frame_ids:
            time.sleep(self.seconds)
            match self.faults.get(frame_id):
                case "segfault":
                    ctypes.string_at(0)
                case "exit":
                    os._exit(3)
                case "memory":
                    raise MemoryError
                case "error":
                    raise ValueError("no such thing")
            labels = scene.run.frame(frame_id).labels
            yield Derived(frame_id, replace(labels, confidence=labels.confidence // 2))


def halve(
    parent: Path,
    output: Path,
    operation: Halve | None = None,
    on_frame: Callable[[int], None] = lambda count: None,
    address: str | None = None,
    **options: Any,
) -> Outcome:
    """Do what the derived run has left; on Ray where there is an address."""
    derivation = plan_derivation(open_run(parent), operation or Halve(), output)
    return derive(derivation, on_frame, ray_address=address, **options)


def main() -> None:
    """``python -m tests.helpers.light_passes JSON``: one driver; exit codes are those of `labelgen fuse`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("request", help="JSON: parent, output, address, seconds, faults, options")
    request = json.loads(parser.parse_args().request)
    operation = Halve(request.get("seconds", 0.0), request.get("faults", {}))
    parent, output = Path(request["parent"]), Path(request["output"])
    options = request.get("options", {})
    try:
        outcome = halve(parent, output, operation, address=request.get("address"), **options)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        sys.exit(2)
    print(json.dumps(outcome.to_dict()), flush=True)
    sys.exit(75 if outcome.left else 0)


if __name__ == "__main__":
    main()
