"""Where queries start: points spread over what looks like things, and groups of points of one look.

Queries that start from a point find its object far sooner than those that must learn where to look (Mask3D,
Schult et al., ICRA 2023, section 3, whose queries start from farthest points).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

#: Probability of all base things together from which a point looks like one.
LIKELY = 0.3
#: Rounds of k-means.
_ROUNDS = 4


@torch.no_grad()
def thing_seeds(xyz: Tensor, thing: Tensor, most: int) -> Tensor:
    """Farthest point sampling among the points that look like things, from the one that does so most.

    Args:
        xyz: (P, 3) metres.
        thing: (P,) probability that a point is of any thing.
        most: seeds; fewer where there are fewer points.

    Returns:
        (S,) int64 points, each once.
    """
    rows = (thing > LIKELY).nonzero()[:, 0]
    if not len(rows) or not most:
        return rows[:0]
    return rows[_farthest(xyz[rows], int(thing[rows].argmax()), most)]


@torch.no_grad()
def look_groups(image: Tensor, seen: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Groups of like image features, by k-means on the sphere.

    Args:
        image: (P, D) L2-normalised features.
        seen: (P,) bool, points that have one.
        most: groups; fewer where there are fewer points.

    Returns:
        (S,) int64 point nearest to each group's mean, where a query starts; (P,) int64 group of each point,
        -1 for points without a feature.
    """
    group = torch.full((len(seen),), -1, device=seen.device)
    rows = seen.nonzero()[:, 0]
    if not len(rows) or not most:
        return rows[:0], group
    look = image[rows]
    centre = look[_farthest(look, 0, most)]
    for _ in range(_ROUNDS):
        nearest = (look @ centre.T).argmax(1)
        total = torch.zeros_like(centre).index_add_(0, nearest, look)
        centre = torch.where(total.any(1, keepdim=True), normalize(total, dim=1), centre)
    near = look @ centre.T
    group[rows] = near.argmax(1)
    return rows[near.argmax(0)], group


def _farthest(place: Tensor, first: int, most: int) -> Tensor:
    """Each time the row that is farthest from all that were chosen."""
    chosen = [torch.tensor(first, device=place.device)]
    away = place.new_full((len(place),), torch.inf)
    while len(chosen) < min(most, len(place)):
        away = torch.minimum(away, (place - place[chosen[-1]]).pow(2).sum(1))
        away[chosen[-1]] = -1
        chosen.append(away.argmax())
    return torch.stack(chosen)
