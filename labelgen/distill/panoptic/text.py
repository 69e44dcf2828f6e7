"""The class head: cosines with the words of every class, base or novel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

#: Highest scale of the cosines, CLIP's.
_STEEPEST = 100.0
#: Probability of a class where embeddings start, the mean of the texts: most queries find nothing.
_PRIOR = 0.02


class TextHead(nn.Module):
    """``logit_c = s (max over the words w of c of cos(f, t_w) - cos(f, t) - m)``, with s and m learned.

    t is the mean text of the base classes, not of length 1: an image's cosines with all texts are lower than
    a text's (the modality gap), so that a threshold learned from base classes would not hold for embeddings
    that are like images. Which class is best is left as it is.

    Args:
        text: (W, D) features of words, L2-normalised.
        owner: (W,) int64 class of each, ascending, no class without one.
        temperature: 1 / s, at first.
        base: classes whose words say where embeddings start: novel names are not to be known before a test.
    """

    text: Tensor
    owner: Tensor
    middle: Tensor

    def __init__(self, text: Tensor, owner: Tensor, temperature: float, base: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("text", text, persistent=False)
        self.register_buffer("owner", owner, persistent=False)
        self.classes = int(owner.max()) + 1
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.register_buffer("middle", text[torch.isin(owner, torch.tensor(base))].mean(0), persistent=False)
        self.margin = nn.Parameter(torch.tensor(-temperature * math.log(_PRIOR / (1 - _PRIOR))))

    def cosines(self, embedding: Tensor) -> Tensor:
        """(Q, D) of any length to (Q, C) cosines with each class's best word."""
        cosine = normalize(embedding, dim=1) @ self.text.to(embedding.dtype).T
        owner = self.owner.expand(len(cosine), -1)
        best = cosine.new_full((len(cosine), self.classes), -1.0)
        return best.scatter_reduce(1, owner, cosine, "amax")

    def forward(self, embedding: Tensor) -> Tensor:
        """(Q, D) of any length to (Q, C) logits."""
        common = normalize(embedding, dim=1) @ self.middle.to(embedding.dtype)
        scale = self.log_scale.exp().clamp_max(_STEEPEST)
        return scale * (self.cosines(embedding) - common[:, None] - self.margin)
