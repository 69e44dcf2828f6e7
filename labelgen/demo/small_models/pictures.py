"""Pictures of training cities with their truth, rendered once and kept on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelgen.demo.world import CAMERA_NAMES, City, describe, render_view

#: Size of the stored pictures (width, height), half of the cameras' own.
PICTURE_SIZE = (800, 450)


@dataclass(frozen=True)
class ObjectWords:
    """What can be said about one object; see `labelgen.demo.world.Description`."""

    object_id: int
    category: str
    noun: str
    synonyms: tuple[str, ...]
    colour: str
    place: str = ""
    action: str = ""


@dataclass(frozen=True)
class Picture:
    """One rendered view.

    Attributes:
        rgb: (H, W, 3) uint8.
        objects: (H, W) uint16, object of every pixel, 0 for sky.
        words: {object: what can be said about it}, without the sky.
    """

    rgb: NDArray[np.uint8]
    objects: NDArray[np.uint16]
    words: dict[int, ObjectWords]


def words_of(city: City, object_id: int) -> ObjectWords:
    """What can be said about an object of a city."""
    said = describe(city, object_id)
    return ObjectWords(
        object_id, said.category, said.noun, said.synonyms, said.colour, said.place, said.action
    )


class PictureStore:
    """``count`` pictures, rendered when first asked for and kept in a folder if there is one.

    Picture n shows city ``first_seed + n // PER_CITY``; ``size`` is (width, height).
    """

    PER_CITY = 3

    def __init__(
        self, folder: Path | None, first_seed: int, count: int, size: tuple[int, int] = PICTURE_SIZE
    ) -> None:
        self.folder, self.first_seed, self.count, self.size = folder, first_seed, count, size
        self._city: City | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Picture:
        if self.folder is None:
            return self._render(number)
        path = self.folder / f"{self.first_seed + number // self.PER_CITY:06d}-{number % self.PER_CITY}.npz"
        if not path.is_file():
            self._save(self._render(number), path)
        with np.load(path, allow_pickle=False) as content:
            words = [ObjectWords(**entry) for entry in json.loads(content["words"].tobytes())]
            return Picture(content["rgb"], content["objects"], {entry.object_id: entry for entry in words})

    def fill(self, advance: Callable[[], None] = lambda: None) -> None:
        """Render all that is missing; ``advance`` is called once per picture."""
        for number in range(self.count):
            self[number]
            advance()

    def _render(self, number: int) -> Picture:
        seed, turn = self.first_seed + number // self.PER_CITY, number % self.PER_CITY
        if self._city is None or self._city.seed != seed:
            self._city = City(seed)
        rng = np.random.default_rng([seed, turn])
        camera = CAMERA_NAMES[(seed + 2 * turn) % len(CAMERA_NAMES)]
        view = render_view(self._city, float(rng.uniform(0, 15)), camera, self.size)
        keys = np.unique(view.object_id[view.object_id > 0]).tolist()
        words = {key: words_of(self._city, key) for key in keys}
        return Picture(view.rgb, view.object_id, words)

    def _save(self, picture: Picture, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        words = json.dumps([asdict(entry) for entry in picture.words.values()]).encode()
        part = path.with_name(path.stem + ".part.npz")
        np.savez(part, rgb=picture.rgb, objects=picture.objects, words=np.frombuffer(words, np.uint8))
        os.replace(part, path)
