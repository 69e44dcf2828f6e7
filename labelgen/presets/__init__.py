"""The configurations that are shipped, by name: short YAML files over documented defaults."""

from __future__ import annotations

from pathlib import Path

from labelgen.core.errors import UserError

PRESETS = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}


def find_preset(name: str) -> Path:
    """Path of a preset by its name, or of a file.

    Raises:
        UserError: neither.
    """
    path = PRESETS.get(name, Path(name))
    if not path.is_file():
        from labelgen.core.settings_reading import suggestion

        raise UserError(
            f"configuration {name!r} is neither a file nor a preset; {suggestion(name, list(PRESETS))}"
        )
    return path
