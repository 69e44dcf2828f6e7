"""Runs and settings from before a part's settings stood beside its code.

``tests/golden/settings.json`` holds fingerprints as they were computed then, ``runs.tar.xz`` runs of then:
a data root of one scene, two runs of it with other backends, and two that are derived from one of them.
"""

import json
import tarfile
import warnings
from pathlib import Path

import pytest

from labelgen.config import RunConfig, fingerprint, load_config
from labelgen.core.errors import UserError
from labelgen.distill.config import load_train_config
from labelgen.engine.operations import FuseScene, RefineFlat, fusion_of
from labelgen.engine.planning import Request, make_plan
from labelgen.labels.afi import AfiSettings
from labelgen.labels.retrieval import RetrievalSettings
from labelgen.runs import open_run
from labelgen.shards import verify
from tests.helpers.light_jobs import LIGHT

GOLDEN = Path(__file__).parents[2] / "golden"
KNOWN = json.loads((GOLDEN / "settings.json").read_text())
MODELS = [{"name": "sam", "weights": "aa"}, {"name": "clip", "weights": "bb"}]
BOX = (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0)


def mark(config: RunConfig) -> str:
    return fingerprint(config.settle("nuscenes16", BOX), "t", MODELS)


def loaded(preset, overrides):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_config(preset, overrides)


def has_unused(preset, overrides) -> bool:
    """Whether preset and overrides say something that the chosen backend and method have no use for."""
    config = loaded(preset, overrides)
    asked = loaded(preset, [*overrides, "regions.backend=sam"]) if preset else config
    used = config.regions.covered().keys()
    default = type(config.regions)()
    idle = any(getattr(config.regions, name) != getattr(default, name) for name in config.regions.idle())
    fields = type(asked.regions).model_fields
    other = any(getattr(asked.regions, name) != fields[name].default for name in fields.keys() - used)
    return idle or (config.regions.backend != "sam" and other) or any("words=" in text for text in overrides)


@pytest.mark.parametrize("preset", [None, "demo", "nuscenes", "semantickitti"])
def test_fingerprints_are_what_they_were(preset):
    same = 0
    for entry in (entry for entry in KNOWN["runs"] if entry["preset"] == preset):
        found = mark(loaded(preset, entry["set"]))
        if found == entry["fingerprint"]:
            same += 1
        else:
            assert has_unused(preset, entry["set"]), entry
            if "config" in entry:  # what such a run says of itself is read as the same settings
                assert mark(RunConfig.model_validate(entry["config"])) == found
    assert same >= 28


def test_trainings_are_what_they_were():
    for entry in KNOWN["trainings"]:
        config = load_train_config(entry["method"], entry["size"], None, entry["set"])
        assert config.digest() == entry["digest"], entry


def test_derived_runs_are_what_they_were():
    def text(operation) -> str:
        return json.dumps(operation.settings(), sort_keys=True)

    for entry in KNOWN["derivations"]:
        config = load_config(None, entry["set"])
        fused = fusion_of(config.labels, config.fusion, config.projection)
        alone = FuseScene(fused.vote, fused.projection, None)
        found = {
            "fuse": text(fused),
            "instances": text(alone),
            "afi": text(RefineFlat(AfiSettings())),
            "retrieval": json.dumps(RetrievalSettings(neighbours=9, weight=0.25).covered(), sort_keys=True),
        }
        assert found[entry["operation"]] == entry["text"], entry


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    with tarfile.open(GOLDEN / "runs.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("name", ["superpixel", "sam", "superpixel-revote", "superpixel-fused"])
def test_a_run_of_then_opens_and_verifies(before, name):
    run = open_run(before / name)
    assert len(run.frames) == 2
    assert run.settings.regions.backend == name.partition("-")[0]
    assert all(run.frame(frame_id).labels.label.size for frame_id in run.frames)
    assert not [problem for problem in verify(before / name, deep=True) if not problem.harmless]


def plan_of(before, name, *more):
    overrides = (*LIGHT, "runtime.runner=sequential", *more)
    return make_plan(Request("nuscenes", before / "nuscenes", output=before / name, overrides=overrides))


@pytest.mark.parametrize(("name", "more"), [("superpixel", ()), ("sam", ("regions.backend=sam",))])
def test_a_run_of_then_goes_on(before, name, more):
    plan = plan_of(before, name, *more)
    assert (plan.done, len(plan.job.frames)) == (2, 0)
    assert plan.job.fingerprint == open_run(before / name).info.fingerprint
    plan.open_run()


def test_but_not_with_other_settings(before):
    plan = plan_of(before, "sam", "regions.backend=sam", "regions.superpixel_segments=90")
    assert (plan.done, len(plan.job.frames)) == (0, 2)
    with pytest.raises(UserError, match="superpixel_segments: 150 there, 90 here"):
        plan.open_run()
