"""A run together with the raw data that it came from: pictures, scores and the report need both."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labelgen.datasets.images import load_image
from labelgen.datasets.loading import load_truth
from labelgen.datasets.roots import Files, find_root, read_labelled, truth
from labelgen.distill.classes import load_class_split
from labelgen.errors import FrameError, UserError
from labelgen.frame import Frame, PointCloud
from labelgen.inspection.markup import Html
from labelgen.inspection.overlay import draw_frame
from labelgen.inspection.report import Picture, write_report
from labelgen.inspection.scatter import scatter_html
from labelgen.inspection.worst import worst_frames
from labelgen.metrics import Details, evaluate_run
from labelgen.records import PointLabels
from labelgen.shards import Run, read_plan
from labelgen.shards.place import put_file
from labelgen.taxonomy import Taxonomy

#: Pixels; a picture then weighs about 0.5 MB in the page.
_REPORT_WIDTH = 1800


class RunSources:
    """The frames of a run with the raw files that they came from.

    Args:
        run: an open run.
        dataroot: where the raw files are; None takes what the run's ``frames.parquet`` records.

    Attributes:
        taxonomy: the run's.
        dataroot: where raw files are looked for; they may not be there.

    Raises:
        UserError: the run's ``frames.parquet`` is missing or damaged, or ``dataroot`` is not the run's.
    """

    def __init__(self, run: Run, dataroot: Path | None = None) -> None:
        self.run = run
        self.taxonomy = Taxonomy.from_dict(run.info.taxonomy, f"{run.url}/run.json: taxonomy")
        frames, self._info = read_plan(run.store)
        self._frames = {frame.frame_id: frame for frame in frames}
        self._given = dataroot
        self.dataroot = self._find_root(frames)

    def _find_root(self, frames: Sequence[Frame], needs: Files | None = None) -> Path:
        return find_root(frames, self._info, self._given, self.run.num_points, needs)

    def frame(self, frame_id: str) -> Frame:
        """What the data set says of a frame.

        Raises:
            UserError: the run's plan does not name it.
        """
        if frame_id not in self._frames:
            raise UserError(
                f"frame {frame_id} is not in {self.run.url}/frames.parquet; "
                "running the same job again rewrites that file"
            )
        return self._frames[frame_id]

    def xyz(self, frame_id: str) -> NDArray[np.float32]:
        """(N, 3) float32 metres in the LiDAR frame, from the run where it stores points, else the raw file.

        Raises:
            FrameError: the raw file cannot be read, or is not the one that was labelled.
        """
        stored = self.run.frame(frame_id).xyz
        return self._cloud(self.frame(frame_id)).xyz if stored is None else stored

    def truth(self, frame_id: str) -> NDArray[np.uint8] | None:
        """(N,) uint8 class ids, 255 = not labelled; None where the data set has no truth for the frame.

        Raises:
            FrameError: the truth is named, but cannot be read.
            UserError: the data set's categories do not fit the taxonomy.
        """
        frame = self.frame(frame_id)
        if frame.label_path is None or not self._info.categories:
            return None
        table = self.taxonomy.train_id_table(self._info.categories)
        return load_truth(self.dataroot, frame, table, self.run.entry(frame_id).num_points)

    @property
    def has_truth(self) -> bool:
        """Whether the data set names truth for any of the run's frames."""
        return bool(self._info.categories) and any(f.label_path is not None for f in self._outcomes())

    def evaluate(self, classes: str | None = None) -> dict[str, Any]:
        """Score all frames that were labelled or failed; see `labelgen.metrics.evaluate_run`.

        Args:
            classes: name or file of a split into base and novel classes, see
                `labelgen.distill.classes.load_class_split`; the result then has ``split`` {"name", "base",
                "novel"}, too, with names of classes.

        Raises:
            UserError: there is no truth, it is not below the data root, or it does not fit.
        """
        if self.has_truth:
            self._find_root([frame for frame in self._outcomes() if frame.label_path], truth)
        split = None if classes is None else load_class_split(classes, self.taxonomy)

        def labels_of(frame_id: str) -> PointLabels | None:
            return self.run.frame(frame_id).labels if frame_id in self.run else None

        def details_of(frame_id: str) -> Details:
            stored = self.run.frame(frame_id)
            in_image = np.zeros(stored.num_points, np.bool_)
            in_image[stored.array("views/point")] = True
            xyz = stored.xyz
            if xyz is None:
                try:
                    xyz = self._cloud(self.frame(frame_id)).xyz
                except FrameError:  # scores by range are left out
                    xyz = None
            return Details(xyz, in_image)

        try:
            result = evaluate_run(
                self._outcomes(), self._info, self.dataroot, labels_of, self.taxonomy, details_of,
                None if split is None else split.novel,
            )  # fmt: skip
        except FrameError as error:
            raise UserError(f"{error} (looked below {self.dataroot}; --dataroot names another)") from error
        if split is not None:
            names = self.taxonomy.names
            parts = {"base": [names[k] for k in split.base], "novel": [names[k] for k in split.novel]}
            result["split"] = {"name": split.name, **parts}
        return result

    def steps(self, classes: str | None = None) -> list[tuple[str, dict[str, Any]]]:
        """Name and scores of the run that this one comes from, step by step, and of this one at the end.

        Args:
            classes: as for `evaluate`.

        Raises:
            UserError: as `evaluate`.
        """
        before: list[tuple[str, dict[str, Any]]] = []
        if self.run.parent is not None:
            before = RunSources(self.run.parent, self._given).steps(classes)
        return [*before, (self.run.name, self.evaluate(classes))]

    def _outcomes(self) -> list[Frame]:
        """Frames that the run is done with."""
        run = self.run
        return [f for f in self._frames.values() if f.frame_id in run or f.frame_id in run.failures]

    def picture(self, frame_id: str, width: int = 2400) -> tuple[NDArray[np.uint8], list[str]]:
        """Draw a frame with whatever of its raw files can be read.

        Returns:
            (H, width, 3) uint8 RGB, and one line for each thing that had to be left out.

        Raises:
            UserError: the run has no such frame, or its shard is damaged.
        """
        frame, record = self.frame(frame_id), self.run.frame(frame_id).record()
        cloud: PointCloud | None = None
        truth: NDArray[np.uint8] | None = None
        images: list[NDArray[np.uint8] | None] = [None] * len(frame.cameras)
        missing: list[str] = []
        if not self.dataroot.is_dir():
            missing.append(
                f"images and points: the data root {self.dataroot} is not there; --dataroot names another"
            )
        else:
            for k, camera in enumerate(frame.cameras):
                try:
                    images[k] = load_image(self.dataroot, camera, frame_id)[0]
                except FrameError as error:
                    missing.append(str(error))
            try:
                cloud = self._cloud(frame)
                truth = self.truth(frame_id)
            except FrameError as error:
                missing.append(str(error))
        try:
            return draw_frame(frame, cloud, images, record, self.taxonomy, truth=truth, width=width), missing
        except ValueError as error:  # a shard that says what cannot be, such as a broken run-length code
            raise UserError(f"frame {frame_id} cannot be drawn: {' '.join(str(error).split())}") from error

    def save_picture(self, frame_id: str, path: Path | str, width: int = 2400) -> list[str]:
        """Draw a frame and write it as PNG, at a path or an address; the folder is made if it is missing.

        Returns:
            One line for each thing that had to be left out.

        Raises:
            UserError: as `picture`, or the file cannot be written.
        """
        picture, missing = self.picture(frame_id, width)
        try:
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "PNG", compress_level=4)
            put_file(path, buffer.getvalue())
        except OSError as error:
            raise UserError(f"cannot write the picture {path}: {error.strerror or error}") from error
        return missing

    def worst(self, count: int) -> list[dict[str, Any]]:
        """The frames with the lowest mIoU, or where there is no truth the lowest confidence.

        See `labelgen.inspection.worst.worst_frames`.
        """
        truth_of = self.truth if self.has_truth and self.dataroot.is_dir() else None
        return worst_frames(self.run, self.taxonomy.names, count, truth_of)

    def save_report(
        self,
        out_dir: Path | str,
        pictures: int = 6,
        steps: Sequence[tuple[str, Mapping[str, Any]]] = (),
        classes: str | None = None,
    ) -> tuple[str, list[str]]:
        """Write ``out_dir/index.html`` with scores where there is truth and with some frames drawn.

        Args:
            out_dir: a folder, made if it is missing, or an address.
            pictures: how many frames: the worst of the run. The first can be turned in space.
            steps: of `steps`, if they are known already.
            classes: as for `evaluate`.

        Returns:
            The page, and one line for each thing that had to be left out.

        Raises:
            UserError: a shard is damaged, the folder cannot be written, or no such classes.
        """
        if classes is not None:
            load_class_split(classes, self.taxonomy)  # what is wrong with it is no missing score
        missing: list[str] = []
        worst = self.worst(pictures)
        try:
            if not steps and self.has_truth:
                steps = self.steps(classes)
        except UserError as error:
            missing.append(f"scores: {error}")

        def drawn() -> Iterator[Picture]:
            for found in worst:
                frame_id = found["frame_id"]
                entry = self.run.entry(frame_id)
                picture, absent = self.picture(frame_id, _REPORT_WIDTH)
                missing.extend(absent)
                share = (
                    f"{entry.labelled / max(entry.num_points, 1):.1%} of {entry.num_points:,} points labelled"
                )
                score = f"{'mIoU' if found['by'] == 'miou' else 'mean confidence'} {found['score']:.3f}"
                yield f"frame {frame_id}, scene {entry.scene_id}: {score}, {share}", picture

        scatter = self._scatter(worst[0]["frame_id"], missing) if worst else None
        return write_report(self.run, out_dir, drawn(), steps, scatter), missing

    def _scatter(self, frame_id: str, missing: list[str]) -> Html | None:
        """The frame in space, if its points can be had."""
        labels = self.run.frame(frame_id).labels
        values = {"label": labels.label, "confidence": labels.confidence}
        try:
            xyz = self.xyz(frame_id)
            truth = self.truth(frame_id) if self.dataroot.is_dir() else None
        except (FrameError, UserError) as error:
            missing.append(str(error))
            return None
        if truth is not None:
            values["truth"] = truth
        return scatter_html(f"frame {frame_id}", xyz, values, self.taxonomy)

    def _cloud(self, frame: Frame) -> PointCloud:
        return read_labelled(self.dataroot, frame, self.run.entry(frame.frame_id).num_points)
