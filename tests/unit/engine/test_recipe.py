"""The default recipe is the one in pipelines/, lists that cannot work are refused, others are told apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from labelgen.config import load_config
from labelgen.core.errors import UserError
from labelgen.core.taxonomy import load_taxonomy
from labelgen.engine.planning import settle_recipe
from labelgen.engine.recipe import check_recipe, label_frames, split
from pipelines import pseudolabels

ROOT = Path("/data")
CONFIG, TAXONOMY = load_config("demo"), load_taxonomy("nuscenes16")


@dataclass
class Brighten:
    """A step of somebody's own."""

    factor: float = 2.0
    name: str = "brighten"
    needs: ClassVar[tuple[str, ...]] = ("images",)
    gives: ClassVar[tuple[str, ...]] = ()
    holds_model: ClassVar[bool] = False

    def setup(self) -> None: ...

    def __call__(self, task) -> None: ...


def brightened(root, config, taxonomy, run="", factor=2.0):
    """The default steps, and one more after the first."""
    steps = label_frames(root, config, taxonomy, run)
    return [steps[0], Brighten(factor), *steps[1:]]


@pytest.mark.parametrize("overrides", [(), ("semantics.captions=blip2", "regions.label_map=true")])
def test_the_recipe_to_copy_is_the_default_one(overrides):
    config = load_config("nuscenes", overrides)
    copied = pseudolabels.steps(ROOT, config, TAXONOMY, "runs/x")
    assert copied == label_frames(ROOT, config, TAXONOMY, "runs/x")
    check_recipe(copied)
    assert settle_recipe(pseudolabels.steps, ROOT, config, TAXONOMY) == (label_frames, ())
    before, models, after = split(copied)
    assert [step.name for step in before] == ["load", "project", "check"]
    assert [step.name for step in models][:2] == ["regions", "semantics"]
    assert [step.name for step in after] == ["vote"]


def test_steps_of_ones_own_are_told_apart_with_their_settings():
    _, two = settle_recipe(brightened, ROOT, CONFIG, TAXONOMY)
    _, three = settle_recipe(lambda *given: brightened(*given, factor=3.0), ROOT, CONFIG, TAXONOMY)
    assert two != three
    assert two[1] == {"step": f"{__name__}.Brighten", "factor": 2.0, "name": "brighten"}


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([0, 2, 1, 3, 4, 5], "step 'check' needs views, which no step before it gives"),
        ([0, 1, 2, 4, 5], "step 'semantics' needs regions"),
        ([0, 1, 2, 3, 4], "no step gives hits, labels, which a run stores"),
        ([0, 1, 1, 2, 3, 4, 5], "two steps are called 'project'"),
    ],
)
def test_lists_that_cannot_work_are_refused_in_one_line(order, message):
    steps = label_frames(ROOT, CONFIG, TAXONOMY)
    with pytest.raises(UserError, match=message):
        settle_recipe(lambda *given: [steps[number] for number in order], ROOT, CONFIG, TAXONOMY)


def test_a_step_that_lacks_something_is_named_with_what_it_lacks():
    class Mask:
        name = "mask"

        def setup(self) -> None: ...

    with pytest.raises(UserError, match=r"^recipe: step Mask has no needs, gives, holds_model$"):
        check_recipe([Mask()])
