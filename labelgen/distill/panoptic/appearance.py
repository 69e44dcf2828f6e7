"""Segments of novel stuff by what the cameras see alone: groups of like image features, named as a whole.

No query learns to hold what no label names; the groups need no learning.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from labelgen.distill.panoptic.seeds import farthest

#: Rounds of k-means.
_ROUNDS = 4
#: Logits of points inside and outside of a group.
INSIDE, OUTSIDE = 4.0, -20.0


@torch.no_grad()
def look_masks(image: Tensor, seen: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Groups of like image features, by k-means on the sphere.

    Args:
        image: (P, D) L2-normalised features.
        seen: (P,) bool, points that have one.
        most: groups; fewer where there are fewer points.

    Returns:
        (G, P) mask logits, `INSIDE` or `OUTSIDE`; a point without a feature is in no group. (G, D)
        L2-normalised mean feature of each group.
    """
    rows = seen.nonzero()[:, 0]
    if not len(rows) or not most:
        return image.new_empty(0, len(seen)), image[:0]
    look = image[rows]
    centre = look[farthest(look[:, :0], look, 0, most)]
    for _ in range(_ROUNDS):
        total = torch.zeros_like(centre).index_add_(0, (look @ centre.T).argmax(1), look)
        centre = torch.where(total.any(1, keepdim=True), normalize(total, dim=1), centre)
    mask = image.new_full((len(centre), len(seen)), OUTSIDE)
    mask[(look @ centre.T).argmax(1), rows] = INSIDE
    return mask, centre
