"""3D networks behind one small interface, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labelgen.core.settings_reading import checked
from labelgen.distill.backbones.base import Backbone
from labelgen.distill.backbones.waffleiron import WaffleIron
from labelgen.distill.settings.backbones import MinkUNetSettings, WaffleIronSettings, network_of

__all__ = ["Backbone", "WaffleIron", "make_backbone"]


def make_backbone(name: str, settings: Mapping[str, Any] | None = None) -> Backbone:
    """Make a network with random weights.

    Args:
        name: ``waffleiron`` or ``waffleiron-LAYERS-WIDTH`` (such as ``waffleiron-12-128``), ``minkunet34``.
        settings: what differs from the backbone's defaults.

    Raises:
        UserError: no such backbone or setting, or it needs a package that is not installed.
    """
    kind, said = network_of(name)
    chosen = checked(kind, said | dict(settings or {}), f"backbone {name}")
    if isinstance(chosen, WaffleIronSettings):
        return WaffleIron(chosen)
    from labelgen.distill.backbones.minkunet import MinkUNet

    assert isinstance(chosen, MinkUNetSettings)
    return MinkUNet(chosen)
