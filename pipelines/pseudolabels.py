"""What ``make pseudolabels`` runs: the way of one frame as a list of steps. Copy it, change it, run it:

    python -m pipelines.pseudolabels --dataset nuscenes --dataroot /data/nuscenes --config nuscenes

The options are those of ``labelgen run``. A step is any object that has ``name``, ``needs``, ``gives``,
``holds_model``, ``setup()`` and ``__call__(task)``: see `labelgen.engine.task`. A run of other steps has
another fingerprint.
"""

from __future__ import annotations

from pathlib import Path

from labelgen.cli.main import main
from labelgen.config import RunConfig
from labelgen.core.taxonomy import Taxonomy
from labelgen.engine.steps import (
    CaptionRegions,
    CheckFrame,
    DescribeRegions,
    LoadFrame,
    ProjectPoints,
    ProposeRegions,
    VoteLabels,
)
from labelgen.engine.task import Step
from labelgen.semantics.registry import caption_settings


def steps(root: Path, config: RunConfig, taxonomy: Taxonomy, run: str = "") -> list[Step]:
    """The steps of a frame.

    Args:
        root: the data root, which paths in frames are relative to.
        config: all settings; a step takes from them what is its own.
        taxonomy: the classes.
        run: folder or address of the run.
    """
    describe = DescribeRegions(config, taxonomy)  # class scores and a feature of every region
    captions = caption_settings(config.semantics)
    return [
        LoadFrame(root),  # the cloud, and the image files
        ProjectPoints(config),  # which point falls where, and can the camera see it?
        CheckFrame(root, config.allow),  # does that make sense?
        ProposeRegions(config, Path(run) / "label_maps" if config.regions.label_map else None),  # SAM
        describe,  # CLIP
        *([CaptionRegions(config, captions, taxonomy, describe)] if captions else []),  # BLIP-2
        VoteLabels(config, taxonomy),  # regions vote on the points in them
    ]


if __name__ == "__main__":
    from pipelines.pseudolabels import steps as recipe  # by its name, under which workers import it

    main(["run"], recipe)
