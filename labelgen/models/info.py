"""What a run records about a model: name, revision, licence and a hash of its weights."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class ModelInfo:
    """One model of a run.

    Attributes:
        name: backend and architecture, e.g. ``sam:vit_h``.
        revision: version of the code or the training that the model stands for.
        licence: of the weights.
        weights: blake2b-128 hex of the weights file's bytes; empty for a backend without weights.
        note: one line that a user should read, or empty.
        package: with its version, if it is not this one, that brings the backend; the registry fills it in.
    """

    name: str
    revision: str
    licence: str
    weights: str
    note: str = ""
    package: str = ""

    def to_dict(self) -> dict[str, str]:
        """Plain data for ``run.json``; without ``package`` where that is ours."""
        plain = asdict(self)
        return plain if self.package else {key: value for key, value in plain.items() if key != "package"}


def file_hash(path: Path) -> str:
    """blake2b-128 hex of a file's bytes, read in pieces."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as stream:
        while piece := stream.read(1 << 22):
            digest.update(piece)
    return digest.hexdigest()
