"""Which weights a Sam is made of, and what to record about them; without torch, since drivers ask for it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from labelgen.errors import UserError
from labelgen.models.info import ModelInfo, file_hash
from labelgen.models.shipped import LICENCE, NOTE, shipped_dir, shipped_revision

#: Public checkpoints by architecture, as named by segment-anything's README.
PUBLIC_CHECKPOINTS = {
    "vit_b": "sam_vit_b_01ec64.pth",
    "vit_l": "sam_vit_l_0b3195.pth",
    "vit_h": "sam_vit_h_4b8939.pth",
}


def describe_sam(model: str, checkpoint: str | None) -> tuple[Path, ModelInfo]:
    """Path of a Sam's weights, and what to record about it, without loading it.

    Args:
        model: ``demo`` (shipped), ``vit_b``, ``vit_l`` or ``vit_h``.
        checkpoint: path of the weights; None for the shipped ones of ``demo``.

    Raises:
        UserError: unknown model, no checkpoint given, or none there.
    """
    if model not in ("demo", *PUBLIC_CHECKPOINTS):
        raise UserError(f"regions.model={model!r} is none of {['demo', *PUBLIC_CHECKPOINTS]}")
    if model != "demo" and checkpoint is None:
        raise UserError(
            f"regions.model={model} needs regions.checkpoint, the path of {PUBLIC_CHECKPOINTS[model]} "
            f"(see segment-anything's README)"
        )
    folder = shipped_dir("sam")
    path = Path(checkpoint) if checkpoint else folder / "model.safetensors"
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist")
    code = f"segment-anything {version('segment-anything')}"
    return path, ModelInfo(
        name=f"sam:{model}",
        revision=code if checkpoint else shipped_revision(folder),
        licence=LICENCE,
        weights=file_hash(path),
        note=NOTE if model == "demo" else "",
    )
