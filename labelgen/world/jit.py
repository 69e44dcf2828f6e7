"""How this package compiles its kernels."""

from __future__ import annotations

from numba import njit

#: For functions that make no arrays: without numba's reference counting. Tables are passed around as tuples of
#: arrays, and counting each of them in every call made the ground look-up five times slower (154 -> 31 ns).
leaf = njit(cache=True, nogil=True, _nrt=False)

#: For functions that make arrays.
kernel = njit(cache=True, nogil=True)

#: For small functions that are copied into their callers.
inlined = njit(cache=True, nogil=True, _nrt=False, inline="always")
