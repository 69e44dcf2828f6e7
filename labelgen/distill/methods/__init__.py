"""Training methods by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labelgen.core.errors import UserError
from labelgen.core.settings_reading import checked
from labelgen.distill.methods.base import CacheInfo, Method
from labelgen.distill.methods.regress import OpenScene, Scalr
from labelgen.distill.methods.slidr import Ppkt, Slidr, TolerantSlidr
from labelgen.distill.methods.tmp import Tmp
from labelgen.distill.methods.vlm2scene import Vlm2Scene

__all__ = ["PRETRAINING", "CacheInfo", "Method", "make_method"]

#: {name: method} of those that train without labels.
PRETRAINING: dict[str, type[Method]] = {
    kind.name: kind for kind in (Ppkt, Slidr, TolerantSlidr, Scalr, OpenScene, Vlm2Scene, Tmp)
}


def make_method(name: str, settings: Mapping[str, Any], width: int, info: CacheInfo) -> Method:
    """Make a method with heads for a backbone and a run.

    Args:
        name: a key of `PRETRAINING`.
        settings: what differs from the method's defaults.
        width: C of the backbone's features.
        info: of the run.

    Raises:
        UserError: no such method or setting, or the run lacks what the method needs.
    """
    if name not in PRETRAINING:
        raise UserError(f"unknown method {name!r}; choose from {', '.join(sorted(PRETRAINING))}")
    kind = PRETRAINING[name]
    chosen = checked(kind.Settings, settings, f"method {name}")
    return kind(chosen, width, info)
