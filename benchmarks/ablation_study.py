"""What benchmarks/ablations.py trains: variants of the methods, protocols, and how large all is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Protocols: a linear probe on all scenes, fine-tuning on a share of them (in percent).
PROBE, ONE, FIVE, TEN = "probe", "1 %", "5 %", "10 %"
SHARES = {ONE: 1, FIVE: 5, TEN: 10}
ALL = (PROBE, ONE, FIVE, TEN)
#: Training on pseudo-labels, and AFI over its predictions.
FREE = "annotation-free"


@dataclass(frozen=True)
class Variant:
    """One way to pre-train.

    Attributes:
        name: of its folder.
        method: of `labelgen train pretrain`; None: random initialisation.
        settings: of the method, where they differ from its file.
        cache: which run it learns from: ``sam`` (SAM's masks, captions) or ``slic`` (superpixels).
        protocols: what follows.
    """

    name: str
    method: str | None
    settings: dict[str, Any] = field(default_factory=dict)
    cache: str = "sam"
    protocols: tuple[str, ...] = ALL


def _vlm(name: str, cache: str = "sam", **settings: Any) -> Variant:
    return Variant(name, "vlm2scene", settings, cache, (ONE, FIVE))


METHODS = (
    Variant("random", None, protocols=(*ALL, FREE)),
    Variant("ppkt", "ppkt"),
    Variant("slidr", "slidr", protocols=(*ALL, FREE)),
    Variant("st-slidr", "st-slidr"),
    Variant("scalr", "scalr"),
    Variant("openscene", "openscene"),
    Variant("vlm2scene", "vlm2scene"),
    Variant("tmp", "tmp", protocols=(*ALL, FREE)),
)
# Without SFR, points are contrasted; see docs/distillation.md. "All" is vlm2scene above.
COMPONENTS = (
    _vlm("vlm2scene-none", contrast="point", rsa=False, rcp=False),
    _vlm("vlm2scene-rcp", contrast="point", rsa=False),
    _vlm("vlm2scene-sfr", rsa=False, rcp=False, text="class"),
    _vlm("vlm2scene-rsa", contrast="point", rcp=False),
    _vlm("vlm2scene-rcp-sfr", rsa=False),
    _vlm("vlm2scene-sfr-rsa", rcp=False, text="class"),
)
STRATEGIES = (
    _vlm("vlm2scene-captions", rsa=False, text="caption"),
    _vlm("vlm2scene-slic", cache="slic"),
    _vlm("vlm2scene-unfiltered", contrast="region"),
)
VARIANTS = METHODS + COMPONENTS + STRATEGIES


#: Of trainings of a few hundred steps, for which the methods' own rates are too low and fine voxels too dear:
#: a crop of as many coarser ones shows more of the scene, and what is scored is the whole of it.
SHORT = (
    "data.voxel=0.4",
    "data.max_points=3000",
    "backbone_settings.neighbours=8",
    "optimizer.learning_rate=0.01",
    "optimizer.clip=1",
)
#: Of trainings on pseudo-labels, which have to see small things as well as their labels do.
LONGER = ("data.voxel=0.3", "data.max_points=4000", "settings.lovasz=2")


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Attributes:
        train, val: scenes of one frame each.
        seeds: how many; each has its own initial weights and order.
        pretrain, probe, finetune, free: steps of each training.
        preset: file of ``labelgen/distill/configs/sizes``; None: the methods' own.
        overrides: settings of every training, as of ``labelgen train --set``.
        free_overrides: settings of trainings on pseudo-labels, over those of every training.
        label: settings of the labelling, as of ``labelgen run --set``.
    """

    train: int
    val: int
    seeds: int
    pretrain: int
    probe: int
    finetune: int
    free: int
    preset: str | None = "demo"
    overrides: tuple[str, ...] = SHORT
    free_overrides: tuple[str, ...] = ()
    label: tuple[str, ...] = ()


SIZES = {
    # A test of the whole way, no more: its figures mean nothing.
    "tiny": Size(
        *(2, 1, 1, 2, 2, 2, 2),
        overrides=("data.max_points=1000",),
        label=("regions.max_prompts=4", "runtime.runner=sequential"),
    ),
    # For a look: about half an hour on two cores.
    "small": Size(40, 8, 2, 120, 60, 60, 120),
    # The study: at most three hours on two cores.
    "cpu": Size(*(100, 20, 3, 300, 60, 60, 1000), free_overrides=LONGER),
    # The methods' own backbone and batch; a night on one GPU.
    "gpu": Size(600, 100, 3, 20_000, 4_000, 4_000, 10_000, preset=None, overrides=()),
}


@dataclass(frozen=True)
class Unit:
    """What one process does without a break: pre-train a variant with one seed, and what follows."""

    variant: Variant
    seed: int

    @property
    def name(self) -> str:
        return f"{self.variant.name}/{self.seed}"


def units(seeds: int, variants: Sequence[Variant] = VARIANTS) -> Iterator[Unit]:
    """Seed by seed, so that a study that is stopped has compared all variants with the seeds it got to."""
    for seed in range(seeds):
        for variant in variants:
            yield Unit(variant, seed)
