"""Whether a text encoder's tokenizer reads a text as it stands: in full, and without unknown tokens."""

from __future__ import annotations

from typing import Any


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
        return f"{len(tokens)} tokens, and the encoder reads {limit - ends}: the rest is cut off"
    return ""
