"""Packages that add to labelgen, as if they were installed: a folder on ``sys.path`` with their metadata."""

from __future__ import annotations

import shutil
import sys
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plugin"


def write_package(
    folder: Path, name: str, points: Mapping[str, Mapping[str, str]], code: str = "", version: str = "1.0"
) -> None:
    """A package of one module, ``NAME`` with ``-`` as ``_``, and its metadata.

    Args:
        folder: to be put on ``sys.path``.
        name: of the package.
        points: {group: {name: module:object}}.
        code: of the module.
        version: of the package.
    """
    module = name.replace("-", "_")
    if code:
        (folder / f"{module}.py").write_text(code)
    info = folder / f"{module}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = (
        "\n".join([f"[{group}]", *(f"{k} = {v}" for k, v in one.items())]) for group, one in points.items()
    )
    (info / "entry_points.txt").write_text("\n\n".join(groups) + "\n")


def install_example(folder: Path) -> None:
    """The example package, with the entry points of its pyproject.toml."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    shutil.copytree(EXAMPLE / "labelgen_example", folder / "labelgen_example")
    write_package(folder, project["name"], project["entry-points"], version=project["version"])


@contextmanager
def installed(folder: Path) -> Iterator[Path]:
    """With a folder of packages on ``sys.path``; their modules are forgotten afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        before = set(sys.modules)
        yield folder
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(folder)):
                del sys.modules[name]
