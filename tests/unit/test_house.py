"""The rules of docs/architecture.md that keep the house in order."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "labelgen").rglob("*.py")) + sorted((ROOT / "pipelines").rglob("*.py"))

#: Data flows along this row; nothing imports what stands later.
ROW = ["frame", "records", "geometry", "regions", "semantics", "labels", "shards", "distill"]


def imported_modules(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def part_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "labelgen" and len(parts) > 1 else None


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_house(path):
    modules = imported_modules(path)
    relative = path.relative_to(ROOT)
    if relative.parts[0] == "labelgen":
        assert not any(m.split(".")[0] == "ray" for m in modules), "only pipelines/ imports ray"
        if relative.parts[1] != "cli":
            assert not any(m.split(".")[0] == "pipelines" for m in modules)
    own = relative.parts[1].removesuffix(".py")
    if relative.parts[0] == "labelgen" and own in ("geometry", "labels", "shards"):
        assert not any(m.split(".")[0] == "torch" for m in modules), f"{own} imports no torch"
    if relative.parts[0] == "labelgen" and own in ROW:
        later = set(ROW[ROW.index(own) + 1 :])
        wrong = {m for m in modules if part_of(m) in later}
        assert not wrong, f"{own} imports what stands later in the row: {wrong}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_says_its_reason_and_stays_short(path):
    text = path.read_text()
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring, "the first docstring line says the file's one reason to exist"
    assert len(text.splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_parquet_is_read_in_one_place(path):
    if path.relative_to(ROOT) == Path("labelgen/bounded.py"):
        return
    readers = (
        "BufferReader",
        "Parquet(File|Dataset)",
        r"p[dq]\.read_\w+",
        "parquet import",
        r"pyarrow\.dataset",
    )
    found = re.search(rf"\b({'|'.join(readers)})\b", path.read_text())
    assert not found, "labelgen.bounded.read_parquet has no threads that outlive the interpreter"


def test_the_core_loads_neither_torch_nor_ray():
    code = (
        "import sys, labelgen.geometry, labelgen.labels, labelgen.shards\n"
        "import labelgen.datasets, labelgen.metrics\n"
        "bad = {'torch', 'ray'} & set(sys.modules)\n"
        "sys.exit(f'{bad} came along' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_no_machine_paths_or_registry_hosts_in_the_tree():
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=False)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    # Assembled here, so that this file does not hold what it looks for.
    forbidden = ["/wo" + "rk/", "pythonhos" + "ted", "npm" + "js.org", "pypi" + ".org"]
    suffixes = {".py", ".md", ".toml", ".yaml", ".yml", ".lock", ".sh", ".txt", ".html", ".json", ""}
    for name in tracked.stdout.split("\n"):
        path = ROOT / name
        if name and path.is_file() and path.suffix in suffixes and path.name != "LICENSE":
            text = path.read_text(errors="replace")
            for word in forbidden:
                assert word not in text, f"{name} holds {word}"
