"""3D networks behind one small interface, by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from labelgen.distill.backbones.base import Backbone, BackboneSettings
from labelgen.distill.backbones.waffleiron import WaffleIron, WaffleIronSettings
from labelgen.errors import UserError
from labelgen.settings_reading import checked

__all__ = ["Backbone", "BackboneSettings", "WaffleIron", "WaffleIronSettings", "make_backbone"]


def make_backbone(name: str, settings: Mapping[str, Any] | None = None) -> Backbone:
    """Make a network with random weights.

    Args:
        name: ``waffleiron`` or ``waffleiron-LAYERS-WIDTH`` (such as ``waffleiron-12-128``), ``minkunet34``.
        settings: what differs from the backbone's defaults.

    Raises:
        UserError: no such backbone or setting, or it needs a package that is not installed.
    """
    given = dict(settings or {})
    size = re.fullmatch(r"waffleiron(?:-(\d+)-(\d+))?", name)
    if size is not None:
        if size[1] is not None:
            given = {"layers": int(size[1]), "width": int(size[2])} | given
        return WaffleIron(checked(WaffleIronSettings, given, f"backbone {name}"))
    if name == "minkunet34":
        from labelgen.distill.backbones.minkunet import MinkUNet, MinkUNetSettings

        return MinkUNet(checked(MinkUNetSettings, given, f"backbone {name}"))
    raise UserError(f"unknown backbone {name!r}; there are waffleiron-LAYERS-WIDTH and minkunet34")
