"""Does the text encoder tell the classes apart?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelgen.core.taxonomy import Taxonomy
from labelgen.datasets.checks.registry import Odd, check


@dataclass(frozen=True)
class TextInput:
    """A taxonomy as a text encoder reads it.

    Attributes:
        taxonomy: whose words are read.
        tokenizer: of the encoder, as open_clip makes it: texts to (T, context length) token ids.
    """

    taxonomy: Taxonomy
    tokenizer: Any


@check("class-texts", "texts")
def alike(texts: TextInput) -> Iterator[Odd]:
    """Words of two classes are the same text to the text encoder, such as long ones that it cuts off."""
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
                f"{_short(word)} of {owner} and {_short(text)} of {other} are the same text to the text "
                "encoder",
                f"{why or 'it reads both the same way'}; which of the two wins is chance",
            )


def reading_problem(tokenizer: Any, text: str) -> str:
    """What a tokenizer makes of a text, if that is not the text.

    Args:
        tokenizer: of open_clip, which knows every byte, or around one of transformers.
        text: any.

    Returns:
        One line, or nothing.
    """
    inner = getattr(tokenizer, "tokenizer", None)
    limit = int(tokenizer.context_length)
    if inner is None:
        tokens, ends = list(tokenizer.encode(text)), 2  # beginning and end of the text are added
    else:
        tokens, ends = list(inner(text)["input_ids"]), 0
        unknown = getattr(inner, "unk_token_id", None)
        count = sum(token == unknown for token in tokens) if unknown is not None else 0
        if count:
            return f"{count} of its {len(tokens)} tokens are unknown to the tokenizer"
    if not tokens:
        return "the tokenizer reads nothing in it"
    if len(tokens) + ends > limit:
        return f"{len(tokens)} tokens, but the encoder reads only {limit - ends}: the rest is cut off"
    return ""


def _short(word: str) -> str:
    return repr(word if len(word) <= 60 else f"{word[:59]}…")
