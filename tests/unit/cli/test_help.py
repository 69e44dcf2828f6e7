"""What every command says of itself, on narrow terminals and wide ones."""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import labelgen.cli
from labelgen.cli.app import Command, Group, help_text
from labelgen.cli.main import app

SOURCES = sorted(Path(labelgen.cli.__file__).parent.glob("*.py"))


def commands(command: Any, parent: Any = None, name: str = "labelgen") -> Iterator[tuple[str, Any, Any]]:
    ctx = command.context_class(command, info_name=name, parent=parent)
    yield ctx.command_path, command, ctx
    for inner, one in getattr(command, "commands", {}).items():
        yield from commands(one, ctx, inner)


COMMANDS = {path: (command, ctx) for path, command, ctx in commands(typer.main.get_command(app))}


def words(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("path", COMMANDS)
@pytest.mark.parametrize("columns", [60, 80, 200])
def test_nothing_of_a_help_is_lost_or_wider_than_the_terminal(path, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    command, ctx = COMMANDS[path]
    assert isinstance(command, Command | Group)
    shown = help_text(command, ctx)
    assert all(len(line) <= columns for line in shown.splitlines())
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        assert words(paragraph) in words(shown)
    for param in command.params:
        for option in param.opts:
            assert re.search(rf"(^|\s){re.escape(option)}\b", shown, re.I), option
        # Each word of an option's text, in its order: its name stands between the lines of no other.
        assert words(param.help or "") in words(shown)


def test_defaults_in_angle_brackets_are_there(capsys):
    assert "Default: runs/<data set>" in help_text(*COMMANDS["labelgen run"])
    assert "Default: RUN-<" in help_text(*COMMANDS["labelgen revote"])
    assert "Default: RUN-<" in help_text(*COMMANDS["labelgen train pretrain"])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_commands_print_through_what_takes_texts_as_they_are(path):
    """No console or group of Rich's and Typer's own, and no markup, which is not taken for any."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name != "Console", f"{path.name}: PlainConsole"
            assert name != "typer.Typer", f"{path.name}: App"
            assert name != "Table", f"{path.name}: make_table"
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.search(r"\[/[a-z ]*\]", node.value), f"{path.name}: {node.value}"
