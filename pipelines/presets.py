"""The configurations that are shipped, by name."""

from __future__ import annotations

from pathlib import Path

from labelgen.errors import UserError

PRESETS = {path.stem: path for path in sorted((Path(__file__).parent / "configs").glob("*.yaml"))}


def find_preset(name: str) -> Path:
    """Path of a preset by its name, or of a file.

    Raises:
        UserError: neither.
    """
    path = PRESETS.get(name, Path(name))
    if not path.is_file():
        raise UserError(f"configuration {name!r} is neither a file nor one of {sorted(PRESETS)}")
    return path
