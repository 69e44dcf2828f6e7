"""Fetches the weights that a configuration names, and checks that they load: before a run, not in it."""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from labelgen.config import RunConfig
from labelgen.core.errors import UserError
from labelgen.models.info import ModelInfo

#: Where segment-anything's README has its checkpoints.
SAM_URL = "https://dl.fbaipublicfiles.com/segment_anything/{name}"


@dataclass(frozen=True)
class Check:
    """One model of a configuration: whether it is fit for a run, and why not.

    Attributes:
        stage: ``regions``, ``semantics`` or ``captions``.
        name, weights, licence: as in `labelgen.models.info.ModelInfo`.
        fit: whether it loads.
        detail: what is wrong, or a note on the model.
    """

    stage: str
    name: str
    weights: str
    licence: str
    fit: bool
    detail: str

    def to_dict(self) -> dict[str, object]:
        """Plain data for ``--json``."""
        return asdict(self)


def check_models(config: RunConfig, *, load: bool = True) -> Iterator[Check]:
    """Look at every model of a configuration, one after another.

    Args:
        config: the run's settings.
        load: load it on the CPU; otherwise its weights are only looked for and hashed.
    """
    from labelgen.regions import describe_proposer, make_proposer
    from labelgen.semantics import describe_encoder, make_encoder
    from labelgen.semantics.registry import caption_settings, describe_captioner, make_captioner

    makers: dict[str, Callable[[], ModelInfo]] = {
        "regions": lambda: make_proposer(config.regions, "cpu").info,
        "semantics": lambda: make_encoder(config.semantics, "cpu").info,
    }
    if not load:
        makers = {
            "regions": lambda: describe_proposer(config.regions),
            "semantics": lambda: describe_encoder(config.semantics),
        }
    names = {
        "regions": f"{config.regions.backend}:{getattr(config.regions, 'model', '')}",
        "semantics": f"{config.semantics.backend}:{getattr(config.semantics, 'model', '')}",
    }
    if (captions := caption_settings(config.semantics)) is not None:
        makers["captions"] = lambda: (
            make_captioner(captions, "cpu").info if load else describe_captioner(captions)
        )
        names["captions"] = f"{captions.captions}:{captions.caption_model}"
    for stage, make in makers.items():
        try:
            if load and stage == "regions":
                describe_proposer(config.regions)  # names a public file that is another one
            info = make()
            yield Check(stage, info.name, info.weights, info.licence, True, info.note)
        except UserError as error:
            yield Check(stage, names[stage], "", "", False, str(error))


def fetch_models(config: RunConfig, on_bytes: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Fetch what a configuration names and what is not there yet: Sam's files, hub models, open_clip tags.

    Args:
        config: the run's settings.
        on_bytes: called with the bytes that are done and in all, 0 if unknown, of a Sam's file.

    Raises:
        UserError: it cannot be fetched, or is not what was expected.
    """
    from labelgen.regions import describe_proposer
    from labelgen.regions.sam_weights import PUBLIC_CHECKPOINTS
    from labelgen.regions.settings import SamSettings
    from labelgen.semantics import describe_encoder
    from labelgen.semantics.registry import caption_settings, describe_captioner

    regions = config.regions
    if isinstance(regions, SamSettings) and regions.model in PUBLIC_CHECKPOINTS and regions.checkpoint:
        path = Path(regions.checkpoint)
        if not path.exists():
            _download(SAM_URL.format(name=PUBLIC_CHECKPOINTS[regions.model]), path, on_bytes)
    describe_proposer(regions)
    describe_encoder(config.semantics)
    if (captions := caption_settings(config.semantics)) is not None:
        describe_captioner(captions)


def _download(url: str, path: Path, on_bytes: Callable[[int, int], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with urllib.request.urlopen(url, timeout=60) as source, part.open("wb") as target:
            total, done = int(source.headers.get("Content-Length") or 0), 0
            while piece := source.read(1 << 20):
                target.write(piece)
                done += len(piece)
                on_bytes(done, total)
        if total and done != total:
            raise OSError(f"{done} of {total} bytes arrived")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UserError(
            f"{url} cannot be fetched to {path} ({error}): copy the file there, or name another path: "
            "--set regions.checkpoint=/path"
        ) from error
