"""What can be set of a training's parts, by name; without torch, as it is checked before a run is opened."""

from __future__ import annotations

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

#: {name of a method: its settings}.
METHODS: dict[str, type[MethodSettings]] = {
    "annotation-free": SegmentationSettings,
    "probe": SegmentationSettings,
    "finetune": SegmentationSettings,
    "panoptic": PanopticSettings,
    "ppkt": PpktSettings,
    "slidr": SlidrSettings,
    "st-slidr": TolerantSettings,
    "scalr": MethodSettings,
    "openscene": MethodSettings,
    "vlm2scene": Vlm2SceneSettings,
    "tmp": TmpSettings,
}
