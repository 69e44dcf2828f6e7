"""MinkUNet34: its voxels everywhere, its network where spconv and a GPU are."""

import importlib.util

import numpy as np
import pytest
import torch

from labelgen.core.errors import UserError
from labelgen.distill.backbones.minkunet import voxels_of
from labelgen.distill.registry import make_backbone
from labelgen.distill.settings.backbones import MinkUNetSettings
from tests.helpers.clouds import make_batch

HERE = importlib.util.find_spec("spconv") is not None and torch.cuda.is_available()


@pytest.mark.parametrize("cylindrical", [True, False])
def test_voxels_equal_a_literal_count(cylindrical):
    batch = make_batch((60, 40), spread=1.0)
    settings = MinkUNetSettings(cylindrical=cylindrical, voxel=0.5, degrees=30)
    coordinates, first, voxel, shape = voxels_of(batch, settings)
    literal = {}
    for point, (x, y, z) in enumerate(batch.xyz.double().numpy()):
        cell = (
            (np.hypot(x, y) / 0.5, np.degrees(np.arctan2(y, x)) / 30, z / 0.5)
            if cylindrical
            else (x / 0.5, y / 0.5, z / 0.5)
        )
        literal.setdefault((int(batch.frame[point]), *(int(np.floor(c)) for c in cell)), []).append(point)
    assert len(literal) == len(coordinates) == len(set(map(tuple, coordinates.tolist())))
    for members in literal.values():
        assert len(set(voxel[members].tolist())) == 1
        assert int(first[voxel[members[0]]]) == min(members)
    assert coordinates[:, 1:].min() == 0
    last = coordinates[:, 1:].max(0).values.tolist()
    assert all(size % 16 == 0 and size - 16 <= most < size for size, most in zip(shape, last, strict=True))


@pytest.mark.skipif(HERE, reason="spconv and a GPU are here")
def test_without_spconv_or_gpu_it_says_what_to_do():
    with pytest.raises(UserError, match=r"minkunet34 .*(pip install|on a GPU only)"):
        make_backbone("minkunet34")


@pytest.mark.gpu
@pytest.mark.skipif(not HERE, reason="needs spconv and a CUDA GPU")
def test_it_gives_a_feature_for_every_point():
    backbone = make_backbone("minkunet34").cuda()
    count = sum(p.numel() for p in backbone.parameters())
    assert 37e6 < count < 39e6  # MinkUNet34C: 37.9 M
    batch = make_batch((300, 200)).to(torch.device("cuda"))
    features = backbone(batch)
    assert features.shape == (500, 96)
    features.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in backbone.parameters())
