"""Which weights a CLIP is made of, and what to record about them; without torch, since drivers ask for it."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from safetensors import SafetensorError

from labelgen.core.errors import UserError
from labelgen.models.hub import fetching, hub_file
from labelgen.models.info import ModelInfo, file_hash
from labelgen.models.shipped import LICENCE, NOTE, TRAINING_FILE, shipped_dir, shipped_revision
from labelgen.semantics.clip_training import Training, check_activation, training_of_file, trainings

#: open_clip's first choice among the files of a ``local-dir:``.
DIRECTORY_WEIGHTS = "open_clip_model.safetensors"
#: Names of weights in a repository of the hub, the better one first.
HUB_WEIGHTS = (DIRECTORY_WEIGHTS, "open_clip_pytorch_model.bin")
#: That takes the path of weights.
SETTING = "semantics.checkpoint"
#: What open_clip, torch and the hub raise on files that they cannot use.
FAULTS = (RuntimeError, ValueError, OSError, EOFError, KeyError, SafetensorError, pickle.UnpicklingError)


@dataclass(frozen=True)
class Weights:
    """Where a CLIP's weights are, and how they are to be used.

    Attributes:
        path: the file, or the folder as open_clip writes it.
        info: what to record about them.
        tag: open_clip's, of the training that a file's weights are of; None where it does not matter.
        training: what that asks for; None for a folder, which says so itself, and for open_clip's defaults.
    """

    path: Path
    info: ModelInfo
    tag: str | None = None
    training: Training | None = None

    @property
    def file(self) -> Path:
        """The file with the weights themselves."""
        return self.path / DIRECTORY_WEIGHTS if self.path.is_dir() else self.path


def describe_open_clip(model: str, checkpoint: str | None, pretrained: str | None = None) -> Weights:
    """A CLIP's weights, without loading them.

    Args:
        model: ``demo`` (shipped) or an open_clip architecture.
        checkpoint: path of the weights, an open_clip pretrained tag (fetched first), or a folder as open_clip
            writes it (``open_clip_config.json`` beside ``open_clip_model.safetensors``); None for ``demo``.
        pretrained: tag of the weights in a file.

    Raises:
        UserError: unknown architecture, no checkpoint given, or one that cannot be had, or whose training has
            to be told; names it.
    """
    folder = weights_folder(model, checkpoint)
    if pretrained is not None and (folder or not Path(checkpoint or "").is_file()):
        raise UserError(
            "semantics.pretrained applies to a file of weights; leave it out for a tag or a folder"
        )
    shipped, tag, training = False, None, None
    if folder is None:
        path, tag, training = _public_weights(model, checkpoint, pretrained)
    else:
        path, shipped = folder / DIRECTORY_WEIGHTS, (folder / TRAINING_FILE).is_file()
        if not path.is_file():
            raise UserError(f"checkpoint folder {folder} holds no {DIRECTORY_WEIGHTS}")
    public = f"{checkpoint}, open_clip {version('open_clip_torch')}"
    info = ModelInfo(
        name=f"open_clip:{model}",
        revision=shipped_revision(folder) if shipped and folder else public,
        licence=LICENCE if shipped else "see the publisher of the weights",
        weights=file_hash(path),
        note=NOTE if shipped else "",
    )
    return Weights(folder or path, info, tag, training)


def weights_folder(model: str, checkpoint: str | None) -> Path | None:
    """The folder that holds a CLIP with its configuration; None for one of open_clip's architectures."""
    if checkpoint:
        return Path(checkpoint) if Path(checkpoint).is_dir() else None
    return shipped_dir("clip") if model == "demo" else None


def _public_weights(
    model: str, checkpoint: str | None, pretrained: str | None
) -> tuple[Path, str | None, Training | None]:
    import open_clip

    if model not in open_clip.list_models():
        raise UserError(f"semantics.model={model!r} is neither demo nor an architecture of open_clip")
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
    if checkpoint is None:
        raise UserError(
            f"semantics.model={model} needs semantics.checkpoint: a path, or one of the tags {tags}"
        )
    if Path(checkpoint).is_file():
        path = Path(checkpoint)
        tag, training = training_of_file(model, path, pretrained)
        if training is not None:
            check_activation(model, training, checkpoint)
        return path, tag, training
    content = open_clip.pretrained.get_pretrained_cfg(model, checkpoint)
    if not content:
        raise UserError(
            f"checkpoint {checkpoint} is neither a file nor a tag of {model}; correct the path, or give a "
            f"tag, whose weights `labelgen models prefetch` fetches: {tags}"
        )
    training = trainings(model)[checkpoint]
    check_activation(model, training, checkpoint)
    what = f"the file of {model}, {checkpoint}"
    repository, _, name = (content.get("hf_hub") or "").rpartition("/")
    if repository:
        names = (name,) if name else HUB_WEIGHTS
        return hub_file(repository, names, what, SETTING), None, training
    with fetching(what, SETTING, content.get("url") or ""):
        return Path(open_clip.pretrained.download_pretrained(content)), None, training


def one_line(error: BaseException) -> str:
    """What an exception says, in one bounded line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
