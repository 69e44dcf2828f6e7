"""All settings of one training: short YAML files over defaults written here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from labelgen.errors import UserError
from labelgen.settings import as_settings, checked, parse_override, place_of, read_settings
from labelgen.text_files import At, Source, parse_yaml


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataConfig(_Section):
    """How a frame becomes points of a batch; the defaults are ScaLR's."""

    voxel: float = Field(0.1, gt=0, le=100, description="side of the voxels that keep one point each, metres")
    max_points: int | None = Field(
        20_000, ge=2, le=10**7, description="in training: those nearest to a random one"
    )
    rotate: bool = Field(True, description="in training: about z by any angle")
    flip: float = Field(0.5, ge=0, le=1, description="in training: probability to mirror x, and likewise y")
    scale: float = Field(0.1, ge=0, lt=1, description="in training: by up to this share")
    polarmix: float = Field(
        0.0, ge=0, le=1, description="training on labels: probability that a sector comes from another frame"
    )
    visible_only: bool = Field(True, description="views that the depth test holds hidden do not count")
    min_confidence: float = Field(0.0, ge=0, le=1, description="pseudo-labels below are no labels")


class OptimizerConfig(_Section):
    """Optimiser and schedule: warm-up, then a cosine down to ``min_rate``."""

    name: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(2e-3, gt=0, le=1000)
    head_rate: float = Field(
        1.0, gt=0, le=10**6, description="learning rate of the heads over the backbone's"
    )
    layer_decay: float = Field(1.0, gt=0, le=1, description="learning rate of a layer over the next one's")
    weight_decay: float = Field(0.03, ge=0, le=1000, description="of matrices; vectors are not decayed")
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd")
    dampening: float = Field(0.1, ge=0, lt=1, description="sgd")
    epochs: int = Field(25, ge=1, le=10**6)
    max_steps: int | None = Field(
        None, ge=1, le=10**8, description="stop and reach the schedule's end earlier"
    )
    batch_size: int = Field(8, ge=1, le=4096, description="frames per step and process")
    accumulate: int = Field(1, ge=1, le=10_000, description="batches whose gradients make one step")
    warmup: float = Field(0.0, ge=0, le=10**6, description="epochs until the highest rate")
    min_rate: float = Field(1e-5, ge=0, le=1000, description="at the end")
    clip: float | None = Field(None, gt=0, le=10**6, description="longest gradient")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the averaged weights; 0: none")


class RuntimeConfig(_Section):
    """Where and how fast; changes results in the last bits only."""

    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    threads: int = Field(2, ge=1, le=1024, description="CPU threads of the network")
    workers: int = Field(2, ge=0, le=1024, description="processes that make batches")
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 on a GPU")
    compile: bool = Field(False, description="torch.compile the backbone")
    save_minutes: float = Field(
        5.0,
        ge=0,
        le=10**5,
        description="between saved states; also after an epoch, ten seconds after the last at least",
    )
    log_every: int = Field(10, ge=1, le=10**8, description="steps per line of the log")


class TrainConfig(_Section):
    """All settings of one training."""

    method: str = Field("annotation-free", description="of pre-training, or annotation-free, probe, finetune")
    settings: dict[str, Any] = Field({}, description="of the method")
    backbone: str = "waffleiron-48-256"
    backbone_settings: dict[str, Any] = {}
    seed: int = Field(0, ge=0, le=2**63 - 1)
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    runtime: RuntimeConfig = RuntimeConfig()

    def digest(self, **more: Any) -> str:
        """Hash of all that changes the weights, and of what else is given."""
        content = self.model_dump(mode="json", exclude={"runtime"}) | more
        return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def load_train_config(
    method: str, size: str | None = None, file: Path | None = None, overrides: Iterable[str] = ()
) -> TrainConfig:
    """The settings of a method: its file, then a size's, then a file of the user's, then single fields.

    A folder of the size's name may hold what the size means for single methods.

    Args:
        method: name of a file in ``labelgen/distill/configs``.
        size: name of a file in ``labelgen/distill/configs/sizes``.
        file: of the user, laid over both.
        overrides: ``section.field=value``, values as in YAML.

    Raises:
        UserError: naming the file or the override, the field, and what is allowed.
    """
    folder = resources.files("labelgen.distill") / "configs"
    layers = [("method", folder / f"{method}.yaml")]
    if size is not None:
        layers.append(("size", folder / "sizes" / f"{size}.yaml"))
    data: dict[str, Any] = {}
    for what, path in layers:
        if not path.is_file():
            parent = folder if what == "method" else folder / "sizes"
            names = sorted(p.name.removesuffix(".yaml") for p in parent.iterdir() if p.name.endswith(".yaml"))
            raise UserError(
                f"unknown {what} {path.name.removesuffix('.yaml')!r}; there are {', '.join(names)}"
            )
        _lay_over(data, _shipped(path))
    own = folder / "sizes" / (size or "") / f"{method}.yaml"
    if size is not None and own.is_file():
        _lay_over(data, _shipped(own))
    source = Source({}, f"training {method}") if file is None else read_settings(file)
    _lay_over(data, source.data)
    written: dict[At, str] = {}
    for override in overrides:
        at, nested = parse_override(override)
        written[at] = override
        for name in reversed(at):
            nested = {name: nested}
        _lay_over(data, nested)
    return checked(TrainConfig, {"method": method} | data, lambda at: place_of(at, written, source.where(at)))


def _shipped(path: Traversable) -> dict[str, Any]:
    settings: dict[str, Any] = as_settings(parse_yaml(path.read_text("utf-8"), path.name)).data
    return settings


def _lay_over(below: dict[str, Any], above: dict[str, Any]) -> None:
    if not str(above.get("backbone", "waffleiron")).startswith("waffleiron"):
        below.pop("backbone_settings", None)  # they were another network's
    for name, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(name), dict):
            _lay_over(below[name], value)
        else:
            below[name] = value
