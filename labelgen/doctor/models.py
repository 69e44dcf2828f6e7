"""Every backend, what it is, and whether its weights are there: what ``labelgen models list`` shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from labelgen.models.info import ModelInfo

#: open_clip models that a run is likely to use, with a pretrained tag; any other works too.
OPEN_CLIP_CHOICES = {
    "ViT-B-16": "laion2b_s34b_b88k",
    "ViT-L-14": "laion2b_s32b_b82k",
    "ViT-L-14-quickgelu": "openai",
    "ViT-L-14-336-quickgelu": "openai",
    "convnext_large_d_320": "laion2b_s29b_b131k_ft_soup",
}
#: BLIP-2 models of the hub that a run is likely to use; any other works too.
BLIP2_CHOICES = ("Salesforce/blip2-opt-2.7b", "Salesforce/blip2-opt-6.7b")
#: Folder in which the presets expect downloaded checkpoints.
WEIGHTS_FOLDER = Path("weights")


@dataclass(frozen=True)
class Entry:
    """One row of the list.

    Attributes:
        stage: ``regions``, ``semantics`` or ``captions``.
        backend, model: what to write into the configuration.
        revision, licence, note: as in `labelgen.models.info.ModelInfo`.
        checkpoint: what to write into the configuration, empty if nothing is needed.
        present: whether the weights are there; None if they are fetched by a tag when first used.
        weights: their hash, empty if they are not there.
    """

    stage: str
    backend: str
    model: str
    revision: str
    licence: str
    checkpoint: str
    present: bool | None
    weights: str
    note: str = ""

    def to_dict(self) -> dict[str, object]:
        """Plain data for ``--json``."""
        return asdict(self)


def list_models(weights_folder: Path = WEIGHTS_FOLDER) -> list[Entry]:
    """All backends; hashes are computed for weights that are on disk."""
    from labelgen.core.errors import UserError
    from labelgen.models.hub import cached_folder
    from labelgen.regions import describe_proposer
    from labelgen.regions.sam2 import HUB_MODELS
    from labelgen.regions.sam3 import HUB_MODEL, LICENCE, NOTE
    from labelgen.regions.sam_weights import PUBLIC_CHECKPOINTS
    from labelgen.regions.settings import SamSettings, SuperpixelSettings
    from labelgen.semantics import describe_encoder
    from labelgen.semantics.registry import describe_captioner
    from labelgen.semantics.settings import CaptionSettings, OpenClipSettings

    entries = []
    shipped: list[tuple[str, str, str, Callable[[], ModelInfo]]] = [
        ("regions", "sam", "demo", partial(describe_proposer, SamSettings())),
        ("regions", "superpixel", "", partial(describe_proposer, SuperpixelSettings())),
        ("semantics", "open_clip", "demo", partial(describe_encoder, OpenClipSettings())),
        ("captions", "blip2", "demo", partial(describe_captioner, CaptionSettings())),
    ]
    for stage, backend, model, describe in shipped:
        try:
            info = describe()
            entries.append(
                Entry(stage, backend, model, info.revision, info.licence, "", True, info.weights, info.note)
            )
        except UserError as error:
            entries.append(Entry(stage, backend, model, "", "", "", False, "", str(error)))
    for model, name in PUBLIC_CHECKPOINTS.items():
        path = weights_folder / name
        revision, weights, note, fit = "segment-anything 1.0", "", "", path.is_file()
        if fit:
            try:
                info = describe_proposer(SamSettings(model=model, checkpoint=str(path)))
                revision, weights = info.revision, info.weights
            except UserError as error:
                fit, note = False, str(error)
        entries.append(Entry("regions", "sam", model, revision, "Apache-2.0", str(path), fit, weights, note))
    hub = [("sam2", model, "Apache-2.0", "") for model in HUB_MODELS]
    for backend, model, licence, note in (*hub, ("sam3", HUB_MODEL, LICENCE, NOTE)):
        entries.append(
            Entry(
                "regions",
                backend,
                model,
                "",
                licence,
                model,
                cached_folder(model) is not None or None,
                "",
                note,
            )
        )
    entries.append(
        Entry(
            "regions", "files", "", "", "of their writer", "regions.folder", None, "", "id maps of any model"
        )
    )
    for model, tag in OPEN_CLIP_CHOICES.items():
        entries.append(
            Entry("semantics", "open_clip", model, tag, "MIT", tag, None, "", "or the path of a checkpoint")
        )
    for model in BLIP2_CHOICES:
        entries.append(
            Entry("captions", "blip2", model, "", "see its page on the hub", model, None, "", "or a folder")
        )
    return entries
