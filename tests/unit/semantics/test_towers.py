"""Cut-open towers against open_clip's own encoders and against torch's own attention with masks."""

import open_clip
import pytest
import torch
from open_clip.model import _build_vision_tower
from torch.nn import functional

from labelgen.demo.small_models.train_clip import image_and_patches
from labelgen.semantics.mixing import GAUSSIAN_STD, neighbourhood, unmixed, within_masks
from labelgen.semantics.modes import AVERAGED, OTHER, family_of
from labelgen.semantics.towers import make_tower
from tests.helpers.clip_towers import SIDE, small_convnext, small_resnet, small_vit

N = (SIDE // 8) ** 2


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def vit():
    return small_vit()


@pytest.fixture
def pixels():
    return noise(2, 3, SIDE, SIDE)


def close(got, want, within=1e-4):
    torch.testing.assert_close(got, want, rtol=0, atol=within)
    assert want.std() > 100 * within  # two tensors of nearly nothing would agree, too


@torch.no_grad()
def test_the_vits_class_token_is_the_encoders_feature(vit, pixels):
    """Where no surgery is applied, what is computed up to the last block ends in the image's feature."""
    tokens = make_tower(vit).last(make_tower(vit).before_last(pixels))
    close(vit.ln_post(tokens)[:, 0] @ vit.proj, vit(pixels))


@torch.no_grad()
def test_the_vits_plain_patches_are_the_encoders_tokens(vit, pixels):
    vit.output_tokens = True
    want = vit(pixels)[1]
    vit.output_tokens = False
    close(make_tower(vit).plain(pixels).flatten(1, 2), want)


def attended(vit, pixels, mask):
    """The last block's attention among patches, by torch, with queries made by the keys' weights."""
    tower, attn = make_tower(vit), vit.transformer.resblocks[-1].attn
    patches = vit.transformer.resblocks[-1].ln_1(tower.before_last(pixels)[:, 1:])
    width = patches.shape[-1]
    weight, bias = attn.in_proj_weight.clone(), attn.in_proj_bias.clone()
    weight[:width], bias[:width] = weight[width : 2 * width], bias[width : 2 * width]
    out, _ = functional.multi_head_attention_forward(
        *[patches.transpose(0, 1)] * 3,
        width,
        attn.num_heads,
        weight,
        bias,
        None,
        None,
        False,
        0.0,
        attn.out_proj.weight,
        attn.out_proj.bias,
        attn_mask=mask,
        need_weights=False,
    )
    return out.transpose(0, 1)


def ended(vit, tokens):
    return vit.ln_post(tokens) @ vit.proj


@torch.no_grad()
def test_values_alone_are_an_attention_of_each_patch_to_itself(vit, pixels):
    itself = torch.full((N, N), -torch.inf).fill_diagonal_(0)
    tower = make_tower(vit)
    got = tower.attention_head(unmixed(tower.attention(pixels)[1]))
    close(got.flatten(1, 2), ended(vit, attended(vit, pixels, itself)))


@torch.no_grad()
def test_neighbourhood_is_an_attention_with_a_gaussian(vit, pixels):
    at = torch.stack(torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij"), -1).view(N, 2)
    gaussian = torch.exp(-(torch.cdist(at, at) ** 2) / (2 * GAUSSIAN_STD**2))
    tower = make_tower(vit)
    got = tower.attention_head(neighbourhood(*tower.attention(pixels)))
    close(got.flatten(1, 2), ended(vit, attended(vit, pixels, gaussian)))


@torch.no_grad()
def test_within_masks_is_an_attention_that_sees_the_mask_alone(vit, pixels):
    counts = functional.relu(noise(5, 4, 4, seed=1)) * 10
    counts[3] = 0  # no pixel
    counts[4] = 0
    counts[4, 2, 1] = 1  # one pixel
    tower = make_tower(vit)
    key, value = tower.attention(pixels)
    got = tower.attention_head(within_masks(key[1], value[1], counts))
    for row in (0, 1, 2, 4):
        weight = counts[row].flatten()
        tokens = attended(vit, pixels, weight.log().expand(N, N))[1]
        close(got[row], ended(vit, weight @ tokens / weight.sum()))
    assert not within_masks(key[1], value[1], counts)[3].any()
    close(got[4], tower.attention_head(unmixed(value))[1, 2, 1])


@torch.no_grad()
@pytest.mark.parametrize("after", [False, True])
def test_averaged_vits_whole_mean_is_the_encoders_feature(pixels, after):
    vit = small_vit(pool_type="avg", final_ln_after_pool=after)
    tower = make_tower(vit)
    assert tower.family is AVERAGED
    close(tower.plain_head(tower.plain(pixels).mean(dim=(1, 2))), vit(pixels))


@torch.no_grad()
def test_convnexts_whole_mean_is_the_encoders_feature():
    visual = small_convnext()
    tower, pixels = make_tower(visual), noise(2, 3, 64, 96)
    cells = tower.plain(pixels)
    assert cells.shape[1:3] == (2, 3)
    close(tower.plain_head(cells.mean(dim=(1, 2))), visual(pixels))


@torch.no_grad()
def test_spread_cells_hold_the_resnets_own():
    """Every other cell is the tower's own, and pooled by its attention it is the encoder's feature."""
    visual = small_resnet()
    tower, pixels = make_tower(visual), noise(2, 3, 48, 48)
    padded = functional.pad(pixels, (8, 8, 8, 8), mode="replicate")
    cells = tower.plain(pixels)
    assert cells.shape[1:3] == (3, 3)
    own = visual.forward_intermediates(padded, indices=1)
    close(cells[:, ::2, ::2], own["image_intermediates"][0].permute(0, 2, 3, 1))
    close(visual.attnpool(cells[:, ::2, ::2].permute(0, 3, 1, 2)), visual(padded))


@torch.no_grad()
def test_the_resnets_values_are_what_it_was_trained_with():
    visual = small_resnet()
    tower, pixels = make_tower(visual), noise(2, 3, 48, 48)
    want = image_and_patches(visual, functional.pad(pixels, (8, 8, 8, 8), mode="replicate"))[1]
    got = tower.attention_head(unmixed(tower.attention(pixels)[1]))
    close(got[:, ::2, ::2].flatten(1, 2), want)
    close(tower.plain_head(tower.plain(pixels)), got)


ARCHITECTURES = [
    "ViT-B-16",
    "ViT-L-14-336",
    "ViT-B-16-quickgelu",
    "RN50",
    "convnext_base",
    "convnext_large_d_320",
    "coca_ViT-B-32",
    "ViT-B-16-SigLIP",
    "EVA02-B-16",
    "PE-Core-B-16",
]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_configuration_and_module_agree_on_the_family(name):
    """Drivers decide by the configuration, workers by the module that is made of it."""
    config = open_clip.get_model_config(name)
    with torch.device("meta"):
        visual = _build_vision_tower(config["embed_dim"], config["vision_cfg"])
    tower = make_tower(visual)
    assert (tower.family if tower else OTHER) is family_of(config["vision_cfg"])


def test_blocks_of_another_kind_are_not_cut_open():
    assert make_tower(small_vit(qk_norm=True)) is None
    assert family_of({"layers": 3, "width": 32, "patch_size": 8, "qk_norm": True}) is OTHER
    assert make_tower(small_vit(attentional_pool=True)) is None
    assert make_tower(torch.nn.Identity()) is None
