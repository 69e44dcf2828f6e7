"""Where queries start: points spread over what looks like things.

Queries that start from a point find its object far sooner than those that must learn where to look (Mask3D,
Schult et al., ICRA 2023, section 3, whose queries start from farthest points).
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Probability of all base things together from which a point looks like one.
LIKELY = 0.5
#: Metres that a difference of length 1 between image features counts as, beside those between places.
LOOK_METRES = 3.0


@torch.no_grad()
def thing_seeds(place: Tensor, thing: Tensor, most: int) -> Tensor:
    """Farthest point sampling among the points that look like things, from the one that does so most.

    Args:
        place: (P, d) what seeds are to differ in.
        thing: (P,) probability that a point is of any thing.
        most: seeds; fewer where there are fewer points.

    Returns:
        (S,) int64 points, each once.
    """
    rows = (thing > LIKELY).nonzero()[:, 0]
    if not len(rows) or not most:
        return rows[:0]
    return rows[farthest(place[rows], int(thing[rows].argmax()), most)]


def farthest(place: Tensor, first: int, most: int) -> Tensor:
    """At most ``most`` rows of a (P, d) table: each time the one that is farthest from all chosen so far."""
    chosen = [torch.tensor(first, device=place.device)]
    away = place.new_full((len(place),), torch.inf)
    while len(chosen) < min(most, len(place)):
        away = torch.minimum(away, (place - place[chosen[-1]]).pow(2).sum(1))
        away[chosen[-1]] = -1
        chosen.append(away.argmax())
    return torch.stack(chosen)
