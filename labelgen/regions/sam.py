"""Region proposals by segment-anything's own automatic mask generator."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry
from segment_anything.modeling import Sam

from labelgen.config import RegionsConfig
from labelgen.errors import UserError
from labelgen.models.checkpoints import load_weights, read_state_dict
from labelgen.models.execution import select_device
from labelgen.models.info import ModelInfo, file_hash
from labelgen.models.shipped import LICENCE, NOTE, build_sam, shipped_dir, shipped_revision
from labelgen.regions.base import ImageRegions, as_rgb
from labelgen.regions.scale import reduce_image, scale_runs

#: Public checkpoints by architecture, as named by segment-anything's README.
PUBLIC_CHECKPOINTS = {
    "vit_b": "sam_vit_b_01ec64.pth",
    "vit_l": "sam_vit_l_0b3195.pth",
    "vit_h": "sam_vit_h_4b8939.pth",
}


def describe_sam(model: str, checkpoint: str | None) -> tuple[Path, ModelInfo]:
    """Path of a Sam's weights, and what to record about it, without loading it.

    Args:
        model: ``demo`` (shipped), ``vit_b``, ``vit_l`` or ``vit_h``.
        checkpoint: path of the weights; None for the shipped ones of ``demo``.

    Raises:
        UserError: unknown model, no checkpoint given, or none there.
    """
    if model not in ("demo", *PUBLIC_CHECKPOINTS):
        raise UserError(f"regions.model={model!r} is none of {['demo', *PUBLIC_CHECKPOINTS]}")
    if model != "demo" and checkpoint is None:
        raise UserError(
            f"regions.model={model} needs regions.checkpoint, the path of {PUBLIC_CHECKPOINTS[model]} "
            f"(see segment-anything's README)"
        )
    folder = shipped_dir("sam")
    path = Path(checkpoint) if checkpoint else folder / "model.safetensors"
    if not path.is_file():
        raise UserError(f"checkpoint {path} does not exist")
    demo = model == "demo"
    code = f"segment-anything {version('segment-anything')}"
    return path, ModelInfo(
        name=f"sam:{model}",
        revision=code if checkpoint else shipped_revision(folder),
        licence=LICENCE,
        weights=file_hash(path),
        note=NOTE if demo else "",
    )


def load_sam(model: str, checkpoint: str | None) -> tuple[Sam, ModelInfo]:
    """Load a Sam with its weights; arguments as for `describe_sam`.

    Raises:
        UserError: as `describe_sam`, or a checkpoint that does not fit.
    """
    path, info = describe_sam(model, checkpoint)
    state = read_state_dict(path)
    if model == "demo":
        sam = build_sam(json.loads((shipped_dir("sam") / "config.json").read_text()))
    else:
        sam = sam_model_registry[model]()
    load_weights(sam, state, path, info.name)
    return sam.eval(), info


class SamProposer:
    """`SamAutomaticMaskGenerator` over any Sam (Kirillov et al. 2023, arXiv 2304.02643, appendix B).

    Images whose longer side exceeds ``max_side`` are reduced first, and the masks scaled back: the
    generator's cost after the network is pixels times prompts.
    """

    def __init__(
        self,
        config: RegionsConfig,
        *,
        device: str = "auto",
        threads: int = 1,
        model: tuple[Sam, ModelInfo] | None = None,
    ) -> None:
        """Load the model, or take the one given.

        Raises:
            UserError: see `load_sam` and `select_device`.
        """
        self.config = config
        target = select_device(device, threads)
        sam, self.info = model or load_sam(config.model, config.checkpoint)
        self.sam = sam.to(target)

    def propose(self, image: NDArray[np.uint8], prompts: NDArray[np.float32] | None = None) -> ImageRegions:
        """Masks of one image, best score first; see `RegionProposer.propose`."""
        image = as_rgb(image)
        size = (image.shape[0], image.shape[1])
        reduced = reduce_image(image, self.config.max_side)
        if prompts is not None and len(prompts) == 0:
            return _pack([], [], [], size)
        grid = None if prompts is None else (np.asarray(prompts, np.float64) + 0.5) / (size[1], size[0])
        masks = self._generator(grid, reduced.shape[0] / size[0]).generate(reduced)
        masks.sort(key=lambda mask: -mask["predicted_iou"])
        runs = [np.asarray(mask["segmentation"]["counts"], np.int64) for mask in masks]
        return _pack(
            [scale_runs(run, (reduced.shape[0], reduced.shape[1]), size) for run in runs],
            [mask["predicted_iou"] for mask in masks],
            [mask["stability_score"] for mask in masks],
            size,
        )

    def _generator(self, grid: NDArray[np.float64] | None, scale: float) -> SamAutomaticMaskGenerator:
        config = self.config
        return SamAutomaticMaskGenerator(
            self.sam,
            points_per_side=config.points_per_side if grid is None else None,
            point_grids=None if grid is None else [grid],
            points_per_batch=config.points_per_batch,
            pred_iou_thresh=config.pred_iou_thresh,
            stability_score_thresh=config.stability_score_thresh,
            box_nms_thresh=config.box_nms_thresh,
            min_mask_region_area=round(config.min_mask_region_area * scale**2),
            output_mode="uncompressed_rle",
        )


def _pack(
    runs: list[NDArray[np.int64]], score: list[float], stability: list[float], size: tuple[int, int]
) -> ImageRegions:
    """Compress run lengths; masks that hold no pixel are left out."""
    keep = [k for k, run in enumerate(runs) if run[1::2].any()]
    codes = [coco.frPyObjects({"size": list(size), "counts": runs[k].tolist()}, *size) for k in keep]
    box = np.asarray(coco.toBbox(codes) if codes else np.zeros((0, 4)), np.float32).reshape(-1, 4)
    box[:, 2:] += box[:, :2]
    return ImageRegions(
        size=size,
        box_xyxy=box,
        area=np.asarray([int(runs[k][1::2].sum()) for k in keep], np.int32),
        score=np.clip(np.nan_to_num(np.asarray([score[k] for k in keep], np.float32)), 0, 1).astype(
            np.float16
        ),
        stability=np.nan_to_num(np.asarray([stability[k] for k in keep], np.float32)).astype(np.float16),
        rle=tuple(code["counts"] for code in codes),
    )
