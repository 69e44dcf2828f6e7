"""One frame on its way through the steps, what a step is, and how steps are run on it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from labelgen.core.errors import FrameError
from labelgen.core.frame import Frame, PointCloud
from labelgen.core.records import (
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
from labelgen.datasets.checks import image_notes
from labelgen.datasets.images import open_picture
from labelgen.engine.failures import failure_by
from labelgen.geometry import view_region


@dataclass
class FrameTask:
    """One frame on its way through the steps; each step fills in its part.

    Attributes:
        frame: what the dataset says of the frame.
        cloud: by `LoadFrame`.
        images: by `LoadFrame`: the image files' bytes per camera, None where unreadable. Pixels are decoded
            where they are needed: a frame's files weigh 1 MB, its pixels 26 MB.
        pixels: (H, W, 3) uint8 RGB per camera while steps with models work on the frame, never transported.
        views, regions, semantics, hits, labels: by the steps of these names.
        dense: by `DescribeRegions`, if it is to be stored.
        hashes: {path: hash of the bytes read}.
        notes: what went wrong without failing the frame.
        seconds: time per step.
        failure: set when a step raised; later ones pass the task through.
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

    def fail(self, failure: Failure) -> None:
        """Make the frame a failed one, and let go of everything that it no longer needs."""
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


class Step(Protocol):
    """What is done to a frame; pickled to where it runs, so it holds settings only until ``setup``."""

    @property
    def name(self) -> str:
        """Of the step, unlike those of all others of its recipe."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Attributes of `FrameTask` that steps before it must have filled in."""

    @property
    def gives(self) -> tuple[str, ...]:
        """Attributes of `FrameTask` that it fills in."""

    @property
    def holds_model(self) -> bool:
        """Whether it loads a model: such steps run in few processes that live long, on GPUs if there are."""

    def setup(self) -> None:
        """Load what the process needs once."""

    def __call__(self, task: FrameTask) -> None:
        """Fill in this step's part of the task."""


def run_steps(steps: Sequence[Step], task: FrameTask) -> FrameTask:
    """Run steps one after another; an exception becomes the task's failure and later steps are left out.

    Two kinds of exceptions escape, since they may not be the frame's fault: errors of the GPU, after which
    the process can do nothing more with it (`is_fatal`), and running out of memory.
    `labelgen.engine.ray.operators` knows what to do with them.
    """
    for step in steps:
        if task.failure is not None or task.skipped:
            break
        begin = time.perf_counter()
        try:
            step(task)
        except MemoryError:
            raise
        except Exception as error:
            if is_fatal(error):
                raise
            task.fail(failure_by(task.frame, step.name, error))
        task.seconds[step.name] = round(time.perf_counter() - begin, 4)
    task.pixels = None
    return task


def is_fatal(error: Exception) -> bool:
    """Whether the process cannot go on after it: its GPU context is lost, or the GPU's memory is full."""
    return type(error).__name__ in ("AcceleratorError", "OutOfMemoryError") or "CUDA error" in str(error)


def build_record(task: FrameTask, store_points: bool) -> FrameRecord:
    """What is stored of a task that went through all steps."""
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
