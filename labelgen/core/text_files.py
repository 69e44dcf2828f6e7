"""Text, YAML and JSON files that people give, read within bounds: one may be broken, or made to harm."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from labelgen.core.errors import UserError
from labelgen.core.wording import brief

#: Where an entry is: keys and positions from the top, such as ``("classes", 3, "words", 0)``.
At = tuple[str | int, ...]
#: Bytes of the largest file that is read, if nothing else is said.
LARGEST = 4 << 20
#: Entries of the largest YAML document, those of an anchor as often as they are named; levels of the deepest.
MOST_ENTRIES, DEEPEST = 200_000, 40
#: Characters of its longest value: reading a number takes their square.
LONGEST_VALUE = 4_000
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's, where PyYAML was built with it


@dataclass(frozen=True)
class Source:
    """Plain data as somebody wrote them down.

    Attributes:
        data: what the file holds.
        name: of the file.
        lines: line of each entry, from 1; empty for data that come from no file.
    """

    data: Any
    name: str
    lines: Mapping[At, int] = field(default_factory=dict)

    def where(self, at: At = ()) -> str:
        """File and line of an entry, or of the nearest one around it."""
        for end in range(len(at), -1, -1):
            if at[:end] in self.lines:
                return f"{self.name}:{self.lines[at[:end]]}"
        return self.name


def read_text(path: Path, what: str, largest: int = LARGEST) -> str:
    """Text of a file in UTF-8.

    Args:
        path: of the file.
        what: it is, for the errors.
        largest: number of bytes that it may have.

    Raises:
        UserError: the file cannot be read, is none (a folder, a pipe, a device), is larger, or no such text.
    """
    try:
        # A pipe that nobody writes to must not keep us waiting.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise UserError(f"cannot read the {what} {path}: it is not a regular file")
            raw = stream.read(largest + 1)
    except (OSError, ValueError) as error:  # ValueError: of the path itself
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the {what} {path}: {reason}") from error
    if len(raw) > largest:
        raise UserError(f"{path}: larger than {largest:,} bytes, too large to be a valid {what}")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path}: written in UTF-16; save it as UTF-8")
    if (zero := raw.find(b"\0")) >= 0:
        raise UserError(f"{path}: not a text file (byte {zero:,} is zero); a {what} is a text file in UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        wrong = f"byte 0x{error.object[error.start]:02x} is not UTF-8"
        raise UserError(f"{path}:{line}: {wrong}; save the {what} as UTF-8") from None


def read_yaml(path: Path, what: str, largest: int = LARGEST) -> Source:
    """Read one YAML document; see `read_text` and `parse_yaml`.

    Raises:
        UserError: names the file, and the line where it can.
    """
    return parse_yaml(read_text(path, what, largest), str(path))


def parse_yaml(text: str, name: str) -> Source:
    """Plain data of one YAML document: no tags but YAML's own, no key twice, every key a text.

    Args:
        text: of the document; an empty one holds None.
        name: how messages call it.

    Raises:
        UserError: it is no such document, nested deeper than `DEEPEST`, of more than `MOST_ENTRIES`, or
            holds a value longer than `LONGEST_VALUE`.
    """
    try:
        _check_size(text, name)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return Source(None, name)
            lines = _lines(node, name)
            return Source(loader.construct_document(node), name, lines)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = ", ".join(part for part in (error.context, error.problem) if part)
        raise UserError(f"{name}{line}: not valid YAML: {problem}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # of values: dates, numbers
        raise UserError(f"{name}: not valid YAML: {error}") from error


def _check_size(text: str, name: str) -> None:
    """Before anything is built of it: its parser's events are bounded by the text, what they build is not."""
    total, sizes = 0, dict[str, int]()
    around: list[tuple[str | None, int]] = []  # anchors of the collections that are open, and entries before
    for event in yaml.parse(text, Loader=_Loader):
        mark: Any = event.start_mark
        where = f"{name}:{mark.line + 1}"
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes and any(event.anchor == anchor for anchor, _ in around):
                raise UserError(f"{where}: *{event.anchor} contains itself")
            total += sizes.get(str(event.anchor), 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            around.append((event.anchor, total))
            total += 1
            if len(around) > DEEPEST:
                raise UserError(f"{where}: nested deeper than {DEEPEST} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = around.pop()
            if anchor is not None:
                sizes[anchor] = total - before
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            if len(event.value) > LONGEST_VALUE:
                raise UserError(f"{where}: a value is longer than {LONGEST_VALUE:,} characters")
            if event.anchor is not None:
                sizes[event.anchor] = 1
        if total > MOST_ENTRIES:
            raise UserError(
                f"{where}: more than {MOST_ENTRIES:,} entries (aliases count as what they stand for)"
            )


def _lines(root: yaml.Node, name: str) -> dict[At, int]:
    """Line of each entry.

    Raises:
        UserError: a key twice, or one that is no text.
    """
    found: dict[At, int] = {}
    seen: set[int] = set()  # an anchor's content has one place, however often it is named
    todo: list[tuple[At, yaml.Node]] = [((), root)]
    while todo:
        at, node = todo.pop()
        found[at] = node.start_mark.line + 1
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                line = key.start_mark.line + 1
                if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                    shown = brief(key.value) if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                    raise UserError(f"{name}:{line}: the key {shown} is not text; put it in quotes")
                if key.value in keys:
                    raise UserError(f"{name}:{line}: {brief(key.value)} appears twice")
                keys.add(key.value)
                todo.append(((*at, key.value), value))
        elif isinstance(node, yaml.SequenceNode):
            todo += [((*at, number), value) for number, value in enumerate(node.value)]
    return found


def read_json(path: Path, what: str, largest: int = LARGEST) -> Any:
    """Plain data of one JSON file.

    Raises:
        UserError: see `read_text`; or it is no JSON: a key twice in an object and NaN are none, either.
    """
    try:
        return json.loads(
            read_text(path, what, largest), object_pairs_hook=_without_doubles, parse_constant=_no_number
        )
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: the {what} is not valid JSON: {error}") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{brief(key)} appears twice")
        found[key] = value
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
