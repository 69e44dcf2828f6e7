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
def thing_seeds(xyz: Tensor, image: Tensor, thing: Tensor, most: int) -> Tensor:
    """Farthest point sampling among the points that look like things, from the one that does so most.

    Args:
        xyz: (P, 3) metres.
        image: (P, D) L2-normalised image features, or zeros; D may be 0.
        thing: (P,) probability that a point is of any thing.
        most: seeds; fewer where there are fewer points.

    Returns:
        (S,) int64 points, each once.
    """
    rows = (thing > LIKELY).nonzero()[:, 0]
    if not len(rows) or not most:
        return rows[:0]
    return rows[farthest(xyz[rows], LOOK_METRES * image[rows], int(thing[rows].argmax()), most)]


def farthest(place: Tensor, look: Tensor, first: int, most: int) -> Tensor:
    """At most ``most`` points: each time the one that is farthest from all chosen so far.

    Args:
        place: (P, d), whose differences are taken one by one.
        look: (P, D), long rows: their distances come from products, in a fifth of the time, to rounding.
        first: point to begin with.
        most: points to choose.
    """
    chosen = [torch.tensor(first, device=place.device)]
    square = look.pow(2).sum(1)
    away = place.new_full((len(place),), torch.inf)
    while len(chosen) < min(most, len(place)):
        last = chosen[-1]
        apart = (square + square[last] - 2 * (look @ look[last])).clamp_min(0)
        away = torch.minimum(away, apart + (place - place[last]).pow(2).sum(1))
        away[last] = -1
        chosen.append(away.argmax())
    return torch.stack(chosen)
