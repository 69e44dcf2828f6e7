"""The run's folder: what is in it, and ``run.json``, which says what made it."""

from __future__ import annotations

import json
import platform
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, model_validator

from labelgen.core.errors import UserError
from labelgen.core.redact import redact_all
from labelgen.io.local import LocalStore
from labelgen.io.place import open_store
from labelgen.io.seal import sealed_json
from labelgen.io.store import Store, StoreError
from labelgen.shards.damage import DamageError
from labelgen.shards.documents import (
    LARGEST_JSON,
    ChecksumError,
    parse_model,
    plain_json,
)
from labelgen.shards.manifest import Version
from labelgen.shards.names import RUN_JSON
from labelgen.shards.resolve import load_manifests
from labelgen.shards.schema import FORMAT_VERSION

#: What to do about the file that says what made the run.
_REMEDY = (
    "restore the file, or run the job that made the run again, which writes it anew; if you changed it "
    "on purpose, remove its last field, the checksum"
)
#: Sections that commands look into.
_SECTIONS = ("derived", "regions", "semantics", "projection", "labels", "fusion", "shards", "runtime", "demo")
_Short = Annotated[str, StringConstraints(max_length=1024)]
_Path = Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00-\x1f\x7f]+$")]
_TOOLS = ("labelgen", "numpy", "numcodecs", "pyarrow")


class Parent(BaseModel):
    """The run that a derived run is laid over.

    Attributes:
        path: of its folder, absolute or relative to the derived run's folder.
        fingerprint: that it must have.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    path: _Path
    fingerprint: _Short


class RunInfo(BaseModel):
    """Content of ``run.json``.

    Attributes:
        fingerprint: hash of all that changes a label in every frame; two runs with the same one and the
            same frames are the same run.
        config: all settings.
        covered: the part of the settings that the fingerprint covers.
        taxonomy: as ``Taxonomy.to_dict`` gives it.
        models: one mapping per model: name, revision, licence, hash of the weights.
        tools: versions of the software.
        parent: of a derived run.
        warnings: what did not make sense about the data when the run was begun.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    format: Literal["labelgen-run"] = "labelgen-run"
    format_version: Version = FORMAT_VERSION
    fingerprint: _Short
    created: _Short
    config: dict[str, Any]
    covered: dict[str, Any]
    taxonomy: dict[str, Any]
    models: list[dict[str, Any]]
    tools: dict[str, str]
    parent: Parent | None = None
    warnings: list[dict[str, Any]] = []

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in _SECTIONS:
            if not isinstance(self.config.get(name, {}), dict):
                raise ValueError(f"config.{name}: a mapping is expected")
        classes = self.taxonomy.get("classes", [])
        if not isinstance(classes, list):
            raise ValueError("taxonomy.classes: a list is expected")
        for number, entry in enumerate(classes):
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                raise ValueError(f"taxonomy.classes.{number}: has no name")
        return self

    def to_json(self) -> bytes:
        """As stored."""
        return sealed_json(json.loads(self.model_dump_json()))  # which writes null for what is no number


def create_run(
    path: Path | str | Store,
    *,
    fingerprint: str,
    config: Mapping[str, Any],
    taxonomy: Mapping[str, Any],
    models: Sequence[Mapping[str, Any]],
    covered: Mapping[str, Any] | None = None,
    parent: Parent | None = None,
    warnings: Sequence[Mapping[str, Any]] = (),
) -> RunInfo:
    """Make a run's folder, or go on with the one that is there.

    Args:
        path: folder, or address in an object store; made if it is missing.
        fingerprint: hash of all that changes a label in every frame.
        config: all settings, as JSON-like data; credentials are taken out.
        taxonomy: as ``Taxonomy.to_dict`` gives it.
        models: one mapping per model: name, revision, licence, hash of the weights.
        covered: the part of ``config`` that the fingerprint covers, to say what differs; all by default.
        parent: of a derived run.
        warnings: what does not make sense about the data.

    Returns:
        What ``run.json`` says: of the first process that wrote it, if there were several.

    Raises:
        UserError: the folder holds a run with another fingerprint (says what differs), or cannot be written.

    A damaged ``run.json`` is moved aside and written anew, unless a manifest there is of another run.
    """
    info = RunInfo(
        fingerprint=fingerprint,
        created=now(),
        config=redact_all(config),
        covered=redact_all(config if covered is None else covered),
        taxonomy=dict(taxonomy),
        models=redact_all(models),
        tools=tool_versions(),
        parent=parent,
        warnings=[dict(warning) for warning in warnings],
    )
    store = open_store(path)
    try:
        if isinstance(store, LocalStore):
            store.folder.mkdir(parents=True, exist_ok=True)
        store.prepare()
        _set_damaged_aside(store, fingerprint)
        if not store.exists(RUN_JSON) and store.create(RUN_JSON, info.to_json()):
            return info
    except OSError as error:
        raise UserError(
            f"cannot write the run's folder {store.url}: {error.strerror}; choose another output folder"
        ) from error
    found = read_run_info(store)
    if found.fingerprint != fingerprint:
        differences = list(_differences(found, info)) or ["what the fingerprint covers"]
        more = f" and {len(differences) - 6} more" if len(differences) > 6 else ""
        raise UserError(
            f"{store.url} holds a run with other settings ({'; '.join(differences[:6])}{more}); "
            "choose another output folder, or the settings of that run"
        )
    return found


def _set_damaged_aside(store: Store, fingerprint: str) -> None:
    """Move a ``run.json`` aside that is not as it was written, where no manifest is another run's."""
    try:
        _parse(store.read(RUN_JSON, LARGEST_JSON + 1))
    except ValueError:
        _, damaged = load_manifests(store, fingerprint)
        if not any(error.problem.kind == "foreign-manifest" for error in damaged):
            store.move(RUN_JSON, f"{RUN_JSON}.damaged-{uuid.uuid4().hex[:12]}")
    except FileNotFoundError:
        pass


def read_run_info(path: Path | str | Store) -> RunInfo:
    """Read ``run.json``.

    Raises:
        UserError: no run there, or the file is of a later version; names file and field.
        DamageError: the file is not as it was written.
    """
    store = open_store(path)
    file = f"{store.url}/{RUN_JSON}"
    try:
        return _parse(store.read(RUN_JSON, LARGEST_JSON + 1), file)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{store.url} is not a run: there is no {RUN_JSON}") from None
    except StoreError:
        raise
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        damage = DamageError("run", file, str(error), _REMEDY)
        damage.content = error.content if isinstance(error, ChecksumError) else None
        raise damage from error


def _parse(raw: bytes, where: str = RUN_JSON) -> RunInfo:
    info = parse_model(raw, RunInfo, where)
    plain_json(raw)
    return info


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def tool_versions() -> dict[str, str]:
    """Versions of Python and of what has a part in the files."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in _TOOLS}


def _differences(found: RunInfo, wanted: RunInfo) -> Iterator[str]:
    """What differs, as ``key: there → here``."""
    for section in ("covered", "taxonomy", "models"):
        prefix = "" if section == "covered" else f"{section}."
        there = dict(_flat(getattr(found, section), prefix))
        here = dict(_flat(getattr(wanted, section), prefix))
        for key in sorted(there.keys() | here.keys()):
            if there.get(key) != here.get(key):
                yield f"{key}: {_short(there.get(key))} there, {_short(here.get(key))} here"


def _flat(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping | list):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, inner in items:
            yield from _flat(inner, f"{prefix}{key}.")
    else:
        yield prefix.rstrip("."), value


def _short(value: Any) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "..."
