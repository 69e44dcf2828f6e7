"""The Sam backend against the official generator, its scaling, and faulty checkpoints."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco
from safetensors.torch import save_file
from segment_anything import SamAutomaticMaskGenerator, sam_model_registry

from labelgen.config import RegionsConfig
from labelgen.errors import UserError
from labelgen.regions.base import make_proposer
from labelgen.regions.sam import SamProposer, load_sam

#: Thresholds that random weights pass now and then.
LOOSE = {"points_per_side": 6, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}


def dense(regions):
    return [coco.decode({"size": list(regions.size), "counts": code}).astype(bool) for code in regions.rle]


def assert_consistent(regions, image):
    assert regions.size == image.shape[:2]
    for mask, box, area in zip(dense(regions), regions.box_xyxy, regions.area, strict=True):
        assert mask.shape == image.shape[:2]
        rows, columns = np.nonzero(mask)
        assert area == mask.sum() > 0
        np.testing.assert_array_equal(box, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@pytest.mark.parametrize("hole_area", [0, 30])
def test_equals_the_official_generator(tiny_sam, picture, hole_area):
    proposer = SamProposer(
        RegionsConfig(**LOOSE, min_mask_region_area=hole_area), device="cpu", model=tiny_sam
    )
    regions = proposer.propose(picture)
    official = SamAutomaticMaskGenerator(tiny_sam[0], **LOOSE, min_mask_region_area=hole_area).generate(
        picture
    )
    official = sorted((m for m in official if m["area"]), key=lambda m: -m["predicted_iou"])
    assert len(regions) == len(official) > 3
    for mask, score, stability, want in zip(
        dense(regions), regions.score, regions.stability, official, strict=True
    ):
        np.testing.assert_array_equal(mask, want["segmentation"])
        assert score == np.float16(min(max(want["predicted_iou"], 0), 1))
        assert stability == np.float16(want["stability_score"])
    assert_consistent(regions, picture)


def test_reduced_images_give_masks_of_the_full_size(tiny_sam, picture):
    large = picture.repeat(3, axis=0).repeat(3, axis=1)
    config = RegionsConfig(**LOOSE, max_side=160)
    regions = SamProposer(config, device="cpu", model=tiny_sam).propose(large)
    assert_consistent(regions, large)
    # The reduced picture is the small one but for its borders' softness: propose on it directly.
    from labelgen.regions.scale import reduce_image

    small = SamProposer(config, device="cpu", model=tiny_sam).propose(reduce_image(large, 160))
    for full, mask in zip(dense(regions), dense(small), strict=True):
        np.testing.assert_array_equal(full, mask.repeat(3, axis=0).repeat(3, axis=1))


def test_given_prompts_are_used(tiny_sam, picture):
    proposer = SamProposer(RegionsConfig(**LOOSE), device="cpu", model=tiny_sam)
    prompts = np.array([[40, 55], [110, 65]], np.float32)
    regions = proposer.propose(picture, prompts)
    config = {key: value for key, value in LOOSE.items() if key != "points_per_side"}
    official = SamAutomaticMaskGenerator(
        tiny_sam[0], points_per_side=None, point_grids=[(prompts + 0.5) / [160, 90]], **config
    ).generate(picture)
    assert sorted(regions.area) == sorted(m["area"] for m in official if m["area"])
    assert len(proposer.propose(picture, np.zeros((0, 2), np.float32))) == 0


def test_no_mask_passes(tiny_sam, picture):
    config = RegionsConfig(points_per_side=2, pred_iou_thresh=1.0, stability_score_thresh=1.0)
    sam, info = tiny_sam
    regions = SamProposer(config, device="cpu", model=(sam, info)).propose(picture // 64)
    assert regions.box_xyxy.shape == (len(regions), 4)


@pytest.mark.parametrize(
    "shape", [(90, 160), (90, 160, 1), (90, 160, 4), (1, 1, 3), (1, 200, 3), (200, 1, 3)]
)
def test_any_image_size_and_greyscale(tiny_sam, shape):
    image = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    regions = SamProposer(RegionsConfig(**LOOSE), device="cpu", model=tiny_sam).propose(image)
    assert regions.size == shape[:2]
    if shape == (90, 160):
        stacked = SamProposer(RegionsConfig(**LOOSE), device="cpu", model=tiny_sam).propose(
            np.stack([image] * 3, axis=-1)
        )
        assert regions.rle == stacked.rle


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 2), np.uint8)]
)
def test_what_is_no_image_is_refused(tiny_sam, image):
    with pytest.raises(ValueError, match="image must be"):
        SamProposer(RegionsConfig(**LOOSE), device="cpu", model=tiny_sam).propose(image)


class TestCheckpoints:
    def test_missing_path(self, tmp_path):
        with pytest.raises(UserError, match=r"nothing\.pth does not exist"):
            load_sam("vit_b", str(tmp_path / "nothing.pth"))

    def test_public_model_without_checkpoint(self):
        with pytest.raises(UserError, match=r"regions\.checkpoint.*sam_vit_h_4b8939\.pth"):
            load_sam("vit_h", None)

    def test_unknown_model(self):
        with pytest.raises(UserError, match="vit_x"):
            make_proposer(RegionsConfig(model="vit_x"), device="cpu")

    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    def test_truncated(self, tmp_path, suffix):
        path = tmp_path / f"cut{suffix}"
        state = {"weight": torch.zeros(100, 100)}
        save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
        path.write_bytes(path.read_bytes()[:-5000])
        with pytest.raises(UserError, match=f"cut{suffix} cannot be read"):
            load_sam("demo", str(path))

    def test_another_models_keys(self, tmp_path):
        path = tmp_path / "other.safetensors"
        save_file({"backbone.weight": torch.zeros(2)}, path)
        with pytest.raises(UserError, match=r"keys are missing, first .*backbone\.weight"):
            load_sam("demo", str(path))

    def test_wrong_shape(self, tmp_path, tiny_sam):
        path = tmp_path / "tiny.safetensors"
        save_file({key: value.contiguous() for key, value in tiny_sam[0].state_dict().items()}, path)
        with pytest.raises(UserError, match=r"tiny\.safetensors does not fit sam:demo.*has shape"):
            load_sam("demo", str(path))

    def test_code_in_a_pickle_is_never_run(self, tmp_path):
        path = tmp_path / "evil.pth"
        mark = tmp_path / "ran"

        class Evil:
            def __reduce__(self):
                return (open, (str(mark), "w"))

        torch.save({"weight": Evil()}, path)
        with pytest.raises(UserError, match=r"evil\.pth"):
            load_sam("demo", str(path))
        assert not mark.exists()


@pytest.mark.slow
def test_real_architecture(tmp_path, picture):
    """ViT-B with random weights, through a checkpoint file."""
    path = tmp_path / "vit_b.pth"
    torch.save(sam_model_registry["vit_b"]().state_dict(), path)
    config = RegionsConfig(
        model="vit_b", checkpoint=str(path), points_per_side=2, pred_iou_thresh=0, stability_score_thresh=0
    )
    proposer = make_proposer(config, device="cpu")
    assert_consistent(proposer.propose(picture), picture)
    assert len(proposer.info.weights) == 32
