"""What pre-training methods share: they know no classes, but some lead into the space of their texts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from labelgen.distill.batch import Batch
from labelgen.distill.methods.answer import Answer
from labelgen.distill.methods.base import CacheInfo, Method
from labelgen.distill.methods.heads import class_text
from labelgen.distill.settings.methods import MethodSettings

#: Of the cosine with the classes' texts, where a pre-trained head has none of its own (CLIP's).
TEMPERATURE = 0.01


class Pretraining(Method):
    """A method that learns without labels; it predicts zero-shot where its head leads to texts."""

    def __init__(self, settings: MethodSettings, width: int, info: CacheInfo) -> None:
        super().__init__(settings, width, info)
        self.width = width

    def embed(self, features: Tensor) -> Tensor | None:
        """(N, D) features in the text encoder's space; None where there is no such head."""
        return None

    def gives_classes(self, info: CacheInfo) -> bool:
        """Whether the head leads into the space of the run's texts."""
        with torch.inference_mode():
            embedded = self.eval().embed(torch.zeros(2, self.width, device=next(self.parameters()).device))
        text = info.text_embeddings
        return embedded is not None and text is not None and embedded.shape[1] == text.shape[1]

    def predict(self, batch: Batch, features: Tensor, info: CacheInfo) -> Answer:
        """Probabilities of the classes from their texts alone."""
        embedded = self.embed(features.float())
        assert embedded is not None, "the method's features do not lie in a space of texts"
        text = class_text(info, "zero-shot").to(features.device)
        logits = normalize(embedded, dim=1) @ text.T / TEMPERATURE
        return Answer(probability=logits.float().softmax(dim=1))
