"""Which seeds belong to training, validation and test: disjoint ranges, so that no city is in two of them."""

from __future__ import annotations

TRAIN_SEEDS = range(0, 100_000)
VAL_SEEDS = range(100_000, 200_000)
TEST_SEEDS = range(200_000, 300_000)

#: Seed of the first scene when none is asked for; it lies in the validation range.
DEFAULT_SEED = VAL_SEEDS.start


def split_of(seed: int) -> str | None:
    """Name of the range that a seed lies in: ``train``, ``val``, ``test``, or None beyond them."""
    for name, seeds in (("train", TRAIN_SEEDS), ("val", VAL_SEEDS), ("test", TEST_SEEDS)):
        if seed in seeds:
            return name
    return None
