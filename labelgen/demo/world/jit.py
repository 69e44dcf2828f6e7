"""How this package compiles its kernels."""

from __future__ import annotations

from typing import Any

from numba import njit

#: For functions that make no arrays: without numba's reference counting. Tables are passed around as tuples
#: of arrays, and counting each of them in every call made the ground look-up five times slower.
leaf: Any = njit(cache=True, nogil=True, _nrt=False)  # type: ignore[call-overload]

#: For functions that make arrays.
kernel: Any = njit(cache=True, nogil=True)

#: For small functions that are copied into their callers.
inlined: Any = njit(cache=True, nogil=True, _nrt=False, inline="always")  # type: ignore[call-overload]
