"""Learns byte-pair merges for open_clip's `SimpleTokenizer` from a corpus of captions."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode, whitespace_clean

#: Tokens that every vocabulary holds: each byte within and at the end of a word, and the two special ones.
BASE_TOKENS = 2 * 256 + 2


def learn_merges(texts: Iterable[str], vocab_size: int) -> list[tuple[str, str]]:
    """Byte-pair merges (Sennrich et al. 2016), most frequent pair first, ties in alphabetical order.

    Args:
        texts: the corpus.
        vocab_size: merges are learnt until the tokenizer has so many tokens, or no pair occurs twice.
    """
    splitter = SimpleTokenizer().pat
    encode = bytes_to_unicode()
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(splitter.findall(whitespace_clean(text).lower()))
    words: dict[tuple[str, ...], int] = {}
    for word, count in counts.items():
        symbols = [encode[byte] for byte in word.encode()]
        words[(*symbols[:-1], symbols[-1] + "</w>")] = count
    merges: list[tuple[str, str]] = []
    while len(merges) < vocab_size - BASE_TOKENS:
        pairs: Counter[tuple[str, str]] = Counter()
        for symbols_, count in words.items():
            for pair in pairwise(symbols_):
                pairs[pair] += count
        if not pairs or max(pairs.values()) < 2:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {_merge(symbols_, best): count for symbols_, count in words.items()}
    return merges


def write_merges(merges: list[tuple[str, str]], path: Path) -> None:
    """Write merges in the form that `SimpleTokenizer` reads; the same merges give the same bytes."""
    text = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)])
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def _merge(symbols: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    i = 0
    while i < len(symbols):
        if symbols[i : i + 2] == pair:
            out.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return tuple(out)
