"""One RunConfig for a run, and its fingerprint.

Presets are short YAML files over the defaults written here; any field can be set on the command line.
The fingerprint covers every field that can change a label. Fields that only decide where and how fast
things run live in ``RuntimeConfig``, which stays out of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from labelgen.errors import UserError
from labelgen.settings import checked, parse_override, place_of, read_settings
from labelgen.text_files import At, Source
from labelgen.wording import brief

#: Raised whenever the same inputs and configuration give other labels or another file format.
FORMAT_VERSION = 1


# Every number has bounds, so that a slip of the finger is told before a machine's memory is full.
_Metres = Annotated[float, Field(ge=-1000, le=1000)]
_Cells = Annotated[int, Field(ge=1, le=256)]
_Side = Annotated[int, Field(ge=32, le=8192)]
#: x, y, z minima, then maxima, metres.
Box = tuple[_Metres, _Metres, _Metres, _Metres, _Metres, _Metres]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ProjectionConfig(_Section):
    """Which points fall into which image, and which of them the camera can see."""

    min_depth: float = Field(1.0, ge=0, le=1000, description="metres; nearer points are not projected")
    border: float = Field(1.0, ge=0, le=10_000, description="pixels at the image's edge that do not count")
    occlusion: bool = Field(True, description="test whether a nearer surface hides the point")
    max_residual: float = Field(
        0.3, gt=0, le=1000, description="metres behind a surface from which a point is hidden"
    )
    max_residual_relative: float = Field(0.05, ge=0, le=10, description="the same as a share of the depth")
    ego_box: Box | Literal["dataset"] | None = Field(
        "dataset",
        description="x, y, z minima then maxima of the ego vehicle in the LiDAR frame, metres; "
        "null for none; dataset: the data set's own",
    )

    @property
    def box(self) -> Box | None:
        """The ego vehicle's box; None where there is none, or no data set has been asked for its own."""
        return None if self.ego_box == "dataset" else self.ego_box


class RegionsConfig(_Section):
    """How regions are proposed."""

    backend: Literal["sam", "sam2", "sam3", "superpixel", "files"] = "sam"
    model: str = Field("demo", description="sam: demo, vit_b, vit_l or vit_h; sam2, sam3: a name on the hub")
    checkpoint: str | None = Field(
        None, description="path of the weights, or of a model's folder (sam2, sam3); null for the demo model"
    )
    mode: Literal["lidar", "grid", "boxes"] = Field(
        "lidar", description="sam, sam2: prompts on visible points, on a grid, or boxes that the caller gives"
    )
    max_prompts: int = Field(256, ge=1, le=16_384, description="lidar: prompts per image at most")
    coverage: float = Field(0.99, ge=0, le=1, description="lidar: share of the visible points to be in masks")
    depth_jump: float = Field(
        0.15, gt=0, le=10, description="lidar: share of the depth from which a step is another surface"
    )
    points_per_side: int = Field(32, ge=1, le=128, description="grid: prompts along each side")
    crop_layers: int = Field(0, ge=0, le=3, description="lidar, grid: also (2^k)^2 crops, k = 1..crop_layers")
    crop_points_downscale: int = Field(
        1, ge=1, le=64, description="grid: fewer points per side by this, per layer"
    )
    pred_iou_thresh: float = Field(0.88, ge=0, le=1)
    stability_score_thresh: float = Field(0.95, ge=0, le=1)
    box_nms_thresh: float = Field(0.7, ge=0, le=1)
    min_mask_region_area: int = Field(
        0, ge=0, le=10**9, description="pixels; smaller holes and islands are removed"
    )
    duplicate_iou: float = Field(
        0.9, gt=0, le=1, description="masks that overlap so much are one region; 1: only equal ones"
    )
    containment: float = Field(
        0.9, gt=0.5, le=1, description="share of a region inside a larger one that makes it its part"
    )
    label_map: bool = Field(False, description="also write each image's regions as a 16-bit PNG")
    points_per_batch: int = Field(64, ge=1, le=4096, description="prompts decoded at once; bounds the memory")
    images_per_batch: int = Field(6, ge=1, le=64, description="images encoded at once; bounds the memory")
    precision: Literal["auto", "float32"] = Field("auto", description="auto: bfloat16 on a GPU")
    compile: bool = Field(False, description="torch.compile the image encoder: minutes first, then faster")
    words: tuple[str, ...] = Field((), max_length=1000, description="sam3: the concepts to look for")
    word_score_thresh: float = Field(0.3, ge=0, le=1, description="sam3: least score of an instance")
    folder: str | None = Field(None, description="files: where the id maps are")
    names: str | None = Field(
        None, description="files: nuScenes' sample_data.json, if maps are named by sample_data tokens"
    )
    background: int | None = Field(
        None, ge=0, le=65_535, description="files: the id of pixels in no region; null: none"
    )
    max_side: int | None = Field(
        None,
        ge=64,
        le=16_384,
        description="superpixel: longer side, in pixels, that images are reduced to before",
    )
    superpixel_score: float = Field(
        0.0,
        ge=0,
        le=1,
        description="other backends: score of superpixels (with points) beside their masks; 0: none",
    )
    superpixel_method: Literal["slic", "felzenszwalb"] = "slic"
    superpixel_segments: int = Field(150, ge=1, le=10_000, description="slic: about so many per image")
    superpixel_compactness: float = Field(
        6.0, gt=0, le=10**6, description="slic: weight of nearness against colour"
    )
    superpixel_sigma: float = Field(3.0, ge=0, le=100, description="superpixel: smoothing, pixels")
    superpixel_scale: float = Field(
        100.0, gt=0, le=10**6, description="felzenszwalb: larger gives larger segments"
    )
    superpixel_min_size: int = Field(
        50, ge=1, le=10**9, description="felzenszwalb: pixels of the smallest segment"
    )


class DenseFeaturesConfig(_Section):
    """A dense map of features for every image, stored beside the shards."""

    grid: tuple[_Cells, _Cells] = Field((28, 50), description="rows and columns over an image")
    dtype: Literal["float16", "int8"] = Field("float16", description="int8: half the size, with a scale each")


class SemanticsConfig(_Section):
    """How regions get a meaning."""

    backend: Literal["open_clip"] = "open_clip"
    model: str = Field("demo", description="demo, or an open_clip architecture such as ViT-L-14")
    checkpoint: str | None = Field(None, description="path of the weights, or an open_clip pretrained tag")
    pretrained: str | None = Field(
        None,
        description="open_clip tag of the weights in a file, or of those that they were fine-tuned from: it "
        "gives the pixels' mean and deviation; null: known from the file, else asked for",
    )
    mode: Literal["auto", "crop", "maskclip", "naclip", "maskattn", "pool"] = Field(
        "auto",
        description="how regions get a feature, see docs/semantics.md; auto: what suits the model best",
    )
    assignment: Literal["mean", "rsa"] = Field(
        "mean", description="a region's class: of its feature, or the one that most of its pixels hold (RSA)"
    )
    short_side: int | None = Field(
        None, ge=32, le=4096, description="dense modes: shorter side of the image that is encoded, pixels"
    )
    overlap: float = Field(0.25, ge=0, le=0.75, description="dense modes: share of a window in the next one")
    crop_scale: float = Field(
        1.5, ge=1, le=100, description="side of the square crop over the region's longer side"
    )
    context: int = Field(
        0,
        ge=0,
        le=4096,
        description="pixels; narrower crops are joined by a second one of this side; 0: by none",
    )
    background: float = Field(0.5, ge=0, le=1, description="share of the surroundings that stays visible")
    temperature: float | None = Field(
        None, gt=0, le=1000, description="of the softmax; null takes the model's own"
    )
    batch_size: int = Field(256, ge=1, le=8192, description="crops or windows per forward pass")
    captions: Literal["none", "blip2"] = Field(
        "none", description="describe regions in words, too: an order of magnitude slower than all the rest"
    )
    caption_model: str = Field("demo", description="demo, or a BLIP-2 of the hub")
    caption_checkpoint: str | None = Field(None, description="folder of the weights; null: the model's own")
    caption_regions: int = Field(
        32, ge=1, le=10_000, description="so many regions of each image are captioned, by area x points"
    )
    caption_strategy: Literal["template", "caption", "both"] = Field(
        "both", description="classes of captioned regions: from their image, their caption, or both"
    )
    caption_temperature: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="of the softmax over a caption's classes; null: 20 times the images', 6 times alone",
    )
    caption_crop_scale: float = Field(1.8, ge=1, le=100, description="as crop_scale, for captions")
    caption_background: float = Field(0.5, ge=0, le=1, description="as background, for captions")
    caption_tokens: int = Field(20, ge=1, le=200, description="of the longest caption")
    caption_batch_size: int = Field(64, ge=1, le=4096, description="crops per forward pass")
    feature_bits: int = Field(
        10,
        ge=3,
        le=10,
        description="of each stored feature's mantissa; 6: cosines change by 1e-5, and 7 bits or fewer are "
        "stored compressed, 30 % smaller or more",
    )
    dense_features: DenseFeaturesConfig | None = Field(
        None, description="also store each image's features on a grid; null: regions' features only"
    )


class LabelsConfig(_Section):
    """How votes become labels."""

    min_margin: float = Field(0.02, ge=0, le=1, description="lead over the second class that a label needs")
    class_margin: float = Field(1.0, ge=0, le=1, description="vote lost where a region's class is undecided")
    edge: float = Field(0.5, ge=0, le=1, description="vote lost at a mask's edge")
    edge_px: float = Field(8.0, ge=1, le=1000, description="pixels over which that fades")
    residual: float = Field(0.5, ge=0, le=1, description="vote lost at the depth test's limit")
    angle: float = Field(0.5, ge=0, le=1, description="vote lost 90 degrees off the camera's axis")
    instances: bool = Field(True, description="number the things of every frame")


class FusionConfig(_Section):
    """Pass 2: labels fused over the frames of each scene, as a derived run beside the run."""

    enabled: bool = Field(True, description="fuse after labelling, into <run>-fused, where scenes have poses")
    ahead: int = Field(20, ge=0, le=200, description="frames gathered beyond the one that is read")
    voxel: float = Field(0.25, gt=0.01, le=100, description="finest voxels of the map, metres")
    decay_s: float = Field(20.0, gt=0, le=10**6, description="seconds after which evidence counts 1 / e")
    min_margin: float = Field(0.02, ge=0, le=1, description="lead over the second class that a label needs")


class ShardsConfig(_Section):
    """What is stored beside the labels."""

    store_points: bool = Field(False, description="store xyz and intensity for trainers")


class RuntimeConfig(_Section):
    """Where and how fast; never changes a label."""

    runner: Literal["ray", "sequential"] = "ray"
    frames_per_shard: int = Field(
        64, ge=1, le=64, description="at most; fewer where Ray's object store is below 4 GB"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = Field(1, ge=1, le=1024, description="CPU threads per model, equal in both runners")
    model_workers: int | None = Field(
        None, ge=1, le=4096, description="actors with models; null: one per GPU or core"
    )
    max_model_workers: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="the pool grows up to so many, for clusters that grow; null: it is fixed",
    )
    gpus_per_worker: float = Field(1.0, gt=0, le=8, description="below 1, several share a GPU")
    fuse_models: bool = Field(
        True, description="regions and semantics in one actor (an image is decoded once), or in two pools"
    )
    memory_gb: float | None = Field(
        None,
        gt=0,
        le=100_000,
        description="a worker may use so much beyond its models: asked of Ray, and held on CPUs; null: any",
    )


class DemoConfig(_Section):
    """How much of the simulated city the demo builds; the frames themselves are the labels' input."""

    scenes: int = Field(2, ge=1, le=1000)
    frames: int = Field(4, ge=1, le=1200, description="keyframes per scene")
    seed: int = Field(
        100_000, ge=0, le=2**31, description="of the first scene; 100,000 and up are not trained on"
    )
    image_size: tuple[_Side, _Side] = Field((1600, 900), description="width and height, pixels")


class RunConfig(_Section):
    """All settings of a run."""

    dataset: str = "nuscenes"
    sweeps: int = Field(0, ge=0, le=20, description="nuscenes: label so many sweeps between keyframes, too")
    taxonomy: str | None = Field(None, description="name or YAML file; null: the data set's own")
    allow: tuple[str, ...] = Field(
        (), description="checks of the input that are passed over; `labelgen datasets checks` lists them"
    )
    projection: ProjectionConfig = ProjectionConfig()
    regions: RegionsConfig = RegionsConfig()
    semantics: SemanticsConfig = SemanticsConfig()
    labels: LabelsConfig = LabelsConfig()
    fusion: FusionConfig = FusionConfig()
    shards: ShardsConfig = ShardsConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    demo: DemoConfig = DemoConfig()

    def settle(self, taxonomy: str, ego_box: Box | None) -> RunConfig:
        """With the data set's own taxonomy and ego box, where none are asked for."""
        box = ego_box if self.projection.ego_box == "dataset" else self.projection.ego_box
        projection = self.projection.model_copy(update={"ego_box": box})
        return self.model_copy(update={"taxonomy": self.taxonomy or taxonomy, "projection": projection})

    def label_settings(self) -> dict[str, Any]:
        """The part that can change a label, as plain data (paths of weights are covered by their hashes)."""
        content = self.model_dump(
            mode="json", exclude={"runtime", "demo", "dataset", "sweeps", "fusion", "allow"}
        )
        content["regions"].pop("checkpoint")
        content["semantics"].pop("checkpoint")
        for field in ("points_per_batch", "images_per_batch", "label_map"):
            content["regions"].pop(field)
        semantics = content["semantics"]
        semantics.pop("batch_size")
        if semantics["pretrained"] is None:
            semantics.pop("pretrained")
        for field in ("caption_checkpoint", "caption_batch_size"):
            semantics.pop(field)
        # What is not asked for changes nothing: runs from before it existed can go on.
        if semantics["dense_features"] is None:
            semantics.pop("dense_features")
        if semantics["feature_bits"] == 10:
            semantics.pop("feature_bits")
        if semantics["captions"] == "none":
            semantics = {key: value for key, value in semantics.items() if not key.startswith("caption")}
        content["semantics"] = semantics
        return content


def fingerprint(config: RunConfig, taxonomy_digest: str, models: Iterable[Mapping[str, Any]]) -> str:
    """Hash of all that can change a label in every frame: settings, taxonomy, weights, format version.

    Source files are covered frame by frame, by ``Frame.source_id``.

    Args:
        config: the run's settings.
        taxonomy_digest: ``Taxonomy.digest()``.
        models: one record per model with at least ``name`` and ``weights`` (their hash).
    """
    content = {
        "format": FORMAT_VERSION,
        "config": config.label_settings(),
        "taxonomy": taxonomy_digest,
        "weights": sorted((str(model["name"]), str(model["weights"])) for model in models),
    }
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()


def load_config(preset: Path | None, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a preset and lay ``section.field=value`` overrides over it (values are YAML).

    Raises:
        UserError: naming the file or the override, the field, and what is allowed.
    """
    source = Source({}, "defaults") if preset is None else read_settings(preset)
    data, written = dict(source.data), dict[At, str]()
    for override in overrides:
        names, value = parse_override(override)
        written[names] = override
        *sections, name = names
        target = data
        for section in sections:
            inside = target.get(section, {})
            if not isinstance(inside, dict):
                raise UserError(f"--set {brief(override)}: {section} is not a section")
            target[section] = dict(inside)  # an anchor's content may stand elsewhere, too
            target = target[section]
        target[name] = value
    return checked(RunConfig, data, lambda at: place_of(at, written, source.where(at)))
