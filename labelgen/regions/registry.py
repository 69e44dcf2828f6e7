"""Region proposers by name: how one is made, and what a run records about it."""

from __future__ import annotations

from labelgen.models.info import ModelInfo
from labelgen.regions.base import RegionProposer
from labelgen.regions.settings import Masks, RegionSettings


def make_proposer(
    config: RegionSettings, device: str = "auto", threads: int = 1, *, alone: bool = False
) -> RegionProposer:
    """Make the backend that the configuration names.

    Args:
        config: of the backend.
        device: of its network.
        threads: of the CPU.
        alone: without the superpixels that may join its masks.

    Raises:
        UserError: weights are missing or faulty, or the device is not there.
    """
    if isinstance(config, Masks) and config.superpixel_score and not alone:
        from labelgen.regions.joined import JoinedProposer
        from labelgen.regions.superpixel import SuperpixelProposer

        masks = make_proposer(config, device, threads, alone=True)
        return JoinedProposer(masks, SuperpixelProposer(config), config.superpixel_score)
    match config.backend:
        case "sam":
            from labelgen.regions.generator import PromptedProposer
            from labelgen.regions.sam import SamNetwork, load_sam

            sam = SamNetwork(*load_sam(config.model, config.checkpoint))
            return PromptedProposer(config, sam, device=device, threads=threads)
        case "sam2":
            from labelgen.regions.generator import PromptedProposer
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


def describe_proposer(config: RegionSettings, *, alone: bool = False) -> ModelInfo:
    """What to record about the backend that the configuration names, without loading its model.

    Args:
        config: of the backend.
        alone: without the superpixels that may join its masks.

    Raises:
        UserError: weights are missing.
    """
    if isinstance(config, Masks) and config.superpixel_score and not alone:
        from labelgen.regions.joined import joined_info
        from labelgen.regions.superpixel import describe_superpixel

        return joined_info(describe_proposer(config, alone=True), describe_superpixel(config))
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
