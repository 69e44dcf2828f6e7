"""What the simulated city knows beyond a nuScenes data root: objects and classes of pixels, who sees what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labelgen.core.errors import UserError
from labelgen.core.frame import Frame
from labelgen.core.records import UNLABELLED
from labelgen.core.taxonomy import Taxonomy
from labelgen.datasets.info import DatasetInfo
from labelgen.datasets.loading import MOST_POINTS
from labelgen.datasets.nuscenes_tables import read_json
from labelgen.demo.world.rig import CAMERA_NAMES
from labelgen.demo.world.visibility import SEEN
from labelgen.io.bounded import read_npz


@dataclass(frozen=True)
class FrameTruth:
    """Truth of one frame, in the order of its cameras.

    Attributes:
        objects: per camera (H, W) object of every pixel.
        classes: per camera (H, W) class of every pixel, 255 for none.
        seen: (N, cameras) bool, whether a camera truly sees a point.
    """

    objects: list[NDArray[np.int64]]
    classes: list[NDArray[np.int64]]
    seen: NDArray[np.bool_]


class CityTruth:
    """The ``truth`` folder of a simulated city; see docs/world.md.

    Args:
        root: the city's data root.
        info: of the data set.
        taxonomy: whose classes pixels are given.

    Raises:
        UserError: there is no such folder, or the data root's tables cannot be read.
    """

    def __init__(self, root: Path, info: DatasetInfo, taxonomy: Taxonomy) -> None:
        if not (root / "truth").is_dir():
            raise UserError(
                f"{root} does not know the truth of every pixel; only a simulated city does "
                "(`labelgen world build`)"
            )
        self._root = root
        self._classes = np.full(256, UNLABELLED, np.int64)  # sky has no category, and no class
        table = taxonomy.train_id_table(info.categories)
        self._classes[: len(table)] = table
        path = root / info.version / "sample_data.json"
        try:
            # Its files are named by token, those of the data root are not.
            self._tokens = {row["filename"]: row["token"] for row in read_json(path)}
        except (KeyError, TypeError) as error:
            raise UserError(f"cannot read {path}: {error}") from error

    def frame(self, frame: Frame) -> FrameTruth:
        """Truth of one frame.

        Raises:
            UserError: a file is missing or damaged.
        """
        try:
            path = self._root / "truth" / "visibility" / f"{self._tokens[frame.lidar_path]}.npz"
            bits = read_npz(path.read_bytes(), "bits", len(CAMERA_NAMES) * MOST_POINTS)
            columns = [CAMERA_NAMES.index(camera.name) for camera in frame.cameras]
            return FrameTruth(
                objects=[self._pixels("object", camera) for camera in frame.cameras],
                classes=[self._classes[self._pixels("category", camera)] for camera in frame.cameras],
                seen=(bits[:, columns] & SEEN) > 0,
            )
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise UserError(f"truth of frame {frame.frame_id} below {self._root}: {error}") from error

    def _pixels(self, kind: str, camera: Any) -> NDArray[np.int64]:
        path = self._root / "truth" / kind / camera.name / f"{self._tokens[camera.image_path]}.png"
        with Image.open(path, formats=["PNG"]) as picture:
            if picture.size != (camera.width, camera.height):
                raise ValueError(f"{path} is {picture.size}, the image {camera.width} x {camera.height}")
            return np.asarray(picture).astype(np.int64)
