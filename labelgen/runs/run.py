"""The one door to a run: its shards, its plan and the raw files that it was labelled from."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from labelgen.datasets.info import DatasetInfo
from labelgen.datasets.loading import load_panoptic, load_truth
from labelgen.datasets.roots import Files, clouds, find_root, images, read_labelled, truth
from labelgen.core.errors import FrameError, UserError
from labelgen.core.frame import Frame, PointCloud
from labelgen.shards import FrameEntry, StoredFrame, StoredRun, read_plan
from labelgen.shards.frames import Layers
from labelgen.shards.names import PLAN, RUN_JSON
from labelgen.io.store import Store
from labelgen.core.taxonomy import Taxonomy

if TYPE_CHECKING:
    from labelgen.config import RunConfig

_T = TypeVar("_T")
#: Arrays that a run stores instead of the raw clouds, if it does.
POINTS = frozenset({"points/xyz", "points/intensity"})
#: Operations after which the labels still are what the stored views and regions vote for.
_VOTES = ("revote", "relabelled", "retrieval")


class Run(StoredRun):
    """A run, with its plan and its data root, each read when it is first asked for; see `open_run`.

    Args:
        path: folder of the run, or its address.
        dataroot: where the raw files are, already checked (by `open_run`); None takes what
            the plan records.

    Attributes:
        given: the data root that was passed in, or None.
        parent: the run that this one is derived from, with the same data root, or None.
    """

    parent: Run | None

    def __init__(
        self, path: Path | str | Store, dataroot: Path | None = None, laid_over: tuple[Path, ...] = ()
    ) -> None:
        self.given = None if dataroot is None else Path(dataroot)
        self._found: set[Files] = set()
        super().__init__(path, laid_over)

    def _beside(self, store: Store, laid_over: tuple[Path, ...]) -> Run:
        return Run(store, self.given, laid_over)

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """Of the labels.

        Raises:
            UserError: ``run.json`` holds none.
        """
        return Taxonomy.from_dict(self.info.taxonomy, f"{self.url}/{RUN_JSON}: taxonomy")

    @property
    def settings(self) -> RunConfig:
        """What the run, or the one that it is derived from, was labelled with.

        Raises:
            UserError: a setting that this version does not know (names the field), or a package is missing.
        """
        from labelgen.config import recorded_config

        config = {name: value for name, value in self.info.config.items() if name != "derived"}
        return recorded_config(config, self.info.models, f"{self.url}/{RUN_JSON}: config")

    @property
    def plan(self) -> dict[str, Frame]:
        """{frame id: what the data set says of it}, in the plan's order; failed frames and others included.

        Raises:
            UserError: the run has no plan, or it is damaged.
        """
        return self._plan[0]

    @property
    def dataset(self) -> DatasetInfo:
        """What holds for all frames of the plan.

        Raises:
            UserError: as `plan`.
        """
        return self._plan[1]

    @cached_property
    def _plan(self) -> tuple[dict[str, Frame], DatasetInfo]:
        frames, info = read_plan(self.store)
        return {frame.frame_id: frame for frame in frames}, info

    def planned(self, frame_id: str) -> Frame:
        """What the data set says of a frame.

        Raises:
            UserError: the plan lacks it, or as `plan`.
        """
        if frame_id not in self.plan:
            raise UserError(
                f"{self.url}/{PLAN} lacks frame {frame_id}; running the same job again rewrites that file"
            )
        return self.plan[frame_id]

    @property
    def root(self) -> Path:
        """The data root: where raw files are looked for. One that was not passed in may be missing: see `need`."""
        return (Path(self.dataset.dataroot) if self.given is None else self.given).absolute()

    def need(self, files: Files) -> Path:
        """The data root, after checking that it holds files of a kind, such as `labelgen.datasets.roots.clouds`.

        Raises:
            UserError: it is missing, holds none of them, or belongs to other data; or as `plan`.
        """
        if files not in self._found:
            frames = list(self.plan.values())
            having = [frame for frame in frames if any(files(frame))]
            find_root(having or frames, self.dataset, self.given, self.num_points, files)
            self._found.add(files)
        return self.root

    def frame(self, frame_id: str) -> RunFrame:
        """One labelled frame, whose fields are read when they are asked for.

        Raises:
            UserError: the run has no such frame, or it failed.
        """
        return RunFrame(self, *self._parts(frame_id))

    @property
    def operation(self) -> str:
        """Name of the operation that made a derived run; empty for a run that was labelled itself."""
        return "" if self.parent is None else str(self.info.config.get("derived", {}).get("operation"))

    @property
    def voted(self) -> bool:
        """Whether the labels are what the views and regions vote for: nothing has fused them since.

        Labels that another tool made were not voted for.
        """
        if self.parent is None:
            return "imported" not in self.info.config
        return self.operation in _VOTES and self.parent.voted

    def check_labelled(self) -> None:
        """Refuse a run without labelled frames.

        Raises:
            UserError: there are none.
        """
        if not self.frames:
            raise UserError(f"{self.url} has no labelled frames; `labelgen inspect --errors` says why")

    def without_cameras(self) -> Run:
        """The same run with a plan without cameras, most of its memory: for workers of a trainer."""
        lean = copy.copy(self)
        frames = {frame_id: replace(frame, cameras=()) for frame_id, frame in self.plan.items()}
        lean._plan = frames, self.dataset
        return lean


class RunFrame(StoredFrame):
    """One labelled frame: what is stored, what the data set says of it, and its raw files.

    Raw files raise `FrameError` where one of them is missing or damaged, and `UserError` where the data root
    as a whole is wrong; the plan raises `UserError`.

    Attributes:
        run: the run that it belongs to.
    """

    def __init__(self, run: Run, entry: FrameEntry, layers: Layers, apart: Layers = ()) -> None:
        super().__init__(entry, layers, apart)
        self.run = run

    @property
    def planned(self) -> Frame:
        """What the data set says of it: pose, cameras, paths of its files."""
        return self.run.planned(self.frame_id)

    @cached_property
    def xyz(self) -> NDArray[np.float32]:
        """(N, 3) float32 metres in the LiDAR frame, from the run or from the raw file."""
        stored = self._cloud_array("xyz")
        return self._cloud.xyz if stored is None else stored

    @cached_property
    def intensity(self) -> NDArray[np.float32]:
        """(N,) float32 as the data set has it, from the run or from the raw file."""
        stored = self._cloud_array("intensity")
        return self._cloud.intensity if stored is None else stored

    @cached_property
    def _cloud(self) -> PointCloud:
        return self._raw(clouds, lambda root: read_labelled(root, self.planned, self.num_points))

    def image(self, camera: str | int) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB of a camera, by its name or its number among ``planned.cameras``.

        Raises:
            ValueError: there is no such camera.
        """
        from labelgen.datasets.images import load_image  # Pillow: who reads labels does not wait for it

        cameras = self.planned.cameras
        names = [one.name for one in cameras]
        number = names.index(camera) if isinstance(camera, str) and camera in names else camera
        if not isinstance(number, int) or not 0 <= number < len(cameras):
            raise ValueError(f"frame {self.frame_id} has no camera {camera!r}; choose from {', '.join(names)}")
        return self._raw(images, lambda root: load_image(root, cameras[number], self.frame_id)[0])

    @property
    def has_truth(self) -> bool:
        """Whether the data set names true labels for the frame."""
        return bool(self.run.dataset.categories) and self.planned.label_path is not None

    @cached_property
    def truth(self) -> NDArray[np.uint8]:
        """(N,) uint8 true class ids, 255 for what no class claims; `FrameError` where there are none."""
        table = self._table
        return self._raw(truth, lambda root: load_truth(root, self.planned, table, self.num_points))

    @cached_property
    def objects(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """True class ids and instances of all points, see `labelgen.datasets.load_panoptic`."""
        table = self._table
        return self._raw(truth, lambda root: load_panoptic(root, self.planned, table, self.num_points))

    @property
    def _table(self) -> NDArray[np.uint8]:
        return self.run.taxonomy.train_id_table(self.run.dataset.categories)

    def _raw(self, files: Files, read: Callable[[Path], _T]) -> _T:
        try:
            return read(self.run.root)
        except FrameError:
            if any(files(self.planned)):  # what is wrong with all files is not this one's fault
                self.run.need(files)
            raise


def open_run(path: Path | str | Store, dataroot: Path | str | None = None) -> Run:
    """Open a run.

    Only manifests are read; shards, the plan and raw files are opened when something of them is asked for.
    Frames that are published later need a new call.

    Args:
        path: folder of the run, or its address: ``s3://bucket/folder``, ``gs://bucket/folder``. What is
            read of a remote run is kept in a local cache (see `labelgen.io.remote`).
        dataroot: where the raw files are now, checked at once. None takes what the plan records,
            which is checked when it is first needed.

    Raises:
        UserError: no run there, written by a later version, something in it is damaged (names file and
            field), or the data root is not the run's.
    """
    run = Run(path, None if dataroot is None else Path(dataroot))
    if dataroot is not None:
        find_root(list(run.plan.values()), run.dataset, run.given, run.num_points)
    return run
