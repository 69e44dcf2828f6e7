"""Pass 2 as a plan: what is done with a run's scenes, and the derived run that it goes to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import UserError
from labelgen.core.records import Failure, FrameRecord, PointLabels, Semantics
from labelgen.core.taxonomy import Taxonomy
from labelgen.datasets.roots import clouds
from labelgen.io.place import absolute, open_store
from labelgen.runs import Run, Scene, scenes_of
from labelgen.shards import Parent, create_run, merge_plan, resume
from labelgen.shards.resume import CHECKED_BYTES
from labelgen.shards.schema import FORMAT_VERSION


@dataclass(frozen=True)
class Derived:
    """What an operation gives for one frame.

    Attributes:
        frame_id: one of the scene's.
        labels: N rows.
        visible: (V,) the answer of the depth test, where it changed; or None.
        semantics: what the regions mean, where that changed; or None.
        record: the parent's frame, where it was read whole; or None.
    """

    frame_id: str
    labels: PointLabels
    visible: NDArray[np.bool_] | None = None
    semantics: Semantics | None = None
    record: FrameRecord | None = None


class Operation(Protocol):
    """A way to make labels from a stored scene; small enough to be pickled."""

    @property
    def name(self) -> str:
        """Of the operation, in ``run.json``."""

    @property
    def stored(self) -> tuple[str, ...]:
        """Arrays or groups of arrays that it changes."""

    @property
    def points(self) -> frozenset[str]:
        """Arrays of the cloud that it reads: from the raw file, where the run does not store them."""

    def settings(self) -> dict[str, Any]:
        """All that can change a label, as JSON-like data."""

    def __call__(self, scene: Scene, taxonomy: Taxonomy) -> Iterator[Derived | Failure]:
        """Labels of a scene's frames, in their order; holds few frames at a time, may go through it twice."""


@dataclass(frozen=True)
class Derivation:
    """A planned derived run: small enough to be sent to where a scene is done.

    Attributes:
        parent, output: folders or addresses of the two runs, absolute.
        root: where raw clouds are.
        operation: what is done.
        fingerprint: of the derived run.
        attributes: of its shards; the parent's hold where it has none.
    """

    parent: str
    output: str
    root: Path
    operation: Operation
    fingerprint: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


def plan_derivation(
    parent: Run,
    operation: Operation,
    output: Path | str,
    *,
    taxonomy: Taxonomy | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Derivation:
    """Make the derived run's folder, or check that the one there is of the same parent and settings.

    Args:
        parent: a run.
        operation: what is done with it.
        output: the derived run's folder or address.
        taxonomy: of the derived run; None: the parent's.
        attributes: of the derived run's shards, where they differ from the parent's.

    Raises:
        UserError: the folder is the parent's own, or holds another run; the plan lacks a frame; the data root
            is wrong where it is needed. Nothing is written then.
    """
    target = open_store(output)
    if target.folder.resolve() == parent.path.resolve():
        raise UserError(f"{output} is the run itself; a derived run needs a folder of its own: --output")
    scenes = scenes_of(parent)
    if not operation.points <= parent.arrays:
        parent.need(clouds)
    settings = operation.settings()
    covered = {"derived": {"operation": operation.name, "parent": parent.info.fingerprint, **settings}}
    content = {"format": FORMAT_VERSION, **covered}
    mark = hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()
    create_run(
        target,
        fingerprint=mark,
        config=parent.info.config | covered,
        covered=covered,
        taxonomy=parent.info.taxonomy if taxonomy is None else taxonomy.to_dict(),
        models=parent.info.models,
        parent=Parent(path=target.path_to(parent.store), fingerprint=parent.info.fingerprint),
        warnings=parent.info.warnings,
    )
    resume(target, checked_bytes=CHECKED_BYTES)
    marks: dict[str, str] = {}
    for scene in scenes:
        marks |= dict.fromkeys(scene.frame_ids, mark_of(scene))
    plan = parent.plan.values()
    marked = [replace(frame, source_id=marks.get(frame.frame_id, frame.source_id)) for frame in plan]
    merge_plan(target, marked, parent.dataset)
    return Derivation(
        absolute(parent.store), absolute(target), parent.root, operation, mark, attributes or {}
    )


def open_scenes(derivation: Derivation) -> Sequence[Scene]:
    """The parent's scenes; the data root was looked at when the derived run was planned."""
    return scenes_of(Run(derivation.parent, derivation.root))


def mark_of(scene: Scene) -> str:
    """Names what a derived run's labels of a scene are made of: all its frames and their sources.

    It is the ``source_id`` of the scene's frames in a derived run, where a scene that has gained a frame,
    or had one labelled anew, is done anew, as a frame is whose files have changed.
    """
    members = sorted((frame_id, scene.run.entry(frame_id).source_id) for frame_id in scene.frame_ids)
    return hashlib.blake2b(json.dumps(members).encode(), digest_size=16).hexdigest()
