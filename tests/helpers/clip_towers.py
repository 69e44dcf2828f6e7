"""Image towers of open_clip's real classes, a few layers each, random weights that leave nothing idle."""

import open_clip
import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer

SIDE = 32


def small_vit(**changes) -> VisionTransformer:
    settings = {"image_size": SIDE, "patch_size": 8, "width": 32, "layers": 3, "heads": 2, "mlp_ratio": 2.0}
    return _shaken(lambda: VisionTransformer(**{**settings, "output_dim": 24, **changes}))


def small_resnet(side: int = 64) -> ModifiedResNet:
    return _shaken(
        lambda: ModifiedResNet(layers=[1, 1, 1, 3], output_dim=24, heads=4, image_size=side, width=8)
    )


def small_convnext() -> TimmModel:
    return _shaken(lambda: TimmModel("convnext_atto", embed_dim=24, image_size=64, pool="", proj="mlp"))


def small_clip(visual) -> open_clip.CLIP:
    """The tower in a whole model."""
    vision = {"image_size": 32, "patch_size": 16, "width": 64, "layers": 1}
    text = {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}
    model = _seeded(lambda: open_clip.CLIP(24, vision, text))
    model.visual = visual
    return model.eval()


def _seeded(build):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return build()


def _shaken(build):
    """Scales start at 0 or at 1e-6 in some layers, statistics at 0 and 1: with these, mistakes go unseen."""
    module, generator = _seeded(build), torch.Generator().manual_seed(3)

    def noise(like):
        return torch.randn(like.shape, generator=generator)

    with torch.no_grad():
        for name, value in module.named_parameters():
            if value.ndim == 1:
                value.add_(0.3 * noise(value))
            if "gamma" in name or "bn3.weight" in name:
                value.copy_(1 + 0.3 * noise(value))
        for name, value in module.named_buffers():
            if name.endswith("running_mean"):
                value.copy_(0.1 * noise(value))
            elif name.endswith("running_var"):
                value.copy_(1 + 0.3 * noise(value).abs())
    return module.eval()
