"""From open words to class scores: text features of a taxonomy, and the softmax over classes and void."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelgen.records import UNLABELLED
from labelgen.semantics.base import TextEncoder
from labelgen.taxonomy import Taxonomy


@dataclass(frozen=True)
class Vocabulary:
    """Text features of a taxonomy's words.

    Attributes:
        classes: C, number of classes.
        word_feature: (W, D) float32, L2-normalised mean over the templates.
        word_class: (W,) int32, ascending; C for void words.
    """

    classes: int
    word_feature: NDArray[np.float32]
    word_class: NDArray[np.int32]

    def class_embedding(self) -> NDArray[np.float32]:
        """(C, D) float32, L2-normalised mean of each class's words."""
        means = [self.word_feature[self.word_class == c].mean(axis=0) for c in range(self.classes)]
        return normalise(np.stack(means))

    def score(
        self, feature: NDArray[np.float16], temperature: float
    ) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
        """Class probabilities and labels of image features.

        The logit of a class is the cosine with the best of its words, over the temperature (as in
        Radford et al. 2021, section 3.1, with the best word in place of the mean). All void words make
        up one more competitor; its probability is what the scores miss to 1.

        Scores depend on nothing but the stored float16 features, so that they can be computed again.

        Args:
            feature: (K, D) float16, L2-normalised.
            temperature: of the softmax.

        Returns:
            (K, C) float16 probabilities and (K,) uint8 labels, 255 where void wins. A feature of zeros, a
            region without pixels, has probabilities of 0 and no label.
        """
        # In float64, since a float32 product differs in its last bit with the number of BLAS threads; and
        # with it, now and then, the float16 that is stored.
        cosine = feature.astype(np.float64) @ self.word_feature.astype(np.float64).T
        best = class_logits(cosine, self.word_class) / temperature
        weight = np.exp(best - best.max(axis=1, keepdims=True))
        probability = weight / weight.sum(axis=1, keepdims=True)
        label = best.argmax(axis=1)
        nothing = ~feature.any(axis=1)
        probability[nothing] = 0
        label[(label >= self.classes) | nothing] = UNLABELLED
        return probability[:, : self.classes].astype(np.float16), label.astype(np.uint8)


def class_logits(word_score: NDArray[np.float64], word_class: NDArray[np.int32]) -> NDArray[np.float64]:
    """(K, W) scores of words to (K, classes) maxima; ``word_class`` is ascending and has no gaps."""
    begin = np.flatnonzero(np.diff(word_class, prepend=-1))
    logits: NDArray[np.float64] = np.maximum.reduceat(word_score, begin, axis=1)
    return logits


def build_vocabulary(encoder: TextEncoder, taxonomy: Taxonomy) -> Vocabulary:
    """Encode all words of a taxonomy with all its templates.

    A word's feature is the normalised mean of its prompts' normalised features (Radford et al. 2021,
    section 3.1.4, "prompt ensembling").
    """
    groups = [spec.words for spec in taxonomy.classes] + ([taxonomy.void] if taxonomy.void else [])
    words = [word for group in groups for word in group]
    prompts = [template.replace("{}", word) for word in words for template in taxonomy.templates]
    feature = encoder.embed(prompts).reshape(len(words), len(taxonomy.templates), -1)
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    return Vocabulary(len(taxonomy), normalise(feature.mean(axis=1)), owner.astype(np.int32))


def normalise(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to length 1; a row of zeros stays."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    unit: NDArray[np.float32] = (rows / np.maximum(length, 1e-12)).astype(np.float32)
    return unit
