"""Training methods and 3D networks by name: what can be set of each, and how one is made.

Without torch, as settings are checked before a run is opened; what is made imports it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from labelgen.core.registry import Registry
from labelgen.core.settings_reading import checked
from labelgen.distill.settings.backbones import BackboneSettings, MinkUNetSettings, WaffleIronSettings
from labelgen.distill.settings.methods import (
    MethodSettings,
    PpktSettings,
    SegmentationSettings,
    SlidrSettings,
    TmpSettings,
    TolerantSettings,
    Vlm2SceneSettings,
)
from labelgen.distill.settings.panoptic import PanopticSettings

if TYPE_CHECKING:
    from labelgen.distill.backbones.base import Backbone
    from labelgen.distill.methods.base import CacheInfo, Method

#: Makes a method from its settings, the width of the backbone's features, and what holds for the run.
MakeMethod = Callable[[Any, int, "CacheInfo"], "Method"]


@dataclass(frozen=True)
class TrainingMethod:
    """A way to train a network.

    Attributes:
        about: one sentence that says what it is.
        settings: what can be set of it, ``settings`` of a training.
        make: it, with random weights, from its settings, the width C of the backbone's features and a
            `CacheInfo`; raises a UserError where the run lacks what it needs.
        labels: it learns from: none, the run's own, or the data set's.
        frozen: the backbone is left as it is.
        defaults: of the other settings of a training, such as ``{"optimizer": {"epochs": 50}}``; ours have
            theirs in ``labelgen/distill/configs``.
    """

    about: str
    settings: type[MethodSettings]
    make: MakeMethod
    labels: Literal["none", "run", "truth"] = "none"
    frozen: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Network:
    """A 3D network.

    Attributes:
        about: one sentence that says what it is.
        settings: what can be set of it, ``backbone_settings`` of a training.
        make: it, with random weights, from its settings.
    """

    about: str
    settings: type[BackboneSettings]
    make: Callable[[Any], Backbone]


def _segmentation(settings: SegmentationSettings, width: int, info: CacheInfo) -> Method:
    from labelgen.distill.methods.segmentation import Segmentation

    return Segmentation(settings, width, info)


def _panoptic(settings: PanopticSettings, width: int, info: CacheInfo) -> Method:
    from labelgen.distill.panoptic import Panoptic

    return Panoptic(settings, width, info)


def _ppkt(settings: PpktSettings, width: int, info: CacheInfo) -> Method:
    from labelgen.distill.methods.slidr import Ppkt

    return Ppkt(settings, width, info)


def _slidr(settings: SlidrSettings, width: int, info: CacheInfo) -> Method:
    from labelgen.distill.methods.slidr import Slidr

    return Slidr(settings, width, info)


def _tolerant(settings: TolerantSettings, width: int, info: CacheInfo) -> Method:
    from labelgen.distill.methods.slidr import TolerantSlidr

    return TolerantSlidr(settings, width, info)


def _scalr(settings: MethodSettings, width: int, info: CacheInfo) -> Method:
    from labelgen.distill.methods.regress import Scalr

    return Scalr(settings, width, info)


def _openscene(settings: MethodSettings, width: int, info: CacheInfo) -> Method:
    from labelgen.distill.methods.regress import OpenScene

    return OpenScene(settings, width, info)


def _vlm2scene(settings: Vlm2SceneSettings, width: int, info: CacheInfo) -> Method:
    from labelgen.distill.methods.vlm2scene import Vlm2Scene

    return Vlm2Scene(settings, width, info)


def _tmp(settings: TmpSettings, width: int, info: CacheInfo) -> Method:
    from labelgen.distill.methods.tmp import Tmp

    return Tmp(settings, width, info)


#: All that a training's ``method`` may name.
METHODS: Registry[TrainingMethod] = Registry(
    "method",
    "labelgen.methods",
    TrainingMethod,
    {
        "annotation-free": TrainingMethod(
            "segmentation of a run's pseudo-labels", SegmentationSettings, _segmentation, "run"
        ),
        "probe": TrainingMethod(
            "a linear head on a frozen backbone, of true labels",
            SegmentationSettings,
            _segmentation,
            "truth",
            frozen=True,
        ),
        "finetune": TrainingMethod(
            "segmentation of a share of the true labels", SegmentationSettings, _segmentation, "truth"
        ),
        "panoptic": TrainingMethod(
            "open-vocabulary panoptic segmentation", PanopticSettings, _panoptic, "truth"
        ),
        "ppkt": TrainingMethod("contrast of points and pixels", PpktSettings, _ppkt),
        "slidr": TrainingMethod("contrast of superpoints and superpixels", SlidrSettings, _slidr),
        "st-slidr": TrainingMethod("SLidR that tolerates like negatives", TolerantSettings, _tolerant),
        "scalr": TrainingMethod("regression of each pixel's feature", MethodSettings, _scalr),
        "openscene": TrainingMethod("regression of features fused over cameras", MethodSettings, _openscene),
        "vlm2scene": TrainingMethod("contrast with images and captions", Vlm2SceneSettings, _vlm2scene),
        "tmp": TrainingMethod("contrast with images and open words", TmpSettings, _tmp),
    },
)


def _waffleiron(settings: WaffleIronSettings) -> Backbone:
    from labelgen.distill.backbones.waffleiron import WaffleIron

    return WaffleIron(settings)


def _minkunet(settings: MinkUNetSettings) -> Backbone:
    from labelgen.distill.backbones.minkunet import MinkUNet

    return MinkUNet(settings)


#: All that a training's ``backbone`` may name; see `network_of` for names that say a size, too.
NETWORKS: Registry[Network] = Registry(
    "backbone",
    "labelgen.networks",
    Network,
    {
        "waffleiron": Network("WaffleIron, in plain PyTorch", WaffleIronSettings, _waffleiron),
        "minkunet34": Network("MinkUNet, on sparse voxels, by spconv", MinkUNetSettings, _minkunet),
    },
)


def network_of(name: str) -> tuple[str, dict[str, Any]]:
    """A key of `NETWORKS`, and the settings that a backbone's name says.

    Args:
        name: ``waffleiron-LAYERS-WIDTH`` (such as ``waffleiron-12-128``), or a key.
    """
    size = re.fullmatch(r"waffleiron-(\d{1,9})-(\d{1,9})", name)
    return ("waffleiron", {"layers": int(size[1]), "width": int(size[2])}) if size else (name, {})


def make_method(name: str, settings: Mapping[str, Any], width: int, info: CacheInfo) -> Method:
    """Make a method with heads for a backbone and a run.

    Args:
        name: a key of `METHODS`.
        settings: what differs from the method's defaults.
        width: C of the backbone's features.
        info: of the run.

    Raises:
        UserError: no such method or setting, or the run lacks what the method needs.
    """
    chosen = checked(METHODS[name].settings, settings, f"method {name}")
    return METHODS.use(name, lambda method: method.make(chosen, width, info))


def make_backbone(name: str, settings: Mapping[str, Any] | None = None) -> Backbone:
    """Make a network with random weights.

    Args:
        name: see `network_of`.
        settings: what differs from the backbone's defaults.

    Raises:
        UserError: no such backbone or setting, or it needs a package that is not installed.
    """
    key, said = network_of(name)
    chosen = checked(NETWORKS[key].settings, said | dict(settings or {}), f"backbone {name}")
    return NETWORKS.use(key, lambda network: network.make(chosen))
