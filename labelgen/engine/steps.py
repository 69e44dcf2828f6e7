"""The steps of pass 1: thin callables over the library that fill in their part of a `FrameTask`.

``setup`` does what is dear and happens once per process (loading models). A step that raises fails its frame,
not the run: see `labelgen.engine.task.run_steps`. `labelgen.engine.recipe` puts them in order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from labelgen.config import RunConfig
from labelgen.core.errors import FrameError
from labelgen.core.precision import stored_feature
from labelgen.core.taxonomy import Taxonomy
from labelgen.datasets.checks import FrameInput, TextInput, frame_notes, text_notes
from labelgen.datasets.images import read_image
from labelgen.datasets.loading import load_cloud
from labelgen.engine.task import FrameTask
from labelgen.geometry import ego_mask, project, region_hits
from labelgen.geometry.occlusion import beam_spacing
from labelgen.labels.evidence import hit_evidence
from labelgen.labels.instances import find_instances
from labelgen.labels.settings import InstanceSettings
from labelgen.labels.vote import vote
from labelgen.semantics.base import FrameImages
from labelgen.semantics.settings import CaptionSettings


@dataclass
class LoadFrame:
    """Read the point cloud and the image files."""

    root: Path
    name: str = "load"
    needs: ClassVar[tuple[str, ...]] = ()
    gives: ClassVar[tuple[str, ...]] = ("cloud", "images")
    holds_model: ClassVar[bool] = False

    def setup(self) -> None:
        """Nothing to load."""

    def __call__(self, task: FrameTask) -> None:
        """Fill ``cloud`` and ``images``; an unreadable image is a note, an unreadable cloud an error."""
        frame = task.frame
        task.cloud, task.hashes[frame.lidar_path] = load_cloud(self.root, frame)
        for camera in frame.cameras:
            try:
                data, task.hashes[camera.image_path] = read_image(self.root, camera, frame.frame_id)
            except FrameError as error:
                data = None
                task.notes.append(str(error))
            task.images.append(data)


@dataclass
class ProjectPoints:
    """Project all points into all cameras and test what each camera can see."""

    config: RunConfig
    name: str = "project"
    needs: ClassVar[tuple[str, ...]] = ("cloud",)
    gives: ClassVar[tuple[str, ...]] = ("views",)
    holds_model: ClassVar[bool] = False

    def setup(self) -> None:
        """Nothing to load."""

    def __call__(self, task: FrameTask) -> None:
        """Fill ``views``."""
        assert task.cloud is not None
        task.views = project(task.frame, task.cloud, self.config.projection)


@dataclass
class CheckFrame:
    """Note what does not make sense about the points and where they fall."""

    root: Path
    allow: tuple[str, ...] = ()
    name: str = "check"
    needs: ClassVar[tuple[str, ...]] = ("cloud", "views")
    gives: ClassVar[tuple[str, ...]] = ()
    holds_model: ClassVar[bool] = False

    def setup(self) -> None:
        """Nothing to load."""

    def __call__(self, task: FrameTask) -> None:
        """Add to ``notes``."""
        assert task.cloud is not None
        assert task.views is not None
        data = FrameInput(task.frame, task.cloud, task.views, task.hashes, self.root)
        task.notes += frame_notes(data, self.allow)


@dataclass
class ProposeRegions:
    """Propose regions in every readable image."""

    config: RunConfig
    label_maps: Path | None = None  # a folder
    name: str = "regions"
    needs: ClassVar[tuple[str, ...]] = ("images", "views")
    gives: ClassVar[tuple[str, ...]] = ("regions",)
    holds_model: ClassVar[bool] = True

    def setup(self) -> None:
        """Load the proposer's model."""
        from labelgen.regions import make_proposer

        runtime = self.config.runtime
        self.proposer = make_proposer(self.config.regions, runtime.device, runtime.threads)

    def __call__(self, task: FrameTask) -> None:
        """Fill ``regions``; write label maps where they are asked for."""
        from labelgen.regions import frame_prompts, join_cameras
        from labelgen.regions.labelmap import write_label_maps

        assert task.views is not None
        prompts = frame_prompts(task.views, [camera.image_path for camera in task.frame.cameras])
        task.regions = join_cameras(self.proposer.propose_frame(task.decode(), prompts))
        if self.label_maps is not None:
            write_label_maps(self.label_maps / task.frame.frame_id, task.regions, task.frame.cameras)


@dataclass
class DescribeRegions:
    """Give every region class scores and a feature."""

    config: RunConfig
    taxonomy: Taxonomy
    name: str = "semantics"
    needs: ClassVar[tuple[str, ...]] = ("images", "regions")
    gives: ClassVar[tuple[str, ...]] = ("semantics",)
    holds_model: ClassVar[bool] = True

    def setup(self) -> None:
        """Load the encoder's model and embed the taxonomy's words."""
        from labelgen.semantics import make_encoder

        runtime = self.config.runtime
        encoder: Any = make_encoder(self.config.semantics, runtime.device, runtime.threads)
        if hasattr(encoder, "prepare"):
            encoder.prepare(self.taxonomy)
        tokenizer = getattr(encoder, "tokenizer", None)
        self.notes = [] if tokenizer is None else text_notes(TextInput(self.taxonomy, tokenizer))
        self.encoder = encoder

    def __call__(self, task: FrameTask) -> None:
        """Fill ``semantics`` and ``attributes``; note classes that the encoder cannot tell apart."""
        assert task.regions is not None
        task.notes += self.notes
        wanted = getattr(self.config.semantics, "dense_features", None)
        cameras = task.frame.cameras
        paths, names = [camera.image_path for camera in cameras], [camera.name for camera in cameras]
        images = FrameImages(task.decode(), paths, names, task.frame.frame_id)
        if wanted is None:
            task.semantics = self.encoder.encode(images, task.regions, self.taxonomy)
        else:
            from labelgen.semantics.stored_maps import store_dense

            task.semantics, maps = self.encoder.encode_with_dense(images, task.regions, self.taxonomy)
            task.dense = store_dense(maps, wanted)
        task.notes += images.notes
        task.attributes = {"class_names": self.taxonomy.names}
        if hasattr(self.encoder, "class_embedding"):  # not of a source that reads no texts
            task.attributes["text_encoder"] = self.encoder.info.to_dict()
            task.attributes["text_embeddings"] = self.encoder.class_embedding(self.taxonomy)
        # The files' bytes have served; which of them were readable is still asked.
        task.images = [None if data is None else b"" for data in task.images]


@dataclass
class VoteLabels:
    """Let all regions that a point falls into vote on its label, and number the things."""

    config: RunConfig
    taxonomy: Taxonomy
    name: str = "vote"
    needs: ClassVar[tuple[str, ...]] = ("cloud", "views", "regions", "semantics")
    gives: ClassVar[tuple[str, ...]] = ("hits", "labels")
    holds_model: ClassVar[bool] = False

    def setup(self) -> None:
        """Nothing to load."""

    def __call__(self, task: FrameTask) -> None:
        """Fill ``hits`` and ``labels``."""
        assert task.cloud is not None
        assert task.views is not None
        assert task.regions is not None
        assert task.semantics is not None
        settings, projection = self.config.labels, self.config.projection
        task.hits = region_hits(task.views, task.regions, task.frame.cameras, settings.reach)
        parts = (task.views, task.hits, task.regions, task.semantics)
        task.labels = vote(
            len(task.cloud),
            *parts,
            settings,
            camera_ok=np.array([data is not None for data in task.images], bool),
            ego=ego_mask(task.cloud.xyz, projection.box),
            evidence=hit_evidence(
                task.views, task.hits, task.semantics, task.frame.cameras, settings, projection
            ),
            returned=task.cloud.returned,
        )
        if settings.instances:
            things = [spec.thing for spec in self.taxonomy.classes]
            spacing = InstanceSettings(spacing_deg=beam_spacing(task.frame.lidar_layout))
            instance = find_instances(task.cloud.xyz, task.labels, *parts, things, spacing)
            task.labels = replace(task.labels, instance=instance)


@dataclass
class CaptionRegions:
    """Caption the top regions of each image and let the captions count.

    Attributes:
        config: of the run.
        settings: of captions.
        taxonomy: the classes that compete.
        describe: the stage before, whose text encoder reads the captions.
    """

    config: RunConfig
    settings: CaptionSettings
    taxonomy: Taxonomy
    describe: DescribeRegions
    name: str = "captions"
    needs: ClassVar[tuple[str, ...]] = ("images", "views", "regions", "semantics")
    gives: ClassVar[tuple[str, ...]] = ()
    holds_model: ClassVar[bool] = True

    def setup(self) -> None:
        """Load the captioner; the encoder is the one that the stage before has loaded."""
        from labelgen.semantics.registry import make_captioner

        runtime = self.config.runtime
        self.captioner = make_captioner(self.settings, runtime.device, runtime.threads)

    def __call__(self, task: FrameTask) -> None:
        """Put captions, their features and the classes that follow into ``semantics``."""
        from labelgen.semantics.strategies import caption_temperature, choose_regions, combine

        assert task.views is not None
        assert task.regions is not None
        assert task.semantics is not None
        semantics, settings = task.semantics, self.settings
        encoder: Any = self.describe.encoder
        rows = choose_regions(task.regions, task.views, task.frame.cameras, settings.caption_regions)
        captions = self.captioner.caption(task.decode(), task.regions, rows)
        feature = np.zeros_like(semantics.feature)
        told = np.array([row for row in rows if captions[row]], np.int64)
        if len(told):
            said = encoder.embed([captions[row] for row in told])
            feature[told] = stored_feature(said, getattr(self.config.semantics, "feature_bits", 10))
        scores, label = combine(
            semantics,
            feature,
            encoder.vocabulary(self.taxonomy),
            settings.caption_strategy,
            caption_temperature(settings.caption_temperature, settings.caption_strategy, encoder.temperature),
        )
        task.semantics = replace(
            semantics, class_scores=scores, label=label, caption=captions, caption_feature=feature
        )
