"""Every number that a user can set has bounds: of settings' models and of the command line's options."""

import importlib
import math
import pkgutil
from collections.abc import Iterator
from typing import Any, get_args

import annotated_types
import pytest
import typer
from pydantic import BaseModel

import labelgen.distill
from labelgen.cli.main import app
from labelgen.config import load_config
from labelgen.core.errors import UserError
from labelgen.core.settings import Settings
from labelgen.distill.config import load_train_config
from labelgen.distill.registry import make_backbone
from labelgen.geometry import ProjectionSettings
from labelgen.labels import afi, retrieval  # noqa: F401 - their settings count, too
from labelgen.labels.settings import FusionSettings, VoteSettings


def models() -> set[type[BaseModel]]:
    """All models of settings that there are: those of the two configurations, of methods and of backbones."""
    for module in pkgutil.walk_packages(labelgen.distill.__path__, "labelgen.distill."):
        importlib.import_module(module.name)
    todo: list[type[BaseModel]] = [Settings]
    found: set[type[BaseModel]] = set()
    while todo:
        model = todo.pop()
        if model not in found:
            found.add(model)
            todo += model.__subclasses__()
            todo += [
                part
                for field in model.model_fields.values()
                for part in (field.annotation, *get_args(field.annotation))
                if isinstance(part, type) and issubclass(part, BaseModel)
            ]
    return found


def numbers(annotation: Any, metadata: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """What bounds each number within a type."""
    if annotation in (int, float):
        yield metadata
    parts = get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        yield from numbers(parts[0], (*metadata, *(m for f in parts[1:] for m in f.metadata)))
    else:
        for part in parts:
            yield from numbers(part, metadata)


def fields() -> Iterator[tuple[str, tuple[Any, ...]]]:
    for model in models():
        for name, field in model.model_fields.items():
            for metadata in numbers(field.annotation, tuple(field.metadata)):
                yield f"{model.__module__}.{model.__name__}.{name}", metadata


def test_every_number_in_the_settings_has_two_bounds():
    seen = dict(fields())
    assert len(seen) > 200
    assert "labelgen.config.DemoSection.image_size" in seen
    assert "labelgen.distill.settings.panoptic.LossSettings.dice" in seen
    for name, metadata in seen.items():
        low = [m.ge for m in metadata if isinstance(m, annotated_types.Ge)]
        low += [m.gt for m in metadata if isinstance(m, annotated_types.Gt)]
        high = [m.le for m in metadata if isinstance(m, annotated_types.Le)]
        high += [m.lt for m in metadata if isinstance(m, annotated_types.Lt)]
        assert len(low) == len(high) == 1, f"{name} lacks a bound"
        assert -math.inf < low[0] < high[0] <= 2**63, name


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def test_every_number_on_the_command_line_has_two_bounds():
    seen = 0
    for name, command in commands(typer.main.get_command(app)):
        for option in command.params:
            if option.type_descriptor.annotation in (int, float):
                seen += 1
                assert option.min is not None, f"{name} {option.opts}"
                assert option.max is not None, f"{name} {option.opts}"
    assert seen > 30


@pytest.mark.parametrize(
    "override",
    [
        "regions.max_prompts=1e9",
        "regions.points_per_batch=1000000000",
        "semantics.dense_features={grid: [100000, 100000]}",
        "demo.image_size=[100000, 100000]",
        "demo.scenes=-1",
        "runtime.threads=" + "9" * 4000,
        "labels.edge_px=.inf",
        "projection.ego_box=[-1e300, 0, 0, 1, 1, 1]",
    ],
)
def test_what_no_machine_holds_is_refused_by_its_name(override):
    with pytest.raises(UserError, match=rf"^--set .*: {override.partition('=')[0]}") as caught:
        load_config(None, [override])
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("override", ["optimizer.epochs=1e12", "data.max_points=1000000000", "seed=-1"])
def test_nor_does_a_training_begin(override):
    with pytest.raises(UserError, match=override.partition("=")[0]):
        load_train_config("slidr", overrides=[override])


@pytest.mark.parametrize(
    ("name", "settings", "word"),
    [
        ("waffleiron-999999999-999999999", {}, "layers"),
        ("waffleiron-1000-16000", {}, "square of width"),
        ("waffleiron-1-8", {"cell": 1e-6}, "cells in a plane"),
        ("waffleiron-1-8", {"low": [1, 1, 1], "high": [0, 2, 2]}, "low must be below high"),
    ],
)
def test_nor_is_a_network_built(name, settings, word):
    with pytest.raises(UserError, match=word):
        make_backbone(name, settings)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("regions.point_per_side=4", "did you mean points_per_side?"),
        ("region.backend=sam", "did you mean regions?"),
        ("demo.zzz=1", "choose from frames, image_size, scenes, seed"),
        ("semantics.dense_features.gird=[1, 1]", "did you mean grid?"),
    ],
)
def test_an_unknown_setting_is_answered_by_one_that_exists(override, words):
    with pytest.raises(UserError) as caught:
        load_config(None, [override])
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("command", "kind"), [("revote", VoteSettings), ("revote", ProjectionSettings), ("fuse", FusionSettings)]
)
def test_options_of_commands_are_within_what_the_settings_allow(command, kind):
    options = {option.name: option for option in dict(commands(typer.main.get_command(app)))[command].params}
    shared = options.keys() & kind.model_fields.keys()
    assert len(shared) >= 2
    for name in shared:
        for end in (options[name].min, options[name].max):
            assert getattr(kind(**{name: end}), name) == end
