"""Regions that another model wrote: id maps as SLidR, Seal and UOV store them, with their tables.

Per image ``<name>.png``, an 8- or 16-bit id map; optional beside it ``<name>.json``, a list with a record per
region, and ``<name>.pt``, a table of region features. With tables, id k + 1 is list position k and table row
k + 1, and id 0 is no region (UOV: SAN, CAT-Seg, FC-CLIP); without, every id is a region (SLidR, Seal) unless
``regions.background`` names one that is not. ``<name>`` is the image's path or file name without its ending
(`labelgen.io.paths.file_names`), or its sample_data token where ``regions.names`` points to nuScenes'
``sample_data.json``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from labelgen.core.errors import FrameError, UserError
from labelgen.core.records import NO_REGION
from labelgen.core.text_files import read_json
from labelgen.models.checkpoints import load_plain
from labelgen.models.image_files import ImageFiles
from labelgen.models.info import ModelInfo
from labelgen.regions.base import ImageRegions, Prompts, RegionProposer, regions_of_labels
from labelgen.regions.settings import FileSettings

#: What is read of the folder; other files, and hidden ones such as ``._x.png``, are none of ours.
ENDINGS = (".png", ".json", ".pt")
#: Bytes of an image's list of regions.
_LARGEST = 64 << 20
#: Kinds of pixels of an id map, as Pillow names them.
ID_MODES = ("L", "P", "I;16", "I")


@dataclass(frozen=True)
class StoredRegions:
    """What is stored for one image.

    Attributes:
        labels: (H, W) int32, region of every pixel, 0 .. K - 1, or -1.
        ids: (K,) int32, the id of each region in the map.
        category: (K,) int32, the writer's own class per region, or None.
        feature: (K, D) float32, or None.
    """

    labels: NDArray[np.int32]
    ids: NDArray[np.int32]
    category: NDArray[np.int32] | None = None
    feature: NDArray[np.float32] | None = None


def read_stored(path: Path, size: tuple[int, int], background: int | None = None) -> StoredRegions:
    """Read an id map and what lies beside it.

    Args:
        path: of the PNG.
        size: (height, width) that it must have.
        background: id of pixels in no region; None: as the module says.

    Raises:
        FrameError: a missing or damaged file, another size, or tables that do not fit the map.
    """
    ids = read_id_map(path, size)
    categories = read_categories(path.with_suffix(".json"))
    features = _read_table(path.with_suffix(".pt"))
    tables = categories is not None or features is not None
    if background is None and tables:
        background = 0
    names = np.unique(ids)
    names = names[names != background] if background is not None else names
    if len(names) >= NO_REGION:
        raise FrameError(f"{len(names)} regions; the maximum is {NO_REGION - 1}", path=str(path))
    labels = np.searchsorted(names, ids).astype(np.int32)
    labels[~np.isin(ids, names)] = -1
    category = feature = None
    most = int(names.max(initial=0))
    if categories is not None:
        if most > len(categories):
            raise FrameError(
                f"id {most}, but the list beside it has {len(categories)} regions", path=str(path)
            )
        category = categories[names - 1]
    if features is not None:
        if most >= len(features):
            raise FrameError(f"id {most}, but the table beside it has {len(features)} rows", path=str(path))
        feature = features[names]
    return StoredRegions(labels, names.astype(np.int32), category, feature)


class FileProposer(RegionProposer):
    """Regions from files; nothing is computed."""

    def __init__(self, config: FileSettings) -> None:
        """Look for the folder and read the table of names.

        Raises:
            UserError: they are not there, or cannot be read.
        """
        self.config = config
        self.files = ImageFiles.open(config.folder, config.names, "regions.folder")
        self._info = describe_files(config)

    @property
    def info(self) -> ModelInfo:
        """See `RegionProposer.info`."""
        return self._info

    def propose(self, image: NDArray[np.uint8], prompts: Prompts | None = None) -> ImageRegions:
        """Regions stored for the image that ``prompts.image_path`` names; see `RegionProposer.propose`.

        Raises:
            FrameError: no path, or see `read_stored`.
        """
        if prompts is None or not prompts.image_path:
            raise FrameError("regions.backend=files needs the image's path")
        path = self.files.find(prompts.image_path, (".png",))
        stored = read_stored(path, (image.shape[0], image.shape[1]), self.config.background)
        return regions_of_labels(stored.labels, len(stored.ids))


def describe_files(config: FileSettings) -> ModelInfo:
    """What to record about a folder of id maps.

    Raises:
        UserError: no folder is given, or it holds no PNG.
    """
    files = ImageFiles.open(config.folder, None, "regions.folder")
    return files.describe("files", "id maps", ENDINGS)


def read_id_map(path: Path, size: tuple[int, int]) -> NDArray[np.int32]:
    """(H, W) ids of a PNG of 8 or 16 bits; of a paletted one, the places in its palette.

    Raises:
        FrameError: a missing or damaged file, or another size.
    """
    if not path.is_file():  # nor a pipe, whose content may never end
        raise FrameError("there is no id map for this image", path=str(path))
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if (image.height, image.width) != size:
                raise FrameError(
                    f"the id map is {image.width} x {image.height}, its image {size[1]} x {size[0]}",
                    path=str(path),
                )
            if image.mode not in ID_MODES:
                raise FrameError(
                    f"pixels of kind {image.mode!r}; an id map has one channel of 8 or 16 bits",
                    path=str(path),
                )
            return np.array(image).astype(np.int32)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FrameError(f"cannot be read: {' '.join(str(error).split())[:200]}", path=str(path)) from None


def read_categories(path: Path) -> NDArray[np.int32] | None:
    """(K,) the ``category_id`` of each record of a list of regions; None where there is no such file.

    Raises:
        FrameError: a damaged file, or a record without a whole number there.
    """
    if not path.exists():
        return None
    try:
        records = read_json(path, "list of regions", _LARGEST)
    except UserError as error:
        raise FrameError(str(error)) from None
    if not isinstance(records, list):
        raise FrameError("a list with a record per region is expected", path=str(path))
    return np.array([_category(record, path) for record in records], np.int32)


def _category(record: Any, path: Path) -> int:
    value = record.get("category_id") if isinstance(record, dict) else None
    if not isinstance(value, int) or not -(2**31) <= value < 2**31:
        raise FrameError("a region without a whole number as category_id", path=str(path))
    return value


def _read_table(path: Path) -> NDArray[np.float32] | None:
    """Feature rows by id; of FC-CLIP's two tables the second, as its trainer takes it."""
    if not path.exists():
        return None
    try:
        table = load_plain(path)
    except UserError as error:
        raise FrameError(str(error).removeprefix(f"checkpoint {path} "), path=str(path)) from None
    if isinstance(table, list | tuple) and len(table) == 2:
        table = table[1]
    if not isinstance(table, torch.Tensor) or table.ndim != 2:
        raise FrameError("a table with a row per region is expected", path=str(path))
    if (size := table.numel() * table.element_size()) > path.stat().st_size:
        raise FrameError(f"a table of {list(table.shape)}, {size} bytes, is not in it", path=str(path))
    return table.float().numpy()
