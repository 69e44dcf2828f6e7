"""Does the text encoder tell the classes apart?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelgen.datasets.checks.registry import Odd, check
from labelgen.taxonomy import Taxonomy


@dataclass(frozen=True)
class TextSight:
    """A taxonomy as a text encoder reads it.

    Attributes:
        taxonomy: whose words are read.
        tokenizer: of the encoder, as open_clip makes it: texts to (T, context length) token ids.
    """

    taxonomy: Taxonomy
    tokenizer: Any


@check("class-texts", "texts")
def alike(texts: TextSight) -> Iterator[Odd]:
    """Words of two classes are one text to the text encoder, such as long ones that it cuts."""
    from labelgen.semantics.reading import reading_problem

    taxonomy = texts.taxonomy
    words = [(spec.name, word) for spec in taxonomy.classes for word in spec.words]
    words += [("void", word) for word in taxonomy.void]
    shortest = min(taxonomy.templates, key=len)  # what is cut in this one is cut in all
    first: dict[bytes, tuple[str, str]] = {}
    tokens = np.asarray(texts.tokenizer([shortest.replace("{}", word) for _, word in words]))
    for (owner, word), row in zip(words, tokens, strict=True):
        other, text = first.setdefault(row.tobytes(), (owner, word))
        if owner != other:
            why = reading_problem(texts.tokenizer, shortest.replace("{}", word))
            yield Odd(
                f"{_short(word)} of {owner} and {_short(text)} of {other} are one text to the text encoder",
                f"{why or 'it reads both alike'}; which of the two wins is chance",
            )


def _short(word: str) -> str:
    return repr(word if len(word) <= 60 else f"{word[:59]}…")
