"""What float16 keeps of metres and of features, as shards store them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def half_metres(metres: NDArray[np.float32]) -> NDArray[np.float16]:
    """Depths and residuals of views as a shard keeps them; what is beyond float16 is its largest number."""
    largest = float(np.finfo(np.float16).max)
    return metres.clip(-largest, largest).astype(np.float16)


def stored_feature(feature: NDArray[np.float32], bits: int) -> NDArray[np.float16]:
    """Features as a shard keeps them, with so many bits of float16's 10 of the mantissa, ties to even.

    What is cut compresses well ("bit rounding", Klöwer et al., Nature Computational Science 2021), and is
    plain float16 for every reader.

    Args:
        feature: (K, D) in -1..1.
        bits: 1 to 10.
    """
    half = feature.astype(np.float16)
    cut = 10 - bits
    if not cut:
        return half
    word = half.view(np.uint16).astype(np.uint32)
    nearest = word + (1 << cut - 1) - 1 + (word >> cut & 1)
    rounded: NDArray[np.float16] = (nearest >> cut << cut).astype(np.uint16).view(np.float16)
    return rounded


def largest_bits(feature: NDArray[np.float16]) -> NDArray[np.uint16]:
    """(K,) bits of the largest magnitude in each row: 0 in a row of zeros, 0x7C00 and more beyond numbers.

    Bits of float16 without their signs are in the order of magnitudes, and are compared many times faster.
    """
    bits = np.ascontiguousarray(feature).view(np.uint16) & np.uint16(0x7FFF)
    largest: NDArray[np.uint16] = bits.max(axis=1, initial=0)
    return largest
