"""A training method and a 3D network: settings and names; torch is imported when one is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from labelgen.distill.registry import Network, TrainingMethod
from labelgen.distill.settings.backbones import BackboneSettings
from labelgen.distill.settings.methods import MethodSettings

if TYPE_CHECKING:
    from labelgen.distill.methods import CacheInfo
    from labelgen_example.mlp import Mlp
    from labelgen_example.plain import Plain


class PlainSettings(MethodSettings):
    """Plain regression."""

    power: float = Field(2.0, ge=1, le=4, description="of the distance that is minimised")


class MlpSettings(BackboneSettings):
    """Size of the network."""

    width: int = Field(32, ge=1, le=4096, description="of the features of a point")
    layers: int = Field(3, ge=1, le=64, description="each linear, a norm and a ReLU")


def _plain(settings: PlainSettings, width: int, info: CacheInfo) -> Plain:
    from labelgen_example.plain import Plain

    return Plain(settings, width, info)


def _mlp(settings: MlpSettings) -> Mlp:
    from labelgen_example.mlp import Mlp

    return Mlp(settings)


PLAIN = TrainingMethod(
    about="plain regression of the regions' features",
    settings=PlainSettings,
    make=_plain,
    defaults={"optimizer": {"learning_rate": 0.002, "epochs": 25, "batch_size": 4}},
)
MLP = Network(about="each point by itself, through a small MLP", settings=MlpSettings, make=_mlp)
