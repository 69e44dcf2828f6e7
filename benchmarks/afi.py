"""Approximate Flat Interaction: time per scan, and what it does to labels of three sources.

The simulated city's truth with 0, 10 and 30 % of the labels replaced at random, on validation seeds. Claims:
- ``afi_clean``, ``afi_10``, ``afi_30``: mIoU after over mIoU before; at least 1. As published beside it.
- ``afi_scan``: seconds per scan of about 35k points, on two cores.
"""

from __future__ import annotations

import harness
import numpy as np

from labelgen.core.taxonomy import load_taxonomy
from labelgen.demo.world import CLASS_OF_CATEGORY, VAL_SEEDS, City
from labelgen.demo.world.lidar import scan
from labelgen.labels.afi import ground_classes, refine_flat
from labelgen.metrics import SegmentationScore

TAXONOMY = load_taxonomy("nuscenes16")
CLASSES = len(TAXONOMY)
GROUND = ground_classes(TAXONOMY.names)


def scans(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Points and their classes, 255 for what is ignored."""
    out = []
    for seed in VAL_SEEDS[:count]:
        sweep = scan(City(seed=seed), 2.0)
        challenge = CLASS_OF_CATEGORY[sweep.category].astype(np.int64)
        truth = np.where(challenge == 0, 255, challenge - 1).astype(np.uint8)
        out.append((np.ascontiguousarray(sweep.points[:, :3], np.float32), truth))
    return out


def miou(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    score = SegmentationScore(TAXONOMY.names)
    for truth, label in pairs:
        score.update(truth, np.where(truth == 255, 255, label).astype(np.uint8))
    value: float = score.result()["miou_all"]
    return value


def run(quick: bool) -> list[harness.Claim]:
    """Noise the truth, refine, compare."""
    clouds = scans(3 if quick else 20)
    claims = []
    for name, noise in (("afi_clean", 0.0), ("afi_10", 0.1), ("afi_30", 0.3)):
        rng = np.random.default_rng(0)
        before, after, published = [], [], []
        for xyz, truth in clouds:
            wrong = (truth != 255) & (rng.random(len(truth)) < noise)
            label = np.where(wrong, rng.integers(0, CLASSES, len(truth)), truth).astype(np.uint8)
            before.append((truth, label))
            after.append((truth, refine_flat(xyz, label, CLASSES, GROUND)[0]))
            published.append((truth, refine_flat(xyz, label, CLASSES, GROUND, as_published=True)[0]))
        beside = {"miou_as_published": miou(published)}
        claims.append(
            harness.score(name, miou(after), baseline=miou(before), goal=1.0, unit="mIoU", agreement=beside)
        )
    # As many points as a nuScenes scan has.
    xyz, truth = (np.concatenate([cloud[k] for cloud in clouds[:2]])[:35_000] for k in range(2))
    times = harness.interleave(
        {"afi": lambda: refine_flat(xyz, truth, CLASSES, GROUND)},
        seconds=5 if quick else 20,
        min_rounds=3,
        threads=2,
    )
    claims.append(harness.faster("afi_scan", times["afi"], None, goal=0.4, unit="s"))
    return claims


if __name__ == "__main__":
    harness.main("afi", __doc__, run)
