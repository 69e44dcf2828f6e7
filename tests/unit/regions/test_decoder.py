"""The rearranged decoder against the modules whose weights it takes."""

import copy

import numpy as np
import pytest
import torch

from labelgen.regions.decoder import PromptDecoder, decoder_parts
from labelgen.regions.sam import SamNetwork

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def scene(tiny_sam):
    """A Sam with an encoded random picture, its last third padding."""
    sam = tiny_sam[0]
    torch.manual_seed(0)
    with torch.inference_mode():
        pixels = torch.randn(1, 3, 128, 128)
        pixels[..., 80:, :] = 0
        return sam, sam.image_encoder(pixels)


def official(sam, encoded, points=None, boxes=None):
    labels = None if points is None else (points, torch.ones(points.shape[:2]))
    sparse, dense = sam.prompt_encoder(points=labels, boxes=boxes, masks=None)
    logits, score = sam.mask_decoder(
        image_embeddings=encoded,
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=boxes is None,
    )
    return logits, score, sparse, encoded[0] + dense[0]


@pytest.mark.parametrize("kind", ["points", "boxes"])
def test_equals_the_mask_decoder(scene, kind):
    sam, encoded = scene
    generator = torch.Generator().manual_seed(1)
    corners = 128 * torch.rand(9, 2, 2, generator=generator)
    prompts = {"points": corners[:, :1]} if kind == "points" else {"boxes": corners.flatten(1)}
    with torch.inference_mode():
        logits, score, sparse, image = official(sam, encoded, **prompts)
        got = PromptDecoder(decoder_parts(sam.mask_decoder))(
            image,
            sam.prompt_encoder.get_dense_pe()[0],
            sparse,
            min_score=0.0,
            multimask=kind == "points",
            cells=(16, 16),
        )
    scale = logits.abs().max()
    assert scale > 1
    torch.testing.assert_close(got.score, score.flatten(), rtol=0, atol=TOLERANCE)
    want = logits.flatten(0, 1).transpose(1, 2)
    torch.testing.assert_close(got.logits / scale, want / scale, rtol=0, atol=TOLERANCE)


def test_only_what_passes_is_upscaled_and_only_where_it_counts(scene):
    sam, encoded = scene
    points = 128 * torch.rand(20, 1, 2, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        logits, score, sparse, image = official(sam, encoded, points=points)
        ranked = score[score > 0].sort().values
        gap = int(ranked.diff().argmax())
        least = float(ranked[gap : gap + 2].mean())
        got = PromptDecoder(decoder_parts(sam.mask_decoder))(
            image, sam.prompt_encoder.get_dense_pe()[0], sparse, min_score=least, cells=(10, 7)
        )
    passed = score > least
    assert 0 < passed.sum() < passed.numel()
    assert got.logits.shape == (passed.sum(), 4 * 7, 4 * 10)
    want = logits[passed].transpose(1, 2)[:, : 4 * 7, : 4 * 10]
    torch.testing.assert_close(got.logits, want, rtol=1e-4, atol=TOLERANCE * float(logits.abs().max()))
    torch.testing.assert_close(got.score, score[passed], rtol=0, atol=TOLERANCE)


def test_a_changed_weight_is_noticed(scene):
    """The comparison above would see a slip in any projection."""
    sam, encoded = scene
    points = 128 * torch.rand(4, 1, 2, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        logits, _, sparse, image = official(sam, encoded, points=points)
        layers = sam.mask_decoder.transformer.layers
        for bias in (
            layers[0].cross_attn_image_to_token.q_proj.bias,
            layers[1].cross_attn_image_to_token.out_proj.bias,
            layers[1].cross_attn_token_to_image.v_proj.bias,
            sam.mask_decoder.output_upscaling[0].bias,
        ):
            kept = bias.clone()
            bias.add_(torch.linspace(-1, 1, len(bias)))
            got = PromptDecoder(decoder_parts(sam.mask_decoder))(
                image, sam.prompt_encoder.get_dense_pe()[0], sparse, min_score=0.0, cells=(16, 16)
            )
            bias.copy_(kept)
            want = logits.flatten(0, 1).transpose(1, 2)
            assert (got.logits - want).abs().max() > 100 * TOLERANCE * want.abs().max()


def test_scores_that_are_not_numbers_are_refused(tiny_sam, picture):
    sam = copy.deepcopy(tiny_sam[0])
    sam.mask_decoder.iou_token.weight.data[:] = float("nan")
    network = SamNetwork(sam, tiny_sam[1])
    network.to(torch.device("cpu"), compiled=False)
    with torch.inference_mode():
        embedding = network.encode([picture])[0]
        with pytest.raises(ValueError, match=r"scores are not numbers.*precision=float32"):
            network.decode(embedding, points=np.array([[5.0, 5.0]]))


def test_fused_attention_changes_nothing(tiny_vit_sam):
    sam, info = copy.deepcopy(tiny_vit_sam[0]), tiny_vit_sam[1]
    for block in sam.image_encoder.blocks:  # as segment-anything made it, whoever used it before
        vars(block.attn).pop("forward", None)
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        want = sam.image_encoder(pixels)
        network = SamNetwork(sam, info)
        assert all("forward" in vars(block.attn) for block in sam.image_encoder.blocks)
        torch.testing.assert_close(network.sam.image_encoder(pixels), want, rtol=1e-4, atol=1e-4)


def test_reduced_precision_runs_and_stays_near(scene):
    """As on a GPU: matrix products in bfloat16, norms and sums in float32."""
    sam, encoded = scene
    points = 128 * torch.rand(6, 1, 2, generator=torch.Generator().manual_seed(5))
    decoder = PromptDecoder(decoder_parts(sam.mask_decoder))
    with torch.inference_mode():
        _, _, sparse, image = official(sam, encoded, points=points)
        position = sam.prompt_encoder.get_dense_pe()[0]
        want = decoder(image, position, sparse, min_score=0.0, cells=(16, 16))
        with torch.autocast("cpu", torch.bfloat16):
            got = decoder(image, position, sparse, min_score=0.0, cells=(16, 16))
    assert got.logits.dtype == got.score.dtype == torch.float32
    assert ((got.logits > 0) == (want.logits > 0)).float().mean() > 0.95
    assert (got.score - want.score).abs().max() < 0.1
