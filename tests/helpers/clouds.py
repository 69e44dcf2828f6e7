"""Small made-up batches for tests of the trainer's networks."""

from __future__ import annotations

import torch

from labelgen.distill.batch import Batch


def make_batch(
    points: tuple[int, ...] = (40, 30), neighbours: int = 4, seed: int = 0, spread: float = 20.0
) -> Batch:
    """A batch of random clouds; neighbours are the truly nearest, by brute force.

    Args:
        points: of each frame.
        neighbours: k.
        seed: of all values.
        spread: half the side of the cube that the points fill, metres.
    """
    generator = torch.Generator().manual_seed(seed)
    xyz = (torch.rand(sum(points), 3, generator=generator) * 2 - 1) * spread
    frame = torch.repeat_interleave(torch.arange(len(points)), torch.tensor(points))
    intensity = torch.randn(len(xyz), 1, generator=generator)
    distance = torch.cdist(xyz, xyz)
    distance[frame[:, None] != frame[None]] = torch.inf
    distance.fill_diagonal_(torch.inf)
    return Batch(
        frame_id=tuple(f"frame-{n}" for n in range(len(points))),
        xyz=xyz,
        inputs=torch.cat([intensity, xyz, xyz.norm(dim=1, keepdim=True)], dim=1),
        frame=frame,
        label=torch.randint(0, 3, (len(xyz),), generator=generator),
        confidence=torch.rand(len(xyz), generator=generator),
        neighbours=distance.argsort(dim=1)[:, :neighbours],
    )
