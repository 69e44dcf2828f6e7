"""The words of a run's taxonomy as UOV numbers them, and the one that won each region."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from labelgen.core.taxonomy import Taxonomy
from labelgen.core.taxonomy_source import read_source, words_of
from labelgen.semantics.prompts import Vocabulary

#: The taxonomy with UOV's dictionary, and the order of its 31 groups there: their trainer has a table of the
#: pairs of words that belong together, by number.
_DICTIONARY = "nuscenes16-uov"
_GROUPS = (
    "vehicle.car",
    "vehicle.truck",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.construction",
    "vehicle.motorcycle",
    "vehicle.bicycle",
    "static_object.bicycle_rack",
    "vehicle.trailer",
    "vehicle.emergency.police",
    "vehicle.emergency.ambulance",
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.construction_worker",
    "human.pedestrian.stroller",
    "human.pedestrian.wheelchair",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "animal",
    "movable_object.trafficcone",
    "movable_object.barrier",
    "movable_object.pushable_pullable",
    "movable_object.debris",
    "flat.driveable_surface",
    "flat.sidewalk",
    "flat.terrain",
    "flat.other",
    "static.manmade",
    "static.vegetation",
    "static.other",
    "vehicle.ego",
)


@dataclass(frozen=True)
class Words:
    """Numbered words with their text features.

    Attributes:
        vocabulary: of the taxonomy, each word once.
        row: (W,) the row of `Vocabulary.word_feature` of each number; see `numbered`.
    """

    vocabulary: Vocabulary
    row: NDArray[np.int64]

    @property
    def feature(self) -> NDArray[np.float32]:
        """(W, D) float32, L2-normalised."""
        return self.vocabulary.word_feature[self.row]

    def won(self, feature: NDArray[np.float16], label: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The number of the word of its class that is most similar to each region; of equal ones the first.

        Args:
            feature: (K, D) L2-normalised.
            label: (K,) class ids, none of them 255.

        Returns:
            (K,) numbers, below W.
        """
        cosine = feature.astype(np.float64) @ self.vocabulary.word_feature.astype(np.float64).T
        cosine[label[:, None] != self.vocabulary.word_class] = -np.inf
        numbers: NDArray[np.int64] = self._first[cosine.argmax(axis=1)]
        return numbers

    @cached_property
    def _first(self) -> NDArray[np.int64]:
        """The first number of each row: every row has one."""
        return np.unique(self.row, return_index=True)[1]


def numbered(taxonomy: Taxonomy) -> NDArray[np.int64]:
    """(W,) the place of each of UOV's words among those of a taxonomy, classes first, void last.

    With the words of UOV's dictionary that is its order, doubles included (W = 175); else the taxonomy's.
    """
    words = [word.casefold() for spec in taxonomy.classes for word in spec.words]
    place = {word: row for row, word in enumerate([*words, *map(str.casefold, taxonomy.void)])}
    listed = sorted(words_of(read_source(_DICTIONARY)), key=lambda word: _GROUPS.index(word.category))
    published = [word.text.casefold() for word in listed]
    if set(published) != set(place):
        return np.arange(len(place))
    return np.array([place[word] for word in published])
