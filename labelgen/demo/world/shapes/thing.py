"""The record of one thing, and the colours that things are painted in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelgen.demo.world.primitives import Assembly, Colour

FloatArray = NDArray[np.float64]

#: Linear RGB by the word that captions use.
PALETTE: dict[str, Colour] = {
    "white": (0.80, 0.80, 0.78),
    "silver": (0.48, 0.50, 0.52),
    "grey": (0.20, 0.21, 0.22),
    "black": (0.022, 0.022, 0.025),
    "red": (0.48, 0.03, 0.03),
    "blue": (0.04, 0.10, 0.42),
    "green": (0.05, 0.24, 0.07),
    "yellow": (0.78, 0.53, 0.04),
    "orange": (0.75, 0.24, 0.03),
    "brown": (0.16, 0.08, 0.035),
    "beige": (0.55, 0.45, 0.30),
    "purple": (0.20, 0.06, 0.28),
    "turquoise": (0.05, 0.35, 0.36),
    "pink": (0.70, 0.28, 0.34),
}
WORDS: tuple[str, ...] = tuple(PALETTE)


@dataclass
class Thing:
    """One thing in its own frame.

    Attributes:
        assembly: its parts.
        category: general category, e.g. ``vehicle.car``.
        noun: what it is called; synonyms: other words for it.
        colour: word of `PALETTE` that names its main colour.
    """

    assembly: Assembly
    category: str
    noun: str
    synonyms: tuple[str, ...] = ()
    colour: str = "grey"


def paint(
    rng: np.random.Generator,
    words: tuple[str, ...] = WORDS,
    weights: Sequence[float] | FloatArray | None = None,
) -> tuple[str, Colour]:
    """A colour word and a shade of it."""
    word = str(rng.choice(words, p=weights))
    return word, shade(rng, PALETTE[word])


def colour_word(colour: Colour) -> str:
    """The word of `PALETTE` that is nearest to a linear colour, as the eye sees it (by its square roots)."""
    root = np.sqrt(np.asarray(colour))
    return min(WORDS, key=lambda word: float(((np.sqrt(PALETTE[word]) - root) ** 2).sum()))


def shade(rng: np.random.Generator, colour: Colour, spread: float = 0.22) -> Colour:
    """A colour somewhat lighter or darker and off in hue."""
    factor = np.exp(rng.normal(0.0, spread)) * (1.0 + rng.normal(0.0, 0.06, 3))
    r, g, b = np.clip(np.asarray(colour) * factor, 0.008, 0.92)
    return float(r), float(g), float(b)
