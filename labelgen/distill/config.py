"""All settings of one training: short YAML files over defaults written here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from labelgen.core.errors import UserError
from labelgen.core.settings import NO_LABEL, Settings
from labelgen.core.settings_reading import (
    Layer,
    argument_layer,
    checked,
    compose,
    file_layer,
    layer_of,
    override_layer,
    suggestion,
)
from labelgen.core.text_files import At
from labelgen.distill.registry import METHODS, NETWORKS, network_of


class DataConfig(Settings):
    """How a frame becomes points of a batch; the defaults are ScaLR's."""

    voxel: float = Field(0.1, gt=0, le=100, description="side of the voxels that keep one point each, metres")
    max_points: int | None = Field(
        20_000,
        ge=2,
        le=10**7,
        description="in training: most points of a frame, those nearest to a random one",
    )
    rotate: bool = Field(True, description="in training: rotate about z by any angle")
    flip: float = Field(0.5, ge=0, le=1, description="in training: probability to mirror x, and likewise y")
    scale: float = Field(0.1, ge=0, lt=1, description="in training: scale by up to this share")
    polarmix: float = Field(
        0.0, ge=0, le=1, description="training on labels: probability that a sector comes from another frame"
    )
    visible_only: bool = Field(True, description="views that the depth test holds hidden do not count")
    min_confidence: float = Field(
        0.0, ge=0, le=1, description="pseudo-labels of lower confidence do not count"
    )


class OptimizerConfig(Settings):
    """Optimiser and schedule: warm-up, then a cosine down to ``min_rate``."""

    name: Literal["adamw", "sgd"] = Field("adamw", description="which optimiser")
    learning_rate: float = Field(2e-3, gt=0, le=1000, description="the highest")
    head_rate: float = Field(
        1.0, gt=0, le=10**6, description="learning rate of the heads over the backbone's"
    )
    layer_decay: float = Field(1.0, gt=0, le=1, description="learning rate of a layer over the next one's")
    weight_decay: float = Field(
        0.03, ge=0, le=1000, description="weight decay of matrices; vectors are not decayed"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd")
    dampening: float = Field(0.1, ge=0, lt=1, description="sgd")
    epochs: int = Field(25, ge=1, le=10**6, description="passes over the frames")
    max_steps: int | None = Field(
        None, ge=1, le=10**8, description="stop and reach the schedule's end earlier"
    )
    batch_size: int = Field(8, ge=1, le=4096, description="frames per step and process")
    accumulate: int = Field(1, ge=1, le=10_000, description="batches whose gradients make one step")
    warmup: float = Field(0.0, ge=0, le=10**6, description="epochs until the highest rate")
    min_rate: float = Field(1e-5, ge=0, le=1000, description="rate at the end")
    clip: float | None = Field(None, gt=0, le=10**6, description="longest gradient")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the averaged weights; 0: none")


class RuntimeConfig(Settings):
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


class TrainConfig(Settings):
    """All settings of one training."""

    method: str = Field(
        "annotation-free",
        description="annotation-free, probe, finetune, panoptic, one without labels, or another package's",
    )
    settings: dict[str, Any] = Field({}, description="settings of the method")
    backbone: str = Field(
        "waffleiron-48-256",
        description="waffleiron, waffleiron-LAYERS-WIDTH, minkunet34 or another package's",
    )
    backbone_settings: dict[str, Any] = Field({}, description="settings of the backbone")
    seed: int = Field(
        0, ge=0, le=2**63 - 1, description="seed of the weights and of all that is drawn at random"
    )
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    runtime: Annotated[RuntimeConfig, NO_LABEL] = RuntimeConfig()

    def digest(self, **more: Any) -> str:
        """Hash of all that changes the weights, and of what else is given."""
        content = self.model_dump(mode="json", exclude={"runtime"}) | more
        return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def load_train_config(
    method: str,
    size: str | None = None,
    file: Path | None = None,
    overrides: Iterable[str] = (),
    **settings: Any,
) -> TrainConfig:
    """The settings of a method: its file, then a size's, a file of the user's, single fields, and arguments.

    A folder of the size's name may hold what the size means for single methods.

    Args:
        method: a key of `METHODS`; ours have a file each in ``labelgen/distill/configs``.
        size: name of a file in ``labelgen/distill/configs/sizes``.
        file: of the user, laid over both.
        overrides: ``section.field=value``, values as in YAML.
        **settings: fields, sections as mappings: ``optimizer={"epochs": 5}``.

    Raises:
        UserError: naming the file, the override or the argument, the field, and what is allowed.
    """
    folder = resources.files("labelgen.distill") / "configs"
    layers = [argument_layer({"method": method}), _defaults(folder, method)]
    if size is not None:
        layers.append(_shipped(folder / "sizes", size, "size"))
        own = folder / "sizes" / size / f"{method}.yaml"
        layers += [file_layer(own, shipped=True)] if own.is_file() else []
    layers += [] if file is None else [file_layer(file)]
    layers += map(override_layer, overrides)
    layers += [argument_layer(settings)] if settings else []
    config = compose(TrainConfig, layers, before=_drop_other_network)

    def where(at: At) -> str:
        own = at[0] == "settings" or len(at) == 1 or at[1] in config.backbone_settings
        return layer_of(layers, at if own else ("backbone",)).where(at)  # the name says sizes, too

    checked(METHODS[config.method].settings, config.settings, where, under=("settings",))
    network, said = network_of(config.backbone)
    given = said | config.backbone_settings
    checked(NETWORKS[network].settings, given, where, under=("backbone_settings",))
    return config


def _defaults(folder: Traversable, method: str) -> Layer:
    """What a method wants of the other settings: ours say so in a file, those of packages in their entry."""
    if method in METHODS.own():
        return _shipped(folder, method, "method")
    return Layer(METHODS[method].defaults, lambda at: f"defaults of method {method}", shipped=True)


def _shipped(folder: Traversable, name: str, what: str) -> Layer:
    path = folder / f"{name}.yaml"
    if not path.is_file():
        names = [one.name.removesuffix(".yaml") for one in folder.iterdir() if one.name.endswith(".yaml")]
        raise UserError(f"unknown {what} {name!r}; {suggestion(name, names)}")
    return file_layer(path, shipped=True)


def _drop_other_network(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    """Settings of one network are of no other."""
    if "backbone" not in above:
        return
    default = TrainConfig.model_fields["backbone"].default
    one, other = (network_of(str(layer.get("backbone", default)))[0] for layer in (below, above))
    if one != other:
        below.pop("backbone_settings", None)
