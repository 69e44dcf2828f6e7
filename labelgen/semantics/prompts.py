"""From open words to class scores: text features of a taxonomy, and the softmax over classes and void."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from labelgen.core.precision import largest_bits
from labelgen.core.records import UNLABELLED
from labelgen.core.taxonomy import Taxonomy
from labelgen.semantics.base import TextEncoder


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
        best = self.logits(feature) / temperature
        probability = np.exp(best - best.max(axis=0))
        probability /= probability.sum(axis=0)
        label = best.argmax(axis=0)
        nothing = largest_bits(feature) == 0
        probability[:, nothing] = 0
        label[(label >= self.classes) | nothing] = UNLABELLED
        return _half(probability[: self.classes].T), label.astype(np.uint8)

    def logits(self, feature: NDArray[np.float16]) -> NDArray[np.float64]:
        """(C + 1, K) cosine of (K, D) features with the best word of every class; C rows without void words.

        Classes come first, since maxima along rows take several times as long as those along columns.
        """
        cosine = self._words @ _widened(np.ascontiguousarray(feature).view(np.uint16)).T
        best: NDArray[np.float64] = _best_words(cosine, self.word_class)
        return best

    @cached_property
    def _words(self) -> NDArray[np.float64]:
        """(W, D) the words' features in the precision of scores."""
        return self.word_feature.astype(np.float64)


@njit(cache=True)
def _best_words(cosine: Any, owner: Any) -> Any:
    """(W, K) scores of words to the (classes, K) best of each class; classes ascend and have no gaps."""
    best = np.empty((owner[-1] + 1, cosine.shape[1]))
    for w in range(len(owner)):
        if w == 0 or owner[w] != owner[w - 1]:
            best[owner[w]] = cosine[w]
        else:
            best[owner[w]] = np.maximum(best[owner[w]], cosine[w])
    return best


@njit(cache=True)
def _widened(bits: Any) -> Any:
    """Bits of (K, D) float16 as float64, faster than numpy; what is no number becomes infinite."""
    raw = np.empty(bits.shape, np.uint32)
    for k in range(bits.shape[0]):
        for d in range(bits.shape[1]):
            word = np.uint32(bits[k, d])
            # Exponent and mantissa go to where float32 has them; the bias of its exponent is larger by 112.
            raw[k, d] = (word & np.uint32(0x7FFF)) << np.uint32(13) | (word & np.uint32(0x8000)) << np.uint32(
                16
            )
    scaled = raw.view(np.float32)
    wide = np.empty(bits.shape)
    for k in range(bits.shape[0]):
        for d in range(bits.shape[1]):
            value = np.float64(scaled[k, d]) * 2.0**112
            wide[k, d] = value if abs(value) < 65536.0 else value * np.inf
    return wide


def _half(share: NDArray[np.float64]) -> NDArray[np.float16]:
    """Numbers in 0..1 as float16, rounded as ever; numpy takes fifty times as long for the smallest ones."""
    share = np.ascontiguousarray(share)
    tiny = share < 2.0**-14
    half = np.where(tiny, 0.0, share).astype(np.float16)
    half.view(np.uint16)[tiny] = np.rint(share[tiny] * 2.0**24)  # its bits count steps of 2^-24
    return half


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
