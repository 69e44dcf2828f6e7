"""Region proposers by name: how one is made, and what a run records about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelgen.core.registry import Backends
from labelgen.models.backend import Backend, describe, make
from labelgen.models.info import ModelInfo
from labelgen.regions.settings import (
    FileSettings,
    Masks,
    Proposer,
    Sam2Settings,
    Sam3Settings,
    SamSettings,
    Superpixels,
    SuperpixelSettings,
)

if TYPE_CHECKING:
    from labelgen.regions.base import RegionProposer


def _make_sam(config: SamSettings, device: str, threads: int) -> RegionProposer:
    from labelgen.regions.generator import PromptedProposer
    from labelgen.regions.sam import SamNetwork, load_sam

    network = SamNetwork(*load_sam(config.model, config.checkpoint))
    return PromptedProposer(config, network, device=device, threads=threads)


def _describe_sam(config: SamSettings) -> ModelInfo:
    from labelgen.regions.sam_weights import describe_sam

    return describe_sam(config.model, config.checkpoint, checked=True)[1]


def _make_sam2(config: Sam2Settings, device: str, threads: int) -> RegionProposer:
    from labelgen.regions.generator import PromptedProposer
    from labelgen.regions.sam2 import Sam2Network, load_sam2

    network = Sam2Network(*load_sam2(config.model, config.checkpoint))
    return PromptedProposer(config, network, device=device, threads=threads)


def _describe_sam2(config: Sam2Settings) -> ModelInfo:
    from labelgen.regions.sam2 import describe_sam2

    return describe_sam2(config.model, config.checkpoint)[1]


def _make_sam3(config: Sam3Settings, device: str, threads: int) -> RegionProposer:
    from labelgen.regions.sam3 import Sam3Proposer, load_sam3

    return Sam3Proposer(config, *load_sam3(config.model, config.checkpoint), device=device, threads=threads)


def _describe_sam3(config: Sam3Settings) -> ModelInfo:
    from labelgen.regions.sam3 import describe_sam3

    return describe_sam3(config.model, config.checkpoint)[1]


def _make_files(config: FileSettings, device: str, threads: int) -> RegionProposer:
    from labelgen.regions.files import FileProposer

    return FileProposer(config)


def _describe_files(config: FileSettings) -> ModelInfo:
    from labelgen.regions.files import describe_files

    return describe_files(config)


def _make_superpixels(config: Superpixels, device: str, threads: int) -> RegionProposer:
    from labelgen.regions.superpixel import SuperpixelProposer

    return SuperpixelProposer(config)


def _describe_superpixels(config: Superpixels) -> ModelInfo:
    from labelgen.regions.superpixel import describe_superpixel

    return describe_superpixel(config)


#: All that ``regions.backend`` may name.
REGIONS: Backends[Backend[RegionProposer]] = Backends(
    "region proposer",
    "labelgen.regions",
    Backend,
    {
        "sam": Backend("SAM, prompted by LiDAR points", SamSettings, _describe_sam, _make_sam),
        "sam2": Backend("SAM 2.1, prompted by LiDAR points", Sam2Settings, _describe_sam2, _make_sam2),
        "sam3": Backend("SAM 3, prompted by words", Sam3Settings, _describe_sam3, _make_sam3),
        "superpixel": Backend(
            "superpixels, without a network", SuperpixelSettings, _describe_superpixels, _make_superpixels
        ),
        "files": Backend("id maps that another model wrote", FileSettings, _describe_files, _make_files),
    },
)


def make_proposer(config: Proposer, device: str = "auto", threads: int = 1) -> RegionProposer:
    """Make the backend that the configuration names.

    Args:
        config: of the backend.
        device: of its network.
        threads: of the CPU.

    Raises:
        UserError: no such backend, weights are missing or faulty, or the device is not there.
    """
    proposer = make(REGIONS, config.backend, config, device, threads)
    if isinstance(config, Masks) and config.superpixel_score:
        from labelgen.regions.joined import JoinedProposer

        return JoinedProposer(proposer, _make_superpixels(config, device, threads), config.superpixel_score)
    return proposer


def describe_proposer(config: Proposer) -> ModelInfo:
    """What to record about the backend that the configuration names, without loading its model.

    Args:
        config: of the backend.

    Raises:
        UserError: no such backend, or weights are missing.
    """
    info = describe(REGIONS, config.backend, config)
    if isinstance(config, Masks) and config.superpixel_score:
        from labelgen.regions.joined import joined_info

        return joined_info(info, _describe_superpixels(config))
    return info
