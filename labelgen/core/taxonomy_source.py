"""A taxonomy's file as plain data with the line of every entry, and everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

from labelgen.core.errors import UserError
from labelgen.core.records import UNLABELLED
from labelgen.core.text_files import At, Source, parse_yaml, read_yaml
from labelgen.core.wording import brief

VOID = "void"
#: A byte holds the ids; two of its values say that there is no class, and that the words of `VOID` won.
MOST_CLASSES = UNLABELLED - 1
#: Words and templates in all; characters of the longest text, which is more than an encoder reads.
MOST_WORDS, MOST_TEMPLATES, LONGEST_TEXT = 5_000, 1_000, 400
#: Names that no class may have: they say that there is none.
RESERVED = (VOID, "unlabelled")
_KEYS = {
    "taxonomy": ("name", "version", "templates", "first_wins", "classes", VOID),
    "class": ("name", "id", "color", "thing", "source", "words", "groups"),
}


@dataclass(frozen=True)
class Finding:
    """Something that is, or may be, wrong with a taxonomy.

    Attributes:
        where: file and line.
        kind: a short name that stays the same.
        message: one line.
        error: False for what can be used, but should be looked at.
    """

    where: str
    kind: str
    message: str
    error: bool = True

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(frozen=True)
class Word:
    """One open word where it stands.

    Attributes:
        text: as written, without blanks around it.
        owner: the class's name, or ``void``.
        category: of the data set that it was listed under, or empty.
        at: its entry.
    """

    text: str
    owner: str
    category: str
    at: At


def shipped_names() -> list[str]:
    """Names of the taxonomies in the package."""
    folder = resources.files("labelgen") / "taxonomies"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def read_source(name_or_path: str) -> Source:
    """Read a shipped taxonomy by name, or a YAML file.

    Raises:
        UserError: unknown name, unreadable file, or no YAML mapping; names the file, and the line if it can.
    """
    if name_or_path in shipped_names():
        file = resources.files("labelgen") / "taxonomies" / f"{name_or_path}.yaml"
        source = parse_yaml(file.read_text(encoding="utf-8"), f"{name_or_path}.yaml")
    else:
        path = Path(name_or_path)
        if not path.is_file():
            raise UserError(f"taxonomy {name_or_path!r} is neither a file nor one of {shipped_names()}")
        source = read_yaml(path, "taxonomy")
    if not isinstance(source.data, dict):
        raise UserError(f"{source.name}: not a taxonomy (a mapping with name, classes, void is expected)")
    return source


def words_of(source: Source) -> list[Word]:
    """All words that a taxonomy lists, in its order, those listed twice included.

    Args:
        source: without structural faults.
    """
    words = []
    for number, entry in enumerate(source.data["classes"]):
        words += _listed(entry, entry["name"], ("classes", number))
    return words + _listed({"groups": source.data.get(VOID) or []}, VOID, (VOID,))


def _listed(entry: Mapping[str, Any], owner: str, at: At) -> list[Word]:
    """Words of a class, plain or by groups; void is nothing but a list of either."""
    found = [
        Word(text.strip(), owner, "", (*at, "words", number))
        for number, text in enumerate(entry.get("words") or ())
    ]
    inside = at if at == (VOID,) else (*at, "groups")
    for number, group in enumerate(entry.get("groups") or ()):
        if isinstance(group, str):
            found.append(Word(group.strip(), owner, "", (*inside, number)))
        else:
            here: At = (*inside, number, "words")
            found += [
                Word(text.strip(), owner, group.get("category", ""), (*here, k))
                for k, text in enumerate(group["words"])
            ]
    return found


def competing(source: Source) -> list[Word]:
    """The words that compete: each once, where it stands first."""
    kept: dict[str, Word] = {}
    for word in words_of(source):
        kept.setdefault(word.text.casefold(), word)
    return list(kept.values())


def faults(source: Source) -> list[Finding]:
    """Everything that keeps a taxonomy from being used, in the order of the file."""
    structure = list(_structure(source))
    return structure or list(_meaning(source))


def _structure(source: Source) -> Iterator[Finding]:
    data = source.data

    def fault(at: At, kind: str, message: str) -> Finding:
        return Finding(source.where(at), kind, message)

    def texts(at: At, values: object, what: str) -> Iterator[Finding]:
        if not isinstance(values, list | tuple):
            yield fault(at, "structure", f"not a taxonomy: {what} must be a list")
            return
        for number, value in enumerate(values):
            if not isinstance(value, str):
                yield fault(
                    (*at, number), "structure", f"{what}: {brief(value)} is not text; put it in quotes"
                )
            elif not value.strip():
                yield fault((*at, number), "structure", f"{what}: the text is empty")
            elif not _is_line(value):
                yield fault(
                    (*at, number),
                    "structure",
                    f"{what}: {brief(value)} is not a single line of at most {LONGEST_TEXT} printable "
                    f"characters",
                )

    def groups(at: At, values: object, what: str, plain: bool) -> Iterator[Finding]:
        if not isinstance(values, list | tuple):
            yield fault(at, "structure", f"not a taxonomy: {what} must be a list")
            return
        for number, group in enumerate(values):
            here: At = (*at, number)
            if isinstance(group, Mapping):
                if not isinstance(group.get("category", ""), str):
                    yield fault((*here, "category"), "structure", f"{what}: category must be a name")
                if type(group.get("id", 0)) is not int:
                    yield fault((*here, "id"), "structure", f"{what}: id must be a whole number")
                yield from texts((*here, "words"), group.get("words"), f"{what}: words")
            elif plain:
                yield from texts(at, values[number : number + 1], what)
            else:
                yield fault(here, "structure", f"{what}: a group is a mapping with category and words")

    def keys(at: At, given: Mapping[str, Any], what: str) -> Iterator[Finding]:
        for key in given:
            if key not in _KEYS[what] and (meant := get_close_matches(str(key), _KEYS[what], 1, 0.75)):
                yield fault((*at, key), "structure", f"{what}: {brief(key)}: did you mean {meant[0]}?")

    if not isinstance(data, Mapping) or not isinstance(data.get("name"), str) or not _is_line(data["name"]):
        yield fault((), "structure", "not a taxonomy: it has no name")
        return
    yield from keys((), data, "taxonomy")
    if type(data.get("version", 1)) is not int or not 0 <= data.get("version", 1) < 2**31:
        yield fault(("version",), "structure", "not a taxonomy: version must be a whole number")
    yield from texts(("templates",), data.get("templates", []), "templates")
    yield from texts(("first_wins",), data.get("first_wins", []), "first_wins")
    yield from groups((VOID,), data.get(VOID) or [], VOID, plain=True)
    classes = data.get("classes")
    if not isinstance(classes, list | tuple):
        yield fault(("classes",), "structure", "not a taxonomy: there is no list of classes")
        return
    for number, entry in enumerate(classes):
        at: At = ("classes", number)
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            yield fault(at, "structure", f"not a taxonomy: class {number} has no name")
            continue
        name = entry["name"]
        if not name.strip() or not _is_line(name):
            yield fault(at, "structure", f"class {number}: {brief(name)} is not a valid name")
            continue
        yield from keys(at, entry, "class")
        if not _is_colour(entry.get("color")):
            yield fault((*at, "color"), "color", f"class {name}: color must be three numbers from 0 to 255")
        if not isinstance(entry.get("thing"), bool):
            yield fault((*at, "thing"), "structure", f"class {name}: thing must be true or false")
        yield from texts((*at, "source"), entry.get("source") or [], f"class {name}: source")
        yield from texts((*at, "words"), entry.get("words") or [], f"class {name}: words")
        yield from groups((*at, "groups"), entry.get("groups") or [], f"class {name}: groups", plain=False)


def _meaning(source: Source) -> Iterator[Finding]:
    data = source.data
    count = len(data["classes"])
    if not 1 <= count <= MOST_CLASSES:
        yield Finding(
            source.where(("classes",)), "classes", f"{count} classes; 1 to {MOST_CLASSES} are allowed"
        )
    words = len(words_of(source))
    if words > MOST_WORDS:
        yield Finding(
            source.where(("classes",)), "structure", f"{words} words; at most {MOST_WORDS} are allowed"
        )
        return
    templates = len(data.get("templates", []))
    if templates > MOST_TEMPLATES:
        message = f"{templates} templates; at most {MOST_TEMPLATES} are allowed"
        yield Finding(source.where(("templates",)), "template", message)
    first: dict[str, int] = {}
    owners = {word.owner for word in competing(source)}
    for number, entry in enumerate(data["classes"]):
        at: At = ("classes", number)
        if first.setdefault(entry["name"].casefold(), number) != number:
            other = data["classes"][first[entry["name"].casefold()]]["name"]
            same = (
                f"the same name, {other}"
                if other == entry["name"]
                else f"names that differ only in case, {other}"
            )
            yield Finding(source.where(at), "class-twice", f"two classes have {same}")
        if entry["name"].casefold() in RESERVED:
            message = f"a class cannot be named {entry['name']}; list words that mean nothing under {VOID}"
            yield Finding(source.where(at), "structure", message)
        if entry["name"] not in owners:
            yield Finding(source.where(at), "no-words", f"class {entry['name']} has no words")
        if "id" in entry and entry["id"] != number:
            yield Finding(
                source.where((*at, "id")),
                "class-id",
                f"class {entry['name']}: id {brief(entry['id'])}, but it is in position {number}; ids "
                f"are positions, counted from 0",
            )
    yield from _owners(source)
    for number, template in enumerate(data.get("templates", ["{}"])):
        if template.count("{}") != 1:
            where = source.where(("templates", number))
            yield Finding(where, "template", f"template {template!r} must contain {{}} exactly once")
    if not data.get("templates", ["{}"]):
        yield Finding(source.where(("templates",)), "template", "no templates; at least '{}' is needed")


def _owners(source: Source) -> Iterator[Finding]:
    """Words and categories that two classes claim."""
    once = {word.casefold() for word in source.data.get("first_wins") or ()}
    owner: dict[str, Word] = {}
    for word in words_of(source):
        other = owner.setdefault(word.text.casefold(), word)
        if other.owner != word.owner and word.text.casefold() not in once:
            message = f"the word {word.text!r} is in {other.owner} and in {word.owner}"
            if source.lines:
                message += f" (first at {source.where(other.at)})"
            yield Finding(source.where(word.at), "word-twice", message)
    claimed: dict[str, str] = {}
    for number, entry in enumerate(source.data["classes"]):
        for category in dict.fromkeys(categories_of(entry)):
            if claimed.setdefault(category, entry["name"]) != entry["name"]:
                yield Finding(
                    source.where(("classes", number)),
                    "category-twice",
                    f"the category {category} is in {claimed[category]} and in {entry['name']}",
                )


def categories_of(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Categories of the data set that make up a class: its ``source``, or those of its groups."""
    own: Sequence[str] = entry.get("source") or ()
    grouped = [group["category"] for group in entry.get("groups") or () if "category" in group]
    return tuple(dict.fromkeys([*own, *grouped]))


def _is_line(text: str) -> bool:
    return len(text) <= LONGEST_TEXT and text.isprintable()


def _is_colour(value: object) -> bool:
    if not isinstance(value, list | tuple) or len(value) != 3:
        return False
    return all(type(channel) is int and 0 <= channel <= 255 for channel in value)
