"""A recipe is a plain list of steps: this is the default one, and what every recipe must hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from labelgen.config import RunConfig
from labelgen.core.errors import UserError
from labelgen.core.settings import Settings
from labelgen.core.taxonomy import Taxonomy
from labelgen.engine.steps import (
    CaptionRegions,
    CheckFrame,
    DescribeRegions,
    LoadFrame,
    ProjectPoints,
    ProposeRegions,
    VoteLabels,
)
from labelgen.engine.task import Step
from labelgen.semantics.registry import caption_settings

#: Makes the list of steps from the data root, the settings, the taxonomy and the run's folder or address. A
#: function of a module: workers import it by its name.
Recipe = Callable[[Path, RunConfig, Taxonomy, str], list[Step]]

#: What is stored of a frame, so that some step must give it.
STORED = ("cloud", "images", "views", "regions", "semantics", "hits", "labels")

_OF_A_STEP = ("name", "needs", "gives", "holds_model", "setup")


def label_frames(root: Path, config: RunConfig, taxonomy: Taxonomy, run: str = "") -> list[Step]:
    """The steps of pass 1; ``pipelines/pseudolabels.py`` is the same list, to be copied and changed."""
    describe = DescribeRegions(config, taxonomy)
    captions = caption_settings(config.semantics)
    return [
        LoadFrame(root),
        ProjectPoints(config),
        CheckFrame(root, config.allow),
        ProposeRegions(config, Path(run) / "label_maps" if config.regions.label_map else None),
        describe,
        *([CaptionRegions(config, captions, taxonomy, describe)] if captions else []),
        VoteLabels(config, taxonomy),
    ]


def check_recipe(steps: Sequence[Step]) -> None:
    """Check that every step gets what it needs, and that all is given that a run stores.

    Raises:
        UserError: names the step, and what it lacks or no step before it gives.
    """
    given: set[str] = set()
    names: set[str] = set()
    for step in steps:
        if lacks := [name for name in _OF_A_STEP if not hasattr(step, name)]:
            raise UserError(f"recipe: step {type(step).__name__} has no {', '.join(lacks)}")
        if step.name in names:
            raise UserError(
                f"recipe: two steps are called {step.name!r}; failures and times are recorded by name"
            )
        names.add(step.name)
        if missing := [name for name in step.needs if name not in given]:
            raise UserError(
                f"recipe: step {step.name!r} needs {', '.join(missing)}, which no step before it gives"
            )
        given |= {*step.gives}
    if missing := [name for name in STORED if name not in given]:
        raise UserError(f"recipe: no step gives {', '.join(missing)}, which a run stores")


def split(steps: Sequence[Step]) -> tuple[list[Step], list[Step], list[Step]]:
    """The steps before the first one that holds a model, those from there to the last such one, the rest."""
    models = [number for number, step in enumerate(steps) if step.holds_model]
    first, last = (models[0], models[-1] + 1) if models else (len(steps) - 1, len(steps) - 1)
    return list(steps[:first]), list(steps[first:last]), list(steps[last:])


def describe_recipe(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """What of a recipe can change a label, beside the run's settings: its steps and their own settings."""
    return [{"step": f"{type(step).__module__}.{type(step).__qualname__}"} | _plain(step) for step in steps]


def _plain(step: Step) -> dict[str, Any]:
    if not is_dataclass(step):
        return {"name": step.name}
    values = {field.name: getattr(step, field.name) for field in fields(step)}
    plain = {name: value for name, value in values.items() if isinstance(value, str | int | float | bool)}
    own = {
        name: value.covered()
        for name, value in values.items()
        if isinstance(value, Settings) and not isinstance(value, RunConfig)
    }
    return plain | own
