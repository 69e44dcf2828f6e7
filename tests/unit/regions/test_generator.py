"""The mask generator against the official one, and its prompts on LiDAR points."""

from functools import partial

import numpy as np
import pytest
import segment_anything.automatic_mask_generator as official_generator
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry
from segment_anything.utils.amg import is_box_near_crop_edge

from labelgen.geometry.rle import decode
from labelgen.regions import Prompts, generator, make_proposer
from labelgen.regions.generator import PromptedProposer
from labelgen.regions.sam import SamNetwork
from labelgen.regions.settings import SamSettings

#: Thresholds that random weights pass now and then.
LOOSE = {"points_per_side": 8, "pred_iou_thresh": 0.2, "stability_score_thresh": 0.2, "box_nms_thresh": 1.0}


def proposer(sam, **settings):
    return PromptedProposer(SamSettings(**{"duplicate_iou": 1.0, **settings}), SamNetwork(*sam), device="cpu")


def dense(regions):
    return [decode(code, *regions.size) for code in regions.rle]


def official_masks(sam, image, **settings):
    masks = SamAutomaticMaskGenerator(sam[0], **settings).generate(image)
    return [mask for mask in masks if mask["area"]]


def assert_consistent(regions, image):
    assert regions.size == image.shape[:2]
    for mask, box, area in zip(dense(regions), regions.box_xyxy, regions.area, strict=True):
        assert mask.shape == image.shape[:2]
        rows, columns = np.nonzero(mask)
        assert area == mask.sum() > 0
        np.testing.assert_array_equal(box, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def assert_same_masks(regions, official):
    """Each official mask has one of ours with the same pixels and scores, and there are no others.

    Logits that are zero but for rounding may fall on either side: three pixels of a mask.
    """
    assert len(regions) == len(official) > 0
    left = list(zip(dense(regions), regions.score, regions.stability, strict=True))
    for want in official:
        number = max(range(len(left)), key=lambda k: iou(left[k][0], want["segmentation"]))
        mask, score, stability = left.pop(number)
        assert (mask != want["segmentation"]).sum() <= 3
        assert score == pytest.approx(min(max(want["predicted_iou"], 0), 1), abs=1e-3)
        assert stability == pytest.approx(want["stability_score"], abs=2e-3)


@pytest.mark.parametrize(
    "change",
    [{}, {"points_per_batch": 5}, {"min_mask_region_area": 30}, {"box_nms_thresh": 0.98}],
)
@pytest.mark.parametrize("model", ["tiny_sam", "tiny_vit_sam"])
def test_grid_is_the_official_generator(model, change, picture, request):
    sam = request.getfixturevalue(model)
    regions = proposer(sam, mode="grid", **LOOSE | change).propose(picture)
    assert_same_masks(regions, official_masks(sam, picture, **LOOSE | change))
    assert_consistent(regions, picture)
    assert (np.diff(regions.score.astype(float)) <= 0).all()


@pytest.mark.parametrize("margin", [20, 0.5])
def test_crops_are_the_official_ones(tiny_sam, picture, margin, monkeypatch):
    """With the usual margin to a crop's edge random masks are cut off; with a narrow one some stay."""
    for module in (official_generator, generator):
        monkeypatch.setattr(module, "is_box_near_crop_edge", partial(is_box_near_crop_edge, atol=margin))
    settings = {**LOOSE, "points_per_side": 4, "pred_iou_thresh": 0.1}
    regions = proposer(tiny_sam, mode="grid", crop_layers=1, crop_points_downscale=2, **settings).propose(
        picture
    )
    official = official_masks(
        tiny_sam, picture, crop_n_layers=1, crop_n_points_downscale_factor=2, **settings
    )
    assert any(mask["crop_box"] != [0, 0, 160, 90] for mask in official) == (margin < 1)
    assert_same_masks(regions, official)


def test_a_drift_of_the_low_resolution_path_is_noticed(tiny_sam, picture, monkeypatch):
    """Half a low-resolution pixel off, the comparison with the official generator fails."""
    import labelgen.regions.sam as module

    real = module.axis

    def shifted(sizes, used):
        kept = real(sizes, used)
        weight = np.roll(kept.weight, 1, axis=0)
        return kept._replace(weight=weight)

    monkeypatch.setattr(module, "axis", shifted)
    regions = proposer(tiny_sam, mode="grid", **LOOSE).propose(picture)
    with pytest.raises(AssertionError):
        assert_same_masks(regions, official_masks(tiny_sam, picture, **LOOSE))


def test_a_frame_is_the_same_as_its_images(tiny_sam, picture):
    images = [picture, None, picture[:, ::-1], picture[:40]]
    for size in (1, 2, 6):
        together = proposer(tiny_sam, mode="grid", images_per_batch=size, **LOOSE).propose_frame(images)
        assert together[1] is None
        for image, regions in zip(images, together, strict=True):
            if image is not None:
                alone = proposer(tiny_sam, mode="grid", **LOOSE).propose(image)
                assert len(alone) == len(regions)
                assert all(iou(a, b) > 0.99 for a, b in zip(dense(alone), dense(regions), strict=True))


class TestLidar:
    @pytest.fixture
    def points(self):
        """Points on the lower two thirds: ground, and a box that stands before it."""
        rng = np.random.default_rng(0)
        uv = np.stack([rng.uniform(0, 160, 800), rng.uniform(31, 90, 800)], axis=1).astype(np.float32)
        depth = (400 / (uv[:, 1] - 25)).astype(np.float32)
        box = (uv[:, 0] > 90) & (uv[:, 0] < 140) & (uv[:, 1] > 50) & (uv[:, 1] < 80)
        depth[box] = 6
        return Prompts(uv=uv, depth=depth)

    def test_prompts_keep_the_budget_and_stay_on_points(self, tiny_sam, picture, points, monkeypatch):
        asked = []
        real = SamNetwork.decode

        def spy(self, embedding, **prompts):
            asked.append(np.array(prompts["points"]))
            return real(self, embedding, **prompts)

        monkeypatch.setattr(SamNetwork, "decode", spy)
        regions = proposer(tiny_sam, **LOOSE, max_prompts=40).propose(picture, points)
        at = (np.concatenate(asked) + 0.5) * 160 / 128 - 0.5
        assert 20 <= len(at) <= 40
        assert len(np.unique(at, axis=0)) == len(at), "no point is asked twice"
        distance = np.abs(at[:, None] - points.uv[None]).max(-1).min(1)
        assert distance.max() < 1e-3
        assert_consistent(regions, picture)

    @pytest.mark.parametrize("layers", [1, 2])
    def test_crops_share_the_budget_and_prompt_on_their_points(
        self, tiny_sam, picture, points, layers, monkeypatch
    ):
        asked, corners = [], set()
        real = PromptedProposer._candidates

        def spy(self, embedding, window, prompts, **other):
            corner = np.array([window.left, window.top])
            at = (prompts + 0.5) / embedding.scale - 0.5 + corner
            assert (at > corner - 1).all()
            assert (at < corner + np.array([embedding.width, embedding.height])).all()
            asked.append(at)
            corners.add((*corner.tolist(), embedding.width))
            return real(self, embedding, window, prompts, **other)

        monkeypatch.setattr(PromptedProposer, "_candidates", spy)
        anything = {**LOOSE, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
        regions = proposer(tiny_sam, **anything, max_prompts=90, crop_layers=layers).propose(picture, points)
        at = np.concatenate(asked)
        assert 45 <= len(at) <= 90
        assert np.abs(at[:, None] - points.uv[None]).max(-1).min(1).max() < 1e-3
        assert len(corners) >= 5, "the image, and its quarters"
        assert_consistent(regions, picture)

    def test_stops_when_enough_is_covered(self, tiny_sam, picture, points, monkeypatch):
        prompts = []
        real = SamNetwork.decode
        monkeypatch.setattr(
            SamNetwork,
            "decode",
            lambda self, e, points, min_score: (
                prompts.append(len(points)) or real(self, e, points=points, min_score=min_score)
            ),
        )
        anything = {**LOOSE, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
        proposer(tiny_sam, **anything, max_prompts=60, coverage=0.0).propose(picture, points)
        assert prompts == []
        proposer(tiny_sam, **anything, max_prompts=60, coverage=0.05).propose(picture, points)
        assert 0 < sum(prompts) <= 30, "the first round covers that much"

    @pytest.mark.parametrize("most", [1, 2])
    def test_the_smallest_budgets(self, tiny_sam, picture, points, most):
        anything = {**LOOSE, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
        regions = proposer(tiny_sam, **anything, max_prompts=most).propose(picture, points)
        assert 0 < len(regions) <= 3 * most

    def test_no_visible_point_is_no_region(self, tiny_sam, picture):
        nothing = Prompts(uv=np.zeros((0, 2), np.float32), depth=np.zeros(0, np.float32))
        regions = proposer(tiny_sam, **LOOSE).propose(picture, nothing)
        assert len(regions) == 0
        assert regions.box_xyxy.shape == (0, 4)

    def test_without_prompts_it_is_a_grid(self, tiny_sam, picture):
        assert (
            proposer(tiny_sam, **LOOSE).propose(picture).rle
            == proposer(tiny_sam, mode="grid", **LOOSE).propose(picture).rle
        )


class TestBoxes:
    def test_equal_the_predictor(self, tiny_sam, picture):
        boxes = np.array([[20, 40, 60, 70], [90, 50, 140, 80]], np.float32)
        regions = proposer(tiny_sam, mode="boxes").propose(picture, Prompts(boxes=boxes))
        predictor = SamPredictor(tiny_sam[0])
        predictor.set_image(picture)
        want = [predictor.predict(box=box, multimask_output=False)[0][0] for box in boxes]
        want = [mask for mask in want if mask.any()]
        assert len(regions) == len(want) > 0
        assert all(iou(a, b) > 0.99 for a, b in zip(want, dense(regions), strict=True)), "in their order"

    def test_none_is_left_out_for_another(self, tiny_sam, picture):
        boxes = np.array([[20, 40, 60, 70]] * 3, np.float32)
        backend = proposer(tiny_sam, mode="boxes", duplicate_iou=0.5, pred_iou_thresh=1.0)
        assert len(backend.propose(picture, Prompts(boxes=boxes))) == 3

    def test_without_boxes(self, tiny_sam, picture):
        with pytest.raises(ValueError, match="needs boxes"):
            proposer(tiny_sam, mode="boxes").propose(picture)


def test_no_mask_passes(tiny_sam, picture):
    strict = {"points_per_side": 2, "pred_iou_thresh": 1.0, "stability_score_thresh": 1.0}
    regions = proposer(tiny_sam, mode="grid", **strict).propose(picture // 64)
    assert regions.box_xyxy.shape == (len(regions), 4)
    assert len(regions.parent) == len(regions)


@pytest.mark.parametrize(
    "shape", [(90, 160), (90, 160, 1), (90, 160, 4), (1, 1, 3), (1, 200, 3), (200, 1, 3), (300, 280, 3)]
)
def test_any_image_size_and_greyscale(tiny_sam, shape):
    image = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    regions = proposer(tiny_sam, mode="grid", **LOOSE).propose(image)
    assert regions.size == shape[:2]
    assert_consistent(regions, image)
    if shape == (90, 160):
        stacked = proposer(tiny_sam, mode="grid", **LOOSE).propose(np.stack([image] * 3, axis=-1))
        assert regions.rle == stacked.rle


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint16),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 2), np.uint8),
    ],
)
def test_what_is_no_image_is_refused(tiny_sam, image):
    with pytest.raises(ValueError, match="image must be"):
        proposer(tiny_sam, **LOOSE).propose(image)


@pytest.mark.slow
def test_real_architecture(tmp_path, picture):
    """ViT-B with random weights, through a checkpoint file."""
    path = tmp_path / "vit_b.pth"
    torch.save(sam_model_registry["vit_b"]().state_dict(), path)
    config = SamSettings(
        mode="grid",
        model="vit_b",
        checkpoint=str(path),
        points_per_side=2,
        pred_iou_thresh=0,
        stability_score_thresh=0,
    )
    backend = make_proposer(config, device="cpu")
    assert_consistent(backend.propose(picture), picture)
    assert len(backend.info.weights) == 32
