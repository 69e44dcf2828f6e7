"""Which weights a Sam is made of, and what to record about them; without torch, since drivers ask for it."""

from __future__ import annotations

import hashlib
import re
from importlib.metadata import version
from pathlib import Path

from labelgen.core.errors import UserError
from labelgen.models.info import ModelInfo, file_hash
from labelgen.models.shipped import LICENCE, NOTE, shipped_dir, shipped_revision

#: Public checkpoints by architecture, as named by segment-anything's README.
PUBLIC_CHECKPOINTS = {
    "vit_b": "sam_vit_b_01ec64.pth",
    "vit_l": "sam_vit_l_0b3195.pth",
    "vit_h": "sam_vit_h_4b8939.pth",
}


def describe_sam(model: str, checkpoint: str | None, *, checked: bool = False) -> tuple[Path, ModelInfo]:
    """Path of a Sam's weights, and what to record about it, without loading it.

    Args:
        model: ``demo`` (shipped), ``vit_b``, ``vit_l`` or ``vit_h``.
        checkpoint: path of the weights; None for the shipped ones of ``demo``.
        checked: compare a file of a public name with what its publisher wrote into that.

    Raises:
        UserError: unknown model, no checkpoint given, none there, or another file under a public name.
    """
    if model not in ("demo", *PUBLIC_CHECKPOINTS):
        raise UserError(f"regions.model={model!r} is not one of {['demo', *PUBLIC_CHECKPOINTS]}")
    if model != "demo" and checkpoint is None:
        raise UserError(
            f"regions.model={model} needs regions.checkpoint, the path of {PUBLIC_CHECKPOINTS[model]}; "
            "`labelgen models prefetch` with the same settings fetches it there"
        )
    folder = shipped_dir("sam")
    path = Path(checkpoint) if checkpoint else folder / "model.safetensors"
    if not path.is_file():
        raise UserError(
            f"checkpoint {path} does not exist; `labelgen models prefetch` with the same settings fetches "
            "the public one there, or correct regions.checkpoint"
        )
    if checked:
        check_public_name(path)
    code = f"segment-anything {version('segment-anything')}"
    return path, ModelInfo(
        name=f"sam:{model}",
        revision=code if checkpoint else shipped_revision(folder),
        licence=LICENCE,
        weights=file_hash(path),
        note=NOTE if model == "demo" else "",
    )


def check_public_name(path: Path) -> None:
    """Compare a public checkpoint with the beginning of its MD5 that its publisher put into its name.

    Raises:
        UserError: it is another file, or truncated; names the expected and the found hash.
    """
    told = re.fullmatch(r"sam_vit_[blh]_([0-9a-f]{6})\.pth", path.name)
    if told is None:
        return
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(1 << 22):
            digest.update(piece)
    if digest.hexdigest()[:6] != told[1]:
        raise UserError(
            f"checkpoint {path} is damaged or a different file: its MD5 should begin with {told[1]}, but is "
            f"{digest.hexdigest()}; delete it and run `labelgen models prefetch`, or give it another name"
        )
