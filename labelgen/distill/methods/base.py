"""What a training method is: heads of its own over the backbone's features, and a loss over a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from labelgen.core.taxonomy import Taxonomy
from labelgen.distill.batch import Batch
from labelgen.distill.classes import ClassSplit
from labelgen.distill.methods.answer import Answer
from labelgen.distill.settings.methods import MethodSettings
from labelgen.semantics.prompts import Vocabulary


@dataclass(frozen=True)
class CacheInfo:
    """What holds for all frames of a run, for methods to build their heads from.

    Attributes:
        taxonomy: classes, words, templates.
        text_embeddings: (C, D) float32, L2-normalised text feature of each class.
        feature_width: D of ``region_feature``; None where the run stores no features.
        temperature: of the softmax that the run's class scores were made with; None where not known.
        vocabulary: gives text features of all words of the taxonomy, by the run's own text encoder, which it
            loads (`labelgen.distill.vocabulary`); None where there is no run, as in tests.
    """

    taxonomy: Taxonomy
    text_embeddings: NDArray[np.float32] | None
    feature_width: int | None
    temperature: float | None = None
    vocabulary: Callable[[], Vocabulary] | None = None

    @property
    def classes(self) -> int:
        """C."""
        return len(self.taxonomy)


class Method(nn.Module, ABC):
    """One way to train a backbone; its own parameters (heads) are trained along with it.

    Random choices are drawn from torch's default generator, whose state is saved with the training's.

    Attributes:
        classes: base and novel ones, where some are not to be learned from: batches come without the latter.
        needs: optional fields of `Batch` that the loss reads, such as ``("view_region", "region_feature")``;
            a run without what they are made from is refused by name before training begins. May depend on
            the settings, so that those of an instance count.
        inputs: optional fields of `Batch` that `predict` reads.
        finds_segments: whether `predict` gives segments, objects among them, and no probabilities.

    Args:
        settings: of the method; an instance of the class that the registry names.
        width: C of the backbone's features.
        info: of the run.

    Raises:
        UserError: the run lacks what the method's heads are built from (says what, and what makes it).
    """

    needs: Sequence[str] = ()
    inputs: Sequence[str] = ()
    finds_segments: ClassVar[bool] = False
    classes: ClassSplit | None = None

    def __init__(self, settings: MethodSettings, width: int, info: CacheInfo) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, batch: Batch, features: Tensor) -> dict[str, Tensor]:
        """Losses of one batch.

        Args:
            batch: on the features' device.
            features: (N, C) of the backbone.

        Returns:
            ``loss``, the scalar that is minimised, and whatever parts of it are worth a line in the log. A
            batch that gives nothing to learn (no views, one region) gives a loss of 0 that is still
            connected to ``features``, such as ``features.sum() * 0``.
        """

    @abstractmethod
    def predict(self, batch: Batch, features: Tensor, info: CacheInfo) -> Answer:
        """What the network says of the points of one frame; of a method that `gives_classes`.

        Args:
            batch: of one frame, with the fields of ``inputs``, on the features' device.
            features: (P, C) of the backbone.
            info: of the run that the frame is of.
        """

    def gives_classes(self, info: CacheInfo) -> bool:
        """Whether `predict` has an answer for a run: there is a head for classes, or one of their texts."""
        return True
