"""Region proposers by name: how one is made, and what a run records about it."""

from __future__ import annotations

from labelgen.config import RegionsConfig
from labelgen.models.info import ModelInfo
from labelgen.regions.base import RegionProposer


def make_proposer(config: RegionsConfig, device: str = "auto", threads: int = 1) -> RegionProposer:
    """Make the backend that the configuration names.

    Raises:
        UserError: weights are missing or faulty, or the device is not there.
    """
    if config.superpixel_score and config.backend != "superpixel":
        from labelgen.regions.joined import JoinedProposer

        alone, superpixels = _apart(config)
        return JoinedProposer(
            make_proposer(alone, device, threads), make_proposer(superpixels), config.superpixel_score
        )
    from labelgen.regions.generator import PromptedProposer

    match config.backend:
        case "sam":
            from labelgen.regions.sam import SamNetwork, load_sam

            sam = SamNetwork(*load_sam(config.model, config.checkpoint))
            return PromptedProposer(config, sam, device=device, threads=threads)
        case "sam2":
            from labelgen.regions.sam2 import Sam2Network, load_sam2

            sam2 = Sam2Network(*load_sam2(config.model, config.checkpoint))
            return PromptedProposer(config, sam2, device=device, threads=threads)
        case "sam3":
            from labelgen.regions.sam3 import Sam3Proposer, load_sam3

            return Sam3Proposer(
                config, *load_sam3(config.model, config.checkpoint), device=device, threads=threads
            )
        case "files":
            from labelgen.regions.files import FileProposer

            return FileProposer(config)
        case "superpixel":
            from labelgen.regions.superpixel import SuperpixelProposer

            return SuperpixelProposer(config)


def describe_proposer(config: RegionsConfig) -> ModelInfo:
    """What to record about the backend that the configuration names, without loading its model.

    Raises:
        UserError: weights are missing.
    """
    if config.superpixel_score and config.backend != "superpixel":
        from labelgen.regions.joined import joined_info

        return joined_info(*map(describe_proposer, _apart(config)))
    match config.backend:
        case "sam":
            from labelgen.regions.sam_weights import describe_sam

            return describe_sam(config.model, config.checkpoint, checked=True)[1]
        case "sam2":
            from labelgen.regions.sam2 import describe_sam2

            return describe_sam2(config.model, config.checkpoint)[1]
        case "sam3":
            from labelgen.regions.sam3 import describe_sam3

            return describe_sam3(config.model, config.checkpoint)[1]
        case "files":
            from labelgen.regions.files import describe_files

            return describe_files(config)
        case "superpixel":
            from labelgen.regions.superpixel import describe_superpixel

            return describe_superpixel(config)


def _apart(config: RegionsConfig) -> tuple[RegionsConfig, RegionsConfig]:
    """The configurations of the masks alone and of the superpixels that join them."""
    alone = config.model_copy(update={"superpixel_score": 0.0})
    return alone, alone.model_copy(update={"backend": "superpixel"})
