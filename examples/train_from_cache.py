"""Train a small 3D network from a run alone: its labels by their confidence, CLIP's features by region.

Label with `shards.store_points=true`, then: python examples/train_from_cache.py RUN (or s3://bucket/RUN).
"""

import sys

import torch
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy
from torch.utils.data import DataLoader

from labelgen import ShardStream

FIELDS = ["points/xyz", "points/label", "points/confidence", "points/region", "regions/feature"]


def main(run: str, epochs: int = 2) -> None:
    """Two losses on one network: cross entropy with the labels, cosine distance to the regions' features."""
    stream = ShardStream(run, FIELDS, seed=0)
    loader = DataLoader(stream, batch_size=None, num_workers=2, multiprocessing_context="forkserver")
    width = next(iter(stream))["regions/feature"].shape[1]
    network = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, 128), nn.GELU())
    classify, distil = nn.Linear(128, 255), nn.Linear(128, width)
    optimizer = torch.optim.AdamW(nn.ModuleList([network, classify, distil]).parameters(), lr=2e-3)
    for epoch in range(epochs):
        stream.set_epoch(epoch)
        for step, frame in enumerate(loader):
            use = (frame["points/label"] != 255) & frame["points/xyz"].isfinite().all(1)
            hidden = network(frame["points/xyz"][use] / 50)
            label, weight = frame["points/label"][use].long(), frame["points/confidence"][use] / 255
            loss = (cross_entropy(classify(hidden), label, reduction="none") * weight).mean()
            target = frame["regions/feature"].float()[frame["points/region"].int()[use]]
            loss = loss + (1 - cosine_similarity(distil(hidden), target)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            print(f"epoch {epoch} step {step}: loss {loss.item():.3f}")


if __name__ == "__main__":
    main(sys.argv[1])
