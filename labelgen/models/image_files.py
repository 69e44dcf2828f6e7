"""Files of another model about images, found by the images' names: id maps, class maps, scores."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labelgen.core.errors import FrameError, UserError
from labelgen.datasets.nuscenes_tables import read_json
from labelgen.io.paths import whole_name
from labelgen.models.info import ModelInfo


@dataclass(frozen=True)
class ImageFiles:
    """A folder with files about images.

    The file of the image ``a/b/c.jpg`` is ``a_b_c``, ``a/b/c`` or ``c`` with one of the endings; where a
    table of nuScenes names the images, it is the image's sample_data token.

    Attributes:
        folder: of the files.
        tokens: {image path: name}, from nuScenes' ``sample_data.json``; None without such a table.
        table: path of that, for messages.
    """

    folder: Path
    tokens: dict[str, str] | None = field(default=None, repr=False)
    table: str = ""

    @classmethod
    def open(cls, folder: str | None, names: str | None, setting: str) -> ImageFiles:
        """Look for the folder and read the table of names.

        Args:
            folder: of the files.
            names: ``sample_data.json``, if the files are named by its tokens.
            setting: that names the folder, such as ``regions.folder``, for messages.

        Raises:
            UserError: they are missing, or cannot be read.
        """
        if folder is None:
            raise UserError(f"{setting} is missing: the folder with the files")
        if not Path(folder).is_dir():
            raise UserError(f"{setting} {folder} is not a folder")
        return cls(Path(folder), None if names is None else _read_names(Path(names)), names or "")

    def find(self, image_path: str, endings: Sequence[str]) -> Path:
        """The file of an image, with the first of the endings that there is.

        Returns:
            Where none is there, the path at which the last one was looked for.

        Raises:
            FrameError: the table of names does not name the image.
        """
        names = [whole_name(image_path), str(Path(image_path).with_suffix("")), Path(image_path).stem]
        if self.tokens is not None:
            if image_path not in self.tokens:
                raise FrameError(f"{self.table} does not name it", path=image_path)
            names = [Path(self.tokens[image_path]).name]
        found = [self.folder / f"{name}{ending}" for name in names for ending in endings]
        return next((path for path in found if path.is_file()), found[-1])  # no pipe, which may never end

    def describe(self, kind: str, what: str, endings: Sequence[str], more: bytes = b"") -> ModelInfo:
        """What to record about the folder; the hash covers names, sizes and times of its files.

        Args:
            kind: first part of the name.
            what: the files hold, in the plural.
            endings: of the files that count; hidden ones such as ``._x.png`` do not.
            more: content that the hash covers, too.

        Raises:
            UserError: it holds no such file.
        """
        digest, count = hashlib.blake2b(more, digest_size=16), 0
        for path in sorted(self.folder.rglob("[!.]*")):
            if path.suffix in endings:
                state = path.stat()
                name = path.relative_to(self.folder)
                digest.update(f"{name}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
                count += path.suffix not in (".json", ".pt")
        if not count:
            raise UserError(f"{self.folder} holds no {' and no '.join(f'*{ending}' for ending in endings)}")
        licence = "of the model that wrote them"
        return ModelInfo(f"{kind}:{self.folder.name}", f"{count} {what}", licence, digest.hexdigest())


def _read_names(path: Path) -> dict[str, str]:
    """{image path: token} from nuScenes' table.

    Raises:
        UserError: the file cannot be read, or is not that table.
    """
    records = read_json(path)
    try:
        if not isinstance(records, list):
            raise TypeError("a list is expected")
        return {str(record["filename"]): str(record["token"]) for record in records}
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is not nuScenes' sample_data.json ({error!r})") from error
