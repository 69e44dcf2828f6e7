"""What this machine has of what a run needs: software, GPUs, disk, weights, the data, the output folder."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path

from labelgen.config import RunConfig
from labelgen.core.errors import UserError
from labelgen.doctor.plugins import plug_in_packages
from labelgen.doctor.weights import Check, check_models
from labelgen.io.place import open_store
from labelgen.models.gpus import Gpus, ask, named_gpus

_PACKAGES = ("labelgen", "ray", "torch", "numpy", "zarr")
#: Seconds in which a new process must have computed something on a GPU.
_CUDA_S = 120.0


@dataclass(frozen=True)
class Questions:
    """What is asked of every machine of a cluster; small, since it travels.

    Attributes:
        output: folder, absolute, or address of the run.
        token: of the file ``.doctor-<token>`` that whoever asks has put there; machines add to its name.
        root: the data root.
        sources: {path below the root: bytes} of some files that a machine must be able to read.
        weights: {path: bytes} of checkpoints that whoever asks has.
        config: whose models are looked at, their weights hashed; None leaves that out, since it takes time.
        device: of the run; where it is not ``cpu``, torch is asked whether it can use the GPUs.
        given_gpus: Ray says that there are some, even if the driver names none.
    """

    output: str
    token: str
    root: str = ""
    sources: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, int] = field(default_factory=dict)
    config: RunConfig | None = None
    device: str = "cpu"
    given_gpus: bool = False

    def probe_file(self, name: str = "") -> str:
        """Key in the run's folder of the file that a machine, or whoever asks, writes."""
        return f".doctor-{self.token}{name and '-'}{name}"


@dataclass(frozen=True)
class Answers:
    """What a machine says.

    Attributes:
        host: its name.
        versions: {``python`` or a package: version, empty if it is not installed}.
        sources_digest: of labelgen's own source files, for an install that is older than it says.
        gpus: that the driver names.
        cuda_error: why torch cannot use them; empty if it can, or there are none.
        free: {folder: free bytes}: of the output where it is one, and of temporary files.
        output_seen: whether the file of whoever asks is there.
        output_error: why it cannot write beside that file, or empty.
        source_errors, weight_errors: one text for each file that is not as it should be.
        models: see `labelgen.doctor.weights.check_models`.
    """

    host: str
    versions: Mapping[str, str]
    sources_digest: str
    gpus: Gpus
    cuda_error: str
    free: Mapping[str, int]
    output_seen: bool
    output_error: str
    source_errors: tuple[str, ...]
    weight_errors: tuple[str, ...]
    models: tuple[Check, ...] = ()


def examine(questions: Questions, name: str = "") -> Answers:
    """Answer for this machine; raises nothing that a machine can be at fault for.

    Args:
        questions: what to look at.
        name: of the machine, unique in its cluster.
    """
    store = open_store(questions.output)
    error = ""
    try:
        seen = store.exists(questions.probe_file())
        if seen:
            store.replace(questions.probe_file(name), b"labelgen doctor\n")
    except (OSError, UserError) as problem:
        seen, error = True, str(problem)
    root = Path(questions.root)
    gpus = named_gpus()
    wanted = questions.device != "cpu" and bool(gpus.names or questions.given_gpus)
    return Answers(
        host=platform.node(),
        versions=versions(),
        sources_digest=sources_digest(),
        gpus=gpus,
        cuda_error=cuda_error(questions.given_gpus) if wanted else "",
        free=free_space([questions.output, tempfile.gettempdir()]),
        output_seen=seen,
        output_error=error,
        source_errors=_unlike({str(root / path): size for path, size in questions.sources.items()}),
        weight_errors=_unlike(questions.weights),
        models=tuple(check_models(questions.config, load=False)) if questions.config else (),
    )


def versions() -> dict[str, str]:
    """Of Python and of the packages whose versions matter."""

    def version(name: str) -> str:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            return ""

    packages = {name: version(name) for name in _PACKAGES}
    return {"python": platform.python_version()} | packages | plug_in_packages()


@cache
def sources_digest() -> str:
    """Hash of all Python files of the installed labelgen."""
    package = Path(__file__).parent.parent
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(package.rglob("[!.]*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def cuda_error(given: bool = False) -> str:
    """Why torch cannot compute on a GPU here, in one line; empty if it can.

    Asked in a process of its own, which may hang or die of it, and which sees what a worker with a GPU sees.

    Args:
        given: Ray has GPUs to give here; it hides them from workers that have not asked for one.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    if given and not environment.get("CUDA_VISIBLE_DEVICES", "0"):
        del environment["CUDA_VISIBLE_DEVICES"]
    code, said = ask([sys.executable, "-m", "labelgen.models.execution"], _CUDA_S, environment)
    if code == 0:
        return ""
    lines = [line for line in said.splitlines() if line.strip()]
    if code == 1 and lines:
        return lines[-1][:1000]
    how = "does not answer" if code is None else f"dies (exit code {code})"
    return f"torch {how} when it is to use CUDA: {lines[-1][:300] if lines else 'it says nothing'}"


def free_space(folders: Sequence[str]) -> dict[str, int]:
    """{folder: free bytes}; an address, or a folder that cannot be looked at, is left out."""
    found = {}
    for folder in folders:
        path = Path(folder)
        while not path.exists() and path != path.parent:
            path = path.parent
        if path.is_absolute() and os.access(path, os.R_OK):
            found[folder] = shutil.disk_usage(path).free
    return found


def _unlike(files: Mapping[str, int]) -> tuple[str, ...]:
    """One text for each file that is missing, unreadable, or of another size."""
    errors = []
    for path, size in files.items():
        try:
            with open(path, "rb") as file:
                found = os.fstat(file.fileno()).st_size
        except OSError as error:
            errors.append(f"{path}: {error.strerror}")
        else:
            if found != size:
                errors.append(f"{path}: {found} bytes, not {size}")
    return tuple(errors)
