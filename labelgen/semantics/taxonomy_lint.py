"""What may be wrong with a taxonomy beyond its form: against a data set's tables, and to a text encoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelgen.core.taxonomy import Taxonomy, load_taxonomy
from labelgen.core.taxonomy_source import VOID, Finding, Word, categories_of, competing, faults
from labelgen.core.text_files import At, Source
from labelgen.datasets.checks.texts import reading_problem
from labelgen.semantics.base import TextEncoder

#: Words of two classes whose features are this close (cosine) are told apart by noise.
NEAR = 0.97


@dataclass(frozen=True)
class Tables:
    """What a data set says of its categories.

    Attributes:
        name: of the data set.
        categories: {category: id in its label files}.
        reference: the shipped taxonomy of its benchmark: class ids, and which categories make up a class.
    """

    name: str
    categories: Mapping[str, int]
    reference: Taxonomy


def published_tables() -> tuple[Tables, ...]:
    """Tables as published with the data sets, for where no data root is at hand."""
    from labelgen.datasets.nuscenes_categories import INDEX
    from labelgen.datasets.semantickitti import CATEGORIES as KITTI

    return (
        Tables("nuscenes", INDEX, load_taxonomy("nuscenes16")),
        Tables("semantickitti", KITTI, load_taxonomy("semantickitti19")),
    )


def tables_for(source: Source, known: Sequence[Tables]) -> Tables | None:
    """The tables that know most of a taxonomy's categories; None if none knows any."""
    named = {category for entry in source.data["classes"] for category in categories_of(entry)}
    best = max(known, key=lambda tables: len(named & tables.categories.keys()))
    return best if named & best.categories.keys() else None


def lint(
    source: Source,
    known: Sequence[Tables],
    encoder: TextEncoder | None = None,
    tokenizer: Any = None,
    near: float = NEAR,
) -> list[Finding]:
    """All findings, those that keep the taxonomy from being used first.

    Args:
        source: of the taxonomy.
        known: tables of data sets; those that know most of its categories count.
        encoder: looks for near-duplicates; None: nobody does.
        tokenizer: of the encoder, as open_clip makes it; looks for words that it cannot read.
        near: cosine from which words of two classes are near-duplicates.
    """
    found = faults(source)
    if any(finding.kind in ("structure", "color") for finding in found):
        return found
    tables = tables_for(source, known)
    if tables is None:
        names = " nor ".join(tables.name for tables in known)
        message = f"its classes name no category of {names}: nothing to compare ids with, or to score against"
        found.append(Finding(source.where(("classes",)), "no-tables", message, error=False))
    else:
        found += _against_tables(source, tables)
    found += _same_colours(source)
    words = competing(source)
    if tokenizer is not None:
        found += _unread(source, words, tokenizer)
    if encoder is not None:
        found += _near_duplicates(source, words, encoder, near)
    return found


def _against_tables(source: Source, tables: Tables) -> Iterator[Finding]:
    reference = {spec.name: spec for spec in tables.reference.classes}
    home = {category: spec.name for spec in tables.reference.classes for category in spec.source}
    names = {entry["name"] for entry in source.data["classes"]}
    listed: set[str] = set()
    for number, entry in enumerate(source.data["classes"]):
        at: At = ("classes", number)
        name = entry["name"]
        if name in reference and reference[name].id != number:
            message = f"class {name} has id {number}; the tables of {tables.name} say {reference[name].id}"
            yield Finding(source.where(at), "class-id", message)
        if not categories_of(entry):
            message = f"class {name} names no category of the data set: it cannot be scored"
            yield Finding(source.where(at), "no-category", message, error=False)
        for category in categories_of(entry):
            listed.add(category)
            if category not in tables.categories:
                message = f"class {name}: {tables.name} has no category {category}"
                yield Finding(source.where(at), "unknown-category", message)
            elif (theirs := home.get(category)) != name and theirs in names:
                message = f"category {category} is in {name}; the tables of {tables.name} have it in {theirs}"
                yield Finding(source.where(at), "category-class", message)
        yield from _group_ids(source, entry.get("groups") or (), (*at, "groups"), tables)
    yield from _group_ids(source, source.data.get(VOID) or (), (VOID,), tables)
    for category, theirs in home.items():
        if theirs in names and category not in listed:
            message = f"class {theirs} lacks category {category} of the tables of {tables.name}"
            number = [entry["name"] for entry in source.data["classes"]].index(theirs)
            yield Finding(source.where(("classes", number)), "category-missing", message, error=False)


def _same_colours(source: Source) -> Iterator[Finding]:
    first: dict[tuple[int, ...], str] = {}
    for number, entry in enumerate(source.data["classes"]):
        other = first.setdefault(tuple(entry["color"]), entry["name"])
        if other != entry["name"]:
            message = f"class {entry['name']} has the colour of {other}: pictures show them alike"
            yield Finding(source.where(("classes", number, "color")), "color-twice", message, error=False)


def _group_ids(source: Source, groups: Sequence[Any], at: At, tables: Tables) -> Iterator[Finding]:
    for number, group in enumerate(groups):
        if isinstance(group, Mapping) and "category" in group:
            category = group["category"]
            theirs = tables.categories.get(category)
            if theirs is None and at == (VOID,):
                message = f"{tables.name} has no category {category}"
                yield Finding(source.where((*at, number)), "unknown-category", message)
            elif theirs is not None and group.get("id", theirs) != theirs:
                message = f"category {category}: id {group['id']}; the tables of {tables.name} say {theirs}"
                yield Finding(source.where((*at, number, "id")), "category-id", message)


def _unread(source: Source, words: Sequence[Word], tokenizer: Any) -> Iterator[Finding]:
    templates = source.data.get("templates") or ["{}"]
    longest = max(templates, key=len)
    for word in words:
        problem = reading_problem(tokenizer, longest.replace("{}", word.text))
        if problem:
            message = f"the word {word.text!r} of {word.owner}: {problem}"
            yield Finding(source.where(word.at), "unread", message, error=False)


def _near_duplicates(
    source: Source, words: Sequence[Word], encoder: TextEncoder, near: float
) -> Iterator[Finding]:
    templates = source.data.get("templates") or ["{}"]
    texts = [template.replace("{}", word.text) for word in words for template in templates]
    feature = encoder.embed(texts).reshape(len(words), len(templates), -1).mean(axis=1)
    feature /= np.maximum(np.linalg.norm(feature, axis=1, keepdims=True), 1e-12)
    cosine = feature @ feature.T
    pairs = np.argwhere(np.triu(cosine >= near, 1)).tolist()
    for first, second in sorted(pairs, key=lambda pair: -cosine[pair[0], pair[1]]):
        a, b = words[first], words[second]
        if a.owner != b.owner:
            message = (
                f"{b.text!r} of {b.owner} is nearly {a.text!r} of {a.owner} ({source.where(a.at)}) to this "
                f"text encoder: cosine {cosine[first, second]:.3f}"
            )
            yield Finding(source.where(b.at), "near-duplicate", message, error=False)
