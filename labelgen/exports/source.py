"""A run with its plan and its data root: what every export needs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelgen.datasets.nuscenes_tables import Tables, choose_version, read_tables
from labelgen.datasets.paths import file_names, is_safe_id
from labelgen.datasets.roots import Files, clouds, find_root, no_files, read_labelled
from labelgen.errors import UserError
from labelgen.frame import Frame
from labelgen.records import UNLABELLED
from labelgen.shards import Run, StoredFrame, read_plan
from labelgen.taxonomy import Taxonomy


class Source:
    """The labelled frames of a run, with what the data set says of them.

    Args:
        run: open.
        dataroot: where the raw files are; None takes what the plan records.

    Attributes:
        taxonomy: the run's.
        info: of the data set.

    Raises:
        UserError: the run has no plan or no labelled frames, or the data root is not the run's.
    """

    def __init__(self, run: Run, dataroot: Path | None = None) -> None:
        self.run = run
        self.taxonomy = Taxonomy.from_dict(run.info.taxonomy, f"{run.url}/run.json: taxonomy")
        frames, self.info = read_plan(run.store)
        self._planned = {frame.frame_id: frame for frame in frames}
        self._given = dataroot
        if not run.frames:
            raise UserError(f"{run.url} has no labelled frames to export")
        self._find_root(None)

    @cached_property
    def root(self) -> Path:
        """The data root.

        Raises:
            UserError: it is not there.
        """
        return self._find_root(no_files)

    def _find_root(self, needs: Files | None) -> Path:
        frames = list(self._planned.values())
        return find_root(frames, self.info, self._given, self.run.num_points, needs)

    def frames(self) -> Iterator[tuple[Frame, StoredFrame]]:
        """Every labelled frame, by scene and time, with what was stored.

        Raises:
            UserError: the plan lacks a frame, or an id cannot be a file's name.
        """
        for frame_id in self.run.frames:
            frame = self._planned.get(frame_id)
            if frame is None:
                raise UserError(f"frame {frame_id} is not in {self.run.url}/frames.parquet")
            if not is_safe_id(frame_id) or not is_safe_id(frame.scene_id):
                raise UserError(f"frame {frame_id!r} of scene {frame.scene_id!r}: no name for a file")
            yield frame, self.run.frame(frame_id)

    def labels(self, stored: StoredFrame) -> NDArray[np.uint8]:
        """(N,) uint8 class ids, 255 for unlabelled.

        Raises:
            UserError: a label that the taxonomy lacks.
        """
        label = stored.labels.label
        known = label[label != UNLABELLED]
        if len(known) and int(known.max()) >= len(self.taxonomy):
            raise UserError(
                f"frame {stored.frame_id}: label {int(known.max())}; taxonomy {self.taxonomy.name} has "
                f"{len(self.taxonomy)} classes"
            )
        return label

    def xyz(self, frame: Frame, stored: StoredFrame) -> NDArray[np.float32]:
        """(N, 3) float32 metres in the LiDAR frame, from the run or from the raw file.

        Raises:
            UserError: neither has them.
            FrameError: the raw file is missing or damaged, or has another number of points.
        """
        if stored.xyz is not None:
            return stored.xyz
        return read_labelled(self._cloud_root, frame, stored.num_points).xyz

    @cached_property
    def _cloud_root(self) -> Path:
        return self._find_root(clouds)

    def dataset_ids(self) -> NDArray[np.uint8]:
        """(256,) uint8: the data set's own id of each class, one for each; 0 for unlabelled.

        Of a class that stands for several of the data set's categories, the first one is taken.

        Raises:
            UserError: the plan knows no categories, or none of a class.
        """
        table = np.zeros(256, np.uint8)
        for spec in self.taxonomy.classes:
            ids = [self.info.categories[name] for name in spec.source if name in self.info.categories]
            if not ids:
                raise UserError(
                    f"class {spec.name}: the data set's tables name none of {list(spec.source)}; "
                    "the plan needs a data set with label tables"
                )
            table[spec.id] = ids[0]
        if len(set(table[: len(self.taxonomy)].tolist())) != len(self.taxonomy):
            raise UserError(f"taxonomy {self.taxonomy.name}: two classes share a category of the data set")
        return table

    @cached_property
    def tables(self) -> Tables:
        """The data set's nuScenes tables.

        Raises:
            UserError: there are none below the data root.
        """
        return read_tables(self.root / choose_version(self.root, self.info.version))

    @cached_property
    def image_names(self) -> dict[str, str]:
        """{path of an image: what its files are called}: the sample_data token, else see `file_names`."""
        if self.info.version:  # of nuScenes' tables; other data sets have none
            shots = (shot for channels in self.tables.keyframes.values() for shot in channels.values())
            return {shot["filename"]: shot["token"] for shot in shots}
        frames = self._planned.values()
        return file_names(camera.image_path for frame in frames for camera in frame.cameras)
