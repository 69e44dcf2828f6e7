"""The official splits of nuScenes, as published: which scene is in which."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path


@cache
def official_splits() -> dict[str, tuple[str, ...]]:
    """{split: names of its scenes, ascending}; ``train`` is ``train_detect`` and ``train_track`` together."""
    numbers = json.loads(Path(__file__).with_suffix(".json").read_text())
    splits = {name: tuple(f"scene-{number:04d}" for number in found) for name, found in numbers.items()}
    return splits | {"train": tuple(sorted(splits["train_detect"] + splits["train_track"]))}
