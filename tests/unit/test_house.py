"""The rules of docs/explanation/architecture.md that keep the house in order."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from labelgen.core.taxonomy import load_taxonomy
from labelgen.shards import create_run
from tests.helpers.runs import FINGERPRINT, some_records, write

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "labelgen").rglob("*.py")) + sorted((ROOT / "pipelines").rglob("*.py"))

#: Ground floor first: a room imports from itself and from rooms before it, nothing else.
ROOMS = [
    "core",
    "io",
    "presets",
    "geometry",
    "datasets",
    "models",
    "regions",
    "semantics",
    "labels",
    "config",
    "shards",
    "runs",
    "data",
    "metrics",
    "distill",
    "exports",
    "inspection",
    "doctor",
    "engine",
    "demo",
    "api",
    "cli",
    "pipelines",
]
#: What may be imported by few: {package: rooms}. Nothing else says where it may not be.
KEPT_TO = {
    "ray": {"engine"},
    "torch": {
        "models",
        "regions",
        "semantics",
        "data",
        "distill",
        "exports",
        "doctor",
        "engine",
        "demo",
        "cli",
    },
    "transformers": {"models", "regions", "semantics", "demo"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


def room_of(module: str) -> str:
    """Room of one of our modules; the package itself names what users import."""
    parts = module.split(".")
    if parts[0] == "pipelines":
        return "pipelines"
    if len(parts) == 1 or parts[1] in ("api", "testing"):
        return "api"
    return parts[1]


def imports_of(path: Path) -> set[str]:
    """Modules that a file imports, wherever it does so: at its top, in a function, for types alone."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else node.module or "")
    return found


GRAPH = {name: imports_of(path) for name, path in MODULES.items()}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes each of which leads to all others of its group (Tarjan 1972)."""
    low: dict[str, int] = {}
    number: dict[str, int] = {}
    open_: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = low[node] = len(number)
        open_.append(node)
        for other in sorted(graph[node] & graph.keys()):
            if other not in number:
                visit(other)
            if other in open_:
                low[node] = min(low[node], low[other])
        if low[node] == number[node]:
            group = open_[open_.index(node) :]
            del open_[open_.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in number:
            visit(node)
    return found


def test_circles_are_found():
    graph = {"a": {"b"}, "b": {"c", "x"}, "c": {"a"}, "d": {"a", "e"}, "e": set()}
    assert circles(graph) == [["a", "b", "c"]]


def test_no_files_import_each_other():
    assert circles(GRAPH) == []


@pytest.mark.parametrize("module", GRAPH)
def test_imports_go_down(module):
    own = room_of(module)
    assert own in ROOMS, f"where does {own} stand?"
    above = set(ROOMS[ROOMS.index(own) + 1 :])
    wrong = sorted(other for other in GRAPH[module] & MODULES.keys() if room_of(other) in above)
    assert not wrong, f"{own} imports what stands above it: {wrong}"
    for package in {name.split(".")[0] for name in GRAPH[module]} & KEPT_TO.keys():
        assert own in KEPT_TO[package], f"{own} imports no {package}"
    if any(name.split(".")[0] == "ray" for name in GRAPH[module]):
        assert module.startswith("labelgen.engine.ray."), "the rest of the engine runs without Ray"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_file_says_its_reason(path):
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring, "the first docstring line says the file's one reason to exist"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_parquet_is_read_in_one_place(path):
    if path.relative_to(ROOT) == Path("labelgen/io/bounded.py"):
        return
    readers = (
        "BufferReader",
        "Parquet(File|Dataset)",
        r"p[dq]\.read_\w+",
        "parquet import",
        r"pyarrow\.dataset",
    )
    found = re.search(rf"\b({'|'.join(readers)})\b", path.read_text())
    assert not found, "labelgen.io.bounded.read_parquet has no threads that outlive the interpreter"


def test_the_core_loads_neither_torch_nor_ray():
    code = (
        "import sys, labelgen.geometry, labelgen.labels, labelgen.shards\n"
        "import labelgen.datasets, labelgen.metrics\n"
        "bad = {'torch', 'ray'} & set(sys.modules)\n"
        "sys.exit(f'{bad} came along' if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Packages that a new process has loaded in the end."""
    code += "\nimport sys\nprint(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stderr.split())


HEAVY = {"numba", "scipy", "pandas", "cv2", "torch", "ray", "transformers", "skimage", "sklearn"}


def test_the_command_line_starts_without_what_takes_long():
    assert not loaded_by("import labelgen.cli.main") & (HEAVY | {"numpy", "pyarrow", "pydantic"})


def test_a_run_is_opened_and_looked_at_without_what_takes_long(tmp_path):
    folder = tmp_path / "run"
    taxonomy = load_taxonomy("nuscenes16").to_dict()
    create_run(folder, fingerprint=FINGERPRINT, config={}, taxonomy=taxonomy, models=[])
    write(folder, some_records(count=2))
    code = (
        "import sys, labelgen\n"
        "from labelgen.cli.main import app\n"
        "run = labelgen.open_run(sys.argv[1])\n"
        "record = run.frame(run.frames[0]).record()\n"
        "app(['inspect', sys.argv[1]], standalone_mode=False)"
    )
    assert not loaded_by(code, str(folder)) & HEAVY


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
