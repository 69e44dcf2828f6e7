"""One RunConfig for a run, composed of its parts' settings, and its fingerprint.

The fingerprint covers every setting that has an effect and can change a label; see `Settings.covered`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from labelgen.core.errors import UserError
from labelgen.core.registry import Registry
from labelgen.core.settings import NO_LABEL, OneOf, Settings
from labelgen.core.settings_reading import argument_layer, checked, compose, file_layer, override_layer
from labelgen.geometry.settings import ProjectionSettings
from labelgen.labels.settings import FusionSettings, VoteSettings
from labelgen.presets import PRESETS, find_preset
from labelgen.regions.registry import REGIONS
from labelgen.regions.settings import Proposer, SamSettings
from labelgen.semantics.registry import CAPTIONERS, SEMANTICS, caption_settings
from labelgen.semantics.settings import OpenClipSettings, SemanticSettings

#: Raised whenever the same inputs and configuration give other labels or another file format.
FORMAT_VERSION = 1

#: Format 1 names these settings in every fingerprint of a backend of ours; where it has none of that name, or
#: it has no effect, as it stands here.
_REGIONS_OF_FORMAT_1: Mapping[str, Any] = {
    "model": "demo",
    "mode": "lidar",
    "max_prompts": 256,
    "coverage": 0.99,
    "depth_jump": 0.15,
    "points_per_side": 32,
    "crop_layers": 0,
    "crop_points_downscale": 1,
    "pred_iou_thresh": 0.88,
    "stability_score_thresh": 0.95,
    "box_nms_thresh": 0.7,
    "min_mask_region_area": 0,
    "duplicate_iou": 0.9,
    "containment": 0.9,
    "precision": "auto",
    "compile": False,
    "words": [],
    "word_score_thresh": 0.3,
    "folder": None,
    "names": None,
    "background": None,
    "max_side": None,
    "superpixel_score": 0.0,
    "superpixel_method": "slic",
    "superpixel_segments": 150,
    "superpixel_compactness": 6.0,
    "superpixel_sigma": 3.0,
    "superpixel_scale": 100.0,
    "superpixel_min_size": 50,
}

_Metres = Annotated[float, Field(ge=-1000, le=1000)]
_Side = Annotated[int, Field(ge=32, le=8192)]
#: x, y, z minima, then maxima, metres.
Box = tuple[_Metres, _Metres, _Metres, _Metres, _Metres, _Metres]


class ProjectionSection(ProjectionSettings):
    """Which points fall into which image, and which of them the camera can see."""

    ego_box: Box | Literal["dataset"] | None = Field(
        "dataset",
        description="x, y, z minima then maxima of the ego vehicle in the LiDAR frame, metres; "
        "null for none; dataset: the data set's own",
    )

    @property
    def box(self) -> Box | None:
        """The ego vehicle's box; None where there is none, or no data set has been asked for its own."""
        return None if self.ego_box == "dataset" else self.ego_box


class LabelSection(VoteSettings):
    """How votes become labels."""

    instances: bool = Field(True, description="number the things in every frame")


class FusionSection(FusionSettings):
    """Pass 2: labels fused over the frames of each scene, as a derived run beside the run."""

    enabled: bool = Field(True, description="fuse after labelling, into <run>-fused, where scenes have poses")


class ShardSection(Settings):
    """What is stored beside the labels."""

    store_points: bool = Field(False, description="store xyz and intensity for trainers")


class RuntimeSection(Settings):
    """Where and how fast; never changes a label."""

    runner: Literal["ray", "sequential"] = Field(
        "ray", description="on a local or a given cluster, or in this process"
    )
    frames_per_shard: int = Field(
        64, ge=1, le=64, description="most frames of a shard; fewer where Ray's object store is below 4 GB"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="device of the models; auto: a GPU if there is one"
    )
    threads: int = Field(1, ge=1, le=1024, description="CPU threads per model, equal in both runners")
    model_workers: int | None = Field(
        None, ge=1, le=4096, description="actors with models; null: one per GPU or core"
    )
    max_model_workers: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="largest size of the pool, for clusters that grow; null: it is fixed",
    )
    gpus_per_worker: float = Field(1.0, gt=0, le=8, description="below 1, several share a GPU")
    fuse_models: bool = Field(
        True, description="regions and semantics in one actor (an image is decoded once), or in two pools"
    )
    memory_gb: float | None = Field(
        None,
        gt=0,
        le=100_000,
        description="what a worker may use beyond its models: requested from Ray, and enforced on CPUs; "
        "null: no limit",
    )


class DemoSection(Settings):
    """How much of the simulated city the demo builds; the frames themselves are the labels' input."""

    scenes: int = Field(2, ge=1, le=1000, description="how many")
    frames: int = Field(4, ge=1, le=1200, description="keyframes per scene")
    seed: int = Field(
        100_000, ge=0, le=2**31, description="seed of the first scene; 100,000 and up are not trained on"
    )
    image_size: tuple[_Side, _Side] = Field((1600, 900), description="width and height, pixels")


#: Fields of a run's settings that name a part of a registry.
_NAMED: tuple[tuple[str, str, Registry[Any]], ...] = (
    ("regions", "backend", REGIONS),
    ("semantics", "backend", SEMANTICS),
    ("semantics", "captions", CAPTIONERS),
)


class RunConfig(Settings):
    """All settings of a run."""

    dataset: Annotated[str, NO_LABEL] = Field(
        "nuscenes",
        description="demo (a simulated city), nuscenes, semantickitti, manifest (frames.parquet), or another "
        "package's",
    )
    sweeps: Annotated[int, NO_LABEL] = Field(
        0, ge=0, le=20, description="nuscenes: also label this many sweeps between keyframes"
    )
    taxonomy: str | None = Field(None, description="name or YAML file; null: the data set's own")
    allow: Annotated[tuple[str, ...], NO_LABEL] = Field(
        (), description="checks of the input to skip; `labelgen datasets checks` lists them"
    )
    projection: ProjectionSection = ProjectionSection()
    regions: Annotated[Proposer, OneOf(REGIONS)] = SamSettings()
    semantics: Annotated[SemanticSettings, OneOf(SEMANTICS)] = OpenClipSettings()
    labels: LabelSection = LabelSection()
    fusion: Annotated[FusionSection, NO_LABEL] = FusionSection()
    shards: ShardSection = ShardSection()
    runtime: Annotated[RuntimeSection, NO_LABEL] = RuntimeSection()
    demo: Annotated[DemoSection, NO_LABEL] = DemoSection()

    @field_validator("semantics")
    @classmethod
    def _knows_captioner(cls, semantics: SemanticSettings) -> SemanticSettings:
        if (captions := caption_settings(semantics)) is not None:
            try:
                CAPTIONERS[captions.captions]
            except UserError as error:
                raise ValueError(f"captions: {error}") from error
        return semantics

    def settle(self, taxonomy: str, ego_box: Box | None) -> RunConfig:
        """With the data set's own taxonomy and ego box, where none are asked for."""
        box = ego_box if self.projection.ego_box == "dataset" else self.projection.ego_box
        projection = self.projection.model_copy(update={"ego_box": box})
        return self.model_copy(update={"taxonomy": self.taxonomy or taxonomy, "projection": projection})

    def label_settings(self) -> dict[str, Any]:
        """What the fingerprint covers of them, as plain data (weights are covered by their hashes)."""
        content = self.covered()
        if self.regions.backend in REGIONS.own():
            content["regions"] = {**_REGIONS_OF_FORMAT_1, **content["regions"]}
        return content


def fingerprint(
    config: RunConfig,
    taxonomy_digest: str,
    models: Iterable[Mapping[str, Any]],
    recipe: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Hash of all that can change a label in every frame: settings, taxonomy, weights, format version.

    Source files are covered frame by frame, by ``Frame.source_id``.

    Args:
        config: the run's settings.
        taxonomy_digest: ``Taxonomy.digest()``.
        models: one record per model with at least ``name`` and ``weights`` (their hash); of another package's
            model, the ``revision`` counts, too.
        recipe: what the steps of a frame are, where they are not the default ones.
    """
    content: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "config": config.label_settings(),
        "taxonomy": taxonomy_digest,
        "weights": sorted(
            (str(model["name"]), str(model["weights"]))
            + ((str(model.get("revision", "")),) if model.get("package") else ())
            for model in models
        ),
    }
    if recipe:
        content["recipe"] = list(recipe)
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def recorded_config(config: Mapping[str, Any], models: Iterable[Mapping[str, Any]], where: str) -> RunConfig:
    """The settings that a run's record holds.

    Args:
        config: of the record.
        models: of the record, which name the packages of other backends than ours.
        where: the record is.

    Raises:
        UserError: a setting that this version does not know (names the field), or a package is missing.
    """
    packages = [model.get("package") for model in models]
    for section, field, registry in _NAMED:
        if isinstance(given := config.get(section), Mapping) and given.get(field) not in (None, "none"):
            registry.require(given[field], packages, f"{where}.{section}.{field}")
    return checked(RunConfig, config, where)


def load_config(
    preset: Path | str | None = None, overrides: Iterable[str] = (), **settings: Any
) -> RunConfig:
    """The settings of a run: a preset's or a file's over the defaults, overrides, then keyword arguments.

    Args:
        preset: name of a preset, or path of a YAML file.
        overrides: ``section.field=value``; values are YAML.
        **settings: fields, sections as mappings: ``regions={"backend": "superpixel"}``.

    Raises:
        UserError: naming the file, the override or the argument, the field, and what is allowed.
    """
    layers = []
    if preset is not None:
        path = find_preset(preset) if isinstance(preset, str) else preset
        layers.append(file_layer(path, shipped=path in PRESETS.values()))
    layers += map(override_layer, overrides)
    if settings:
        layers.append(argument_layer(settings))
    return compose(RunConfig, layers)
