"""The paper's ablation by name: each variant has what the one before it has, and one thing more."""

from __future__ import annotations

import json
from typing import Any

_BASELINE: dict[str, Any] = {"fusion": False, "head": "ensemble", "loss.object": 0.0, "loss.voxel": 0.0}
#: {name: settings that differ from the method's}.
VARIANTS: dict[str, dict[str, Any]] = {
    "pfc": _BASELINE,
    "fusion": _BASELINE | {"fusion": True},
    "unified": {"loss.object": 0.0, "loss.voxel": 0.0},
    "object": {"loss.voxel": 0.0},
    "full": {},
}


def overrides(variant: str) -> list[str]:
    """A variant as ``--set`` of `labelgen train` takes it."""
    return [f"settings.{name}={json.dumps(value)}" for name, value in VARIANTS[variant].items()]
