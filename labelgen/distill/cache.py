"""A run as the trainer sees it: points, truth, and what its frames have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelgen.datasets.info import DatasetInfo
from labelgen.datasets.loading import load_panoptic, load_truth
from labelgen.datasets.roots import clouds, find_root, read_labelled
from labelgen.distill.methods.base import CacheInfo
from labelgen.errors import UserError
from labelgen.frame import Frame
from labelgen.returns import returned
from labelgen.shards import Run, open_run, read_plan
from labelgen.taxonomy import Taxonomy

#: {field of `Batch`: arrays of the run that it is made from}.
SOURCES: dict[str, tuple[str, ...]] = {
    "label": ("points/label",),
    "confidence": ("points/confidence",),
    "instance": ("points/label", "points/instance"),
    "view_point": ("views/point", "views/visible"),
    "view_camera": ("views/camera",),
    "view_uv": ("views/uv",),
    "view_region": ("views/region", "regions/camera"),
    "region_frame": ("regions/camera",),
    "region_camera": ("regions/camera",),
    "region_label": ("regions/label",),
    "region_scores": ("regions/class_scores",),
    "region_feature": ("regions/feature",),
    "caption_feature": ("regions/caption_feature",),
}
#: What a run stores instead of the raw clouds, if it does.
POINTS = frozenset({"points/xyz", "points/intensity"})
#: Fields that can be made from the data set's truth instead.
OF_TRUTH = ("label", "confidence", "instance")
#: What makes an array that a run may lack.
MADE_BY = {
    "regions/caption_feature": "label with captions: `labelgen run --set semantics.captions=blip2`",
}
_LABEL_ANEW = (
    "it holds labels only: train on the run that it was derived from, or label one with `labelgen run`"
)


@dataclass(frozen=True)
class Cache:
    """An open run with its plan.

    Attributes:
        run: the run.
        root: the data root, where raw clouds and truth are.
        plan: {frame id: frame of the plan, without its cameras}, in the plan's order.
        dataset: what holds for the plan.
        taxonomy: of the run.
        given: data root that the user named, or None.
    """

    run: Run
    root: Path
    plan: Mapping[str, Frame]
    dataset: DatasetInfo
    taxonomy: Taxonomy
    given: Path | None = None

    @property
    def info(self) -> CacheInfo:
        """What methods build their heads from."""
        attributes = self.run.frame(self.run.frames[0]).attributes
        text = attributes.get("text_embeddings")
        width = None
        if "regions/feature" in self.run.arrays:
            width = self.run.frame(self.run.frames[0]).layout["regions/feature"][0]
        encoder = attributes.get("text_encoder")
        return CacheInfo(
            taxonomy=self.taxonomy,
            text_embeddings=None if text is None else np.array(text, np.float32),
            feature_width=width,
            vocabulary=partial(_vocabulary, self.run.info.config, encoder, self.taxonomy),
        )

    def check(self, needs: Sequence[str], truth: bool = False) -> tuple[str, ...]:
        """Arrays that a method's fields are made from.

        Args:
            needs: fields of `Batch`.
            truth: whether labels are to be the data set's instead of the run's.

        Raises:
            UserError: the run stores one not, or the data set has no truth; says what makes it.
        """
        wanted = [field for field in needs if not (truth and field in OF_TRUTH)]
        arrays = dict.fromkeys(array for field in wanted for array in SOURCES[field])
        for array in arrays:
            if array not in self.run.arrays:
                raise UserError(f"{self.run.url} does not store {array}; {MADE_BY.get(array, _LABEL_ANEW)}")
        if truth and not self.dataset.categories:
            raise UserError(f"data set {self.dataset.dataset} of {self.run.url} has no truth to train on")
        return tuple(arrays)

    def cloud(self, frame_id: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(N, 3) metres and (N,) intensity as stored: of the run where it stores points, else the raw file.

        Points that are no return are NaN, whatever stands for them in the file: a network never sees them.

        Raises:
            FrameError: the raw file is missing or damaged, or has another number of points than the run.
        """
        stored = self.run.frame(frame_id)
        if stored.xyz is not None and stored.intensity is not None:
            return _returns(stored.xyz), stored.intensity
        cloud = read_labelled(self.root, self.frame(frame_id), stored.num_points)
        return _returns(cloud.xyz), cloud.intensity

    def truth(self, frame_id: str) -> NDArray[np.uint8]:
        """(N,) true class ids, 255 for what no class claims.

        Raises:
            FrameError: there is none, or it is damaged.
            UserError: the data set's categories do not fit the taxonomy.
        """
        table = self.taxonomy.train_id_table(self.dataset.categories)
        return load_truth(self.root, self.frame(frame_id), table, self.run.entry(frame_id).num_points)

    def true_objects(self, frame_id: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """True class ids and instances of all points, see `labelgen.datasets.load_panoptic`.

        Raises:
            FrameError: there are none, or they are damaged.
            UserError: the data set's categories do not fit the taxonomy.
        """
        table = self.taxonomy.train_id_table(self.dataset.categories)
        return load_panoptic(self.root, self.frame(frame_id), table, self.run.entry(frame_id).num_points)

    def frame(self, frame_id: str) -> Frame:
        """Of the plan.

        Raises:
            UserError: the plan lacks it.
        """
        if frame_id not in self.plan:
            raise UserError(
                f"{self.run.url}/frames.parquet lacks frame {frame_id}; running the same job again rewrites "
                "that file"
            )
        return self.plan[frame_id]


def open_cache(path: Run | str | Path, dataroot: Path | None = None) -> Cache:
    """Open a run for training.

    Args:
        path: an open run, its folder or its address.
        dataroot: where the raw files are now; None takes what the plan records.

    Raises:
        UserError: no run there, no frames in it, its taxonomy is damaged, or the data root is not the run's,
            or is gone where the run stores no points.
    """
    run = path if isinstance(path, Run) else open_run(path)
    if not run.frames:
        raise UserError(f"{run.url} has no labelled frames; `labelgen inspect --errors` says why")
    frames, dataset = read_plan(run.store)
    taxonomy = Taxonomy.from_dict(run.info.taxonomy, f"{run.url}/run.json: taxonomy")
    needs = None if run.arrays >= POINTS else clouds
    root = find_root(frames, dataset, dataroot, run.num_points, needs)
    plan = {frame.frame_id: replace(frame, cameras=()) for frame in frames}
    return Cache(run, root, plan, dataset, taxonomy, dataroot)


def _returns(xyz: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.where(returned(xyz)[:, None], xyz, np.float32(np.nan))


def _vocabulary(config: dict[str, Any], encoder: Any, taxonomy: Taxonomy) -> Any:
    from labelgen.distill.vocabulary import load_vocabulary

    return load_vocabulary(config.get("semantics", {}), encoder, taxonomy)
