"""The way of one frame as stages: thin callables that run with or without Ray.

A stage takes a `FrameTask`, calls the library, and fills in its part of the task. ``setup`` does what is
dear and happens once per process (loading models). A stage that raises fails its frame, not the run: see
`run_stages`. `build_record` closes the row.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from labelgen.config import RunConfig
from labelgen.datasets.checks import FrameSight, TextSight, frame_notes, image_notes, text_notes
from labelgen.datasets.images import open_picture, read_image
from labelgen.datasets.loading import load_cloud
from labelgen.errors import FrameError
from labelgen.frame import Frame, PointCloud
from labelgen.geometry import (
    ProjectionSettings,
    ego_mask,
    project,
    region_hits,
    view_region,
)
from labelgen.geometry.occlusion import beam_spacing
from labelgen.labels import VoteSettings, hit_evidence, vote
from labelgen.labels.instances import InstanceSettings, find_instances
from labelgen.records import (
    DenseFeatures,
    Failure,
    FrameRecord,
    FrameStatus,
    PointLabels,
    RegionHits,
    Regions,
    Semantics,
    Views,
)
from labelgen.redact import redact
from labelgen.taxonomy import Taxonomy
from labelgen.wording import one_line

MAX_TRACEBACK = 4000


@dataclass
class FrameTask:
    """One frame on its way through the stages; each stage fills in its part.

    Attributes:
        frame: what the dataset says of the frame.
        cloud: by `LoadFrame`.
        images: by `LoadFrame`: the image files' bytes per camera, None where unreadable. Pixels are decoded
            where they are needed: a frame's files weigh 1 MB, its pixels 26 MB.
        pixels: (H, W, 3) uint8 RGB per camera while a model stage works on the frame, never transported.
        views, regions, semantics, hits, labels: by the stages of these names.
        dense: by `DescribeRegions`, if it is to be stored.
        hashes: {path: hash of the bytes read}.
        notes: what went wrong without failing the frame.
        seconds: time per stage.
        failure: set when a stage raised; later stages pass the task through.
        skipped: not to be done in this call, since it is being stopped or another driver does the frame.
        attributes: for the shard, by `DescribeRegions`: what lets anyone label its features anew.
    """

    frame: Frame
    cloud: PointCloud | None = None
    images: list[bytes | None] = field(default_factory=list)
    pixels: list[NDArray[np.uint8] | None] | None = None
    views: Views | None = None
    regions: Regions | None = None
    semantics: Semantics | None = None
    hits: RegionHits | None = None
    labels: PointLabels | None = None
    dense: DenseFeatures | None = None
    hashes: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    failure: Failure | None = None
    skipped: bool = False
    attributes: dict[str, Any] = field(default_factory=dict)

    def fail(self, stage: str, error_type: str, message: str, trace: str = "") -> None:
        """Make the frame a failed one, and let go of everything that it no longer needs.

        Args:
            stage: that failed.
            error_type: name of the exception, or of what else happened.
            message: without the frame's id.
            trace: of the exception.
        """
        failure = Failure(
            frame_id=self.frame.frame_id,
            source_id=self.frame.source_id,
            stage=stage,
            error_type=error_type,
            message=one_line(f"frame {self.frame.frame_id}: {message}"),
            traceback=redact(trace)[-MAX_TRACEBACK:],
        )
        failed = FrameTask(self.frame, notes=self.notes, seconds=self.seconds, failure=failure)
        self.__dict__.update(failed.__dict__)

    def skip(self) -> None:
        """Leave the frame for another call, and let go of what was done of it."""
        self.__dict__.update(FrameTask(self.frame, skipped=True).__dict__)

    def decode(self) -> list[NDArray[np.uint8] | None]:
        """Decode the images once; one that is corrupt becomes None and a note.

        Raises:
            FrameError: no camera of the frame has a readable image.
        """
        if self.pixels is None:
            self.pixels = [None] * len(self.images)
            for number, (camera, data) in enumerate(zip(self.frame.cameras, self.images, strict=True)):
                if data is not None:
                    try:
                        picture = open_picture(data, camera, self.frame.frame_id)
                        self.pixels[number] = picture.pixels
                        self.notes += [note for note in image_notes(picture) if note not in self.notes]
                    except FrameError as error:
                        self.images[number] = None
                        self.notes.append(str(error))
        if self.frame.cameras and all(image is None for image in self.pixels):
            paths = [camera.image_path for camera in self.frame.cameras]
            why = [note for note in self.notes if any(path in note for path in paths)]
            raise FrameError(
                f"none of its images is readable: {'; '.join(why)}", frame_id=self.frame.frame_id
            )
        return self.pixels


class Stage(Protocol):
    """One step; pickled to where it runs, so it holds settings only until ``setup`` is called."""

    name: str

    def setup(self) -> None:
        """Load what the process needs once."""

    def __call__(self, task: FrameTask) -> None:
        """Fill in this stage's part of the task."""


@dataclass
class LoadFrame:
    """Read the point cloud and the image files."""

    root: Path
    name: str = "load"

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

    def setup(self) -> None:
        """Nothing to load."""

    def __call__(self, task: FrameTask) -> None:
        """Fill ``views``."""
        assert task.cloud is not None
        settings = ProjectionSettings(**self.config.projection.model_dump(exclude={"ego_box"}))
        task.views = project(task.frame, task.cloud, settings)


@dataclass
class CheckFrame:
    """Note what does not make sense about the points and where they fall."""

    root: Path
    allow: tuple[str, ...] = ()
    name: str = "check"

    def setup(self) -> None:
        """Nothing to load."""

    def __call__(self, task: FrameTask) -> None:
        """Add to ``notes``."""
        assert task.cloud is not None
        assert task.views is not None
        sight = FrameSight(task.frame, task.cloud, task.views, task.hashes, self.root)
        task.notes += frame_notes(sight, self.allow)


@dataclass
class ProposeRegions:
    """Propose regions in every readable image."""

    config: RunConfig
    label_maps: Path | None = None
    name: str = "regions"

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

    def setup(self) -> None:
        """Load the encoder's model and embed the taxonomy's words."""
        from labelgen.semantics import make_encoder

        runtime = self.config.runtime
        encoder: Any = make_encoder(self.config.semantics, runtime.device, runtime.threads)
        self.notes = text_notes(TextSight(self.taxonomy, encoder.tokenizer))
        self.encoder = encoder

    def __call__(self, task: FrameTask) -> None:
        """Fill ``semantics`` and ``attributes``; note classes that the encoder cannot tell apart."""
        assert task.regions is not None
        task.notes += self.notes
        wanted = self.config.semantics.dense_features
        if wanted is None:
            task.semantics = self.encoder.encode(task.decode(), task.regions, self.taxonomy)
        else:
            from labelgen.semantics.grids import store_dense

            task.semantics, maps = self.encoder.encode_with_dense(task.decode(), task.regions, self.taxonomy)
            task.dense = store_dense(maps, wanted)
        task.attributes = {
            "class_names": self.taxonomy.names,
            "text_encoder": self.encoder.info.to_dict(),
            "text_embeddings": self.encoder.class_embedding(self.taxonomy),
        }
        # The files' bytes have served; which of them were readable is still asked.
        task.images = [None if data is None else b"" for data in task.images]


@dataclass
class VoteLabels:
    """Let all regions that a point falls into vote on its label, and number the things."""

    config: RunConfig
    taxonomy: Taxonomy
    name: str = "vote"

    def setup(self) -> None:
        """Nothing to load."""

    def __call__(self, task: FrameTask) -> None:
        """Fill ``hits`` and ``labels``."""
        assert task.cloud is not None
        assert task.views is not None
        assert task.regions is not None
        assert task.semantics is not None
        settings = VoteSettings(**self.config.labels.model_dump(exclude={"instances"}))
        task.hits = region_hits(task.views, task.regions, task.frame.cameras, settings.reach)
        projection = ProjectionSettings(**self.config.projection.model_dump(exclude={"ego_box"}))
        parts = (task.views, task.hits, task.regions, task.semantics)
        task.labels = vote(
            len(task.cloud),
            *parts,
            settings,
            camera_ok=np.array([data is not None for data in task.images], bool),
            ego=ego_mask(task.cloud.xyz, self.config.projection.box),
            evidence=hit_evidence(
                task.views, task.hits, task.semantics, task.frame.cameras, settings, projection
            ),
            returned=task.cloud.returned,
        )
        if self.config.labels.instances:
            things = [spec.thing for spec in self.taxonomy.classes]
            spacing = InstanceSettings(spacing_deg=beam_spacing(task.frame.lidar_layout))
            instance = find_instances(task.cloud.xyz, task.labels, *parts, things, spacing)
            task.labels = replace(task.labels, instance=instance)


def run_stages(stages: Sequence[Stage], task: FrameTask) -> FrameTask:
    """Run stages one after another; an exception becomes the task's failure and later stages are skipped.

    Two kinds of exceptions escape, since they may not be the frame's fault: errors of the GPU, after which
    the process can do nothing more with it (`is_fatal`), and running out of memory. `pipelines.operators`
    knows what to do with them.
    """
    for stage in stages:
        if task.failure is not None or task.skipped:
            break
        begin = time.perf_counter()
        try:
            stage(task)
        except MemoryError:
            raise
        except Exception as error:
            if is_fatal(error):
                raise
            message = str(error)
            if isinstance(error, FrameError):  # names the frame already
                message = message.removeprefix(f"frame {task.frame.frame_id}: ")
            task.fail(stage.name, type(error).__name__, message, traceback.format_exc())
        task.seconds[stage.name] = round(time.perf_counter() - begin, 4)
    task.pixels = None
    return task


def is_fatal(error: Exception) -> bool:
    """Whether the process cannot go on after it: its GPU context is lost, or the GPU's memory is full."""
    return type(error).__name__ in ("AcceleratorError", "OutOfMemoryError") or "CUDA error" in str(error)


def build_record(task: FrameTask, store_points: bool) -> FrameRecord:
    """What is stored of a task that went through all stages."""
    assert task.cloud is not None
    assert task.views is not None
    assert task.hits is not None
    assert task.regions is not None
    assert task.semantics is not None
    assert task.labels is not None
    frame = task.frame
    return FrameRecord(
        frame_id=frame.frame_id,
        scene_id=frame.scene_id,
        timestamp_us=frame.timestamp_us,
        source_id=frame.source_id,
        status=FrameStatus.PARTIAL if any(data is None for data in task.images) else FrameStatus.OK,
        notes=tuple(task.notes),
        source_hashes=task.hashes,
        views=task.views,
        view_region=view_region(task.hits),
        regions=task.regions,
        semantics=task.semantics,
        labels=task.labels,
        xyz=task.cloud.xyz if store_points else None,
        intensity=task.cloud.intensity if store_points else None,
        dense=task.dense,
        hits=task.hits,
        seconds=task.seconds,
    )


def load_stages(root: Path, config: RunConfig) -> list[Stage]:
    """Stages bound by file reads and one core: no models."""
    return [LoadFrame(root), ProjectPoints(config), CheckFrame(root, config.allow)]


def model_stages(config: RunConfig, taxonomy: Taxonomy, label_maps: Path | None = None) -> list[Stage]:
    """Stages that hold models; kept together, so that an image is decoded once."""
    describe = DescribeRegions(config, taxonomy)
    stages: list[Stage] = [ProposeRegions(config, label_maps), describe]
    if config.semantics.captions != "none":
        from pipelines.captions import CaptionRegions

        stages.append(CaptionRegions(config, taxonomy, describe))
    return stages


def label_stages(config: RunConfig, taxonomy: Taxonomy) -> list[Stage]:
    """Stages after the models: cheap, on one core."""
    return [VoteLabels(config, taxonomy)]
