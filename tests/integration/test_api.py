"""The verbs do in Python what the commands do; a frame labelled in a notebook is the frame of a run."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

import labelgen
from labelgen import api
from labelgen.config import load_config
from labelgen.core.errors import FrameError, UserError
from labelgen.core.records import PointLabels
from labelgen.datasets import plan_frames
from labelgen.engine.recipe import label_frames
from labelgen.engine.steps import LoadFrame
from labelgen.engine.task import FrameTask, Step
from tests.e2e.conftest import FAST
from tests.helpers.cli import Shell
from tests.helpers.nuscenes_root import make_dataroot

SETTINGS = dict(text.split("=") for text in FAST) | {
    "regions.superpixel_segments": 20,
    "semantics.context": 0,
    "runtime.frames_per_shard": 2,
    "runtime.runner": "sequential",
}


@pytest.fixture(scope="module")
def dataroot(tmp_path_factory) -> Path:
    return make_dataroot(tmp_path_factory.mktemp("api"), scenes=2, samples=3)


@pytest.fixture(scope="module")
def done(dataroot) -> api.Labelled:
    planned = labelgen.plan("nuscenes", dataroot, settings=SETTINGS, output=dataroot.parent / "run")
    assert planned.summary()["todo"] == 6
    counts: list[int] = []
    found = labelgen.label(planned, on_frame=counts.append)
    assert sum(counts) == 6
    return found


def counted(root, config, taxonomy, run="") -> list[Step]:
    """The default steps, the first of which leaves a note."""
    steps = label_frames(root, config, taxonomy, run)
    return [Noted(root), *steps[1:]]


class Noted(LoadFrame):
    """A step of somebody's own."""

    def __call__(self, task: FrameTask) -> None:
        super().__call__(task)
        task.notes.append("loaded by a step of my own")


def test_steps_of_ones_own_make_another_run(done, dataroot):
    one = {"settings": SETTINGS, "frames": "0:1", "recipe": counted}
    with pytest.raises(UserError, match=r"other settings.*recipe"):
        labelgen.label(labelgen.plan("nuscenes", dataroot, output=done.run, **one))
    made = labelgen.label(labelgen.plan("nuscenes", dataroot, output=dataroot.parent / "own", **one))
    run = labelgen.open_run(made.run)
    assert run.entry(run.frames[0]).notes == ("loaded by a step of my own",)
    assert equal(run.frame(run.frames[0]).labels, labelgen.open_run(done.run).frame(run.frames[0]).labels)
    assert labelgen.label(labelgen.plan("nuscenes", dataroot, output=made.run, **one)).outcome.labelled == 0


def equal(ours: PointLabels, theirs: PointLabels) -> bool:
    return all(getattr(ours, name).tobytes() == getattr(theirs, name).tobytes() for name in PointLabels._SPEC)


def test_a_run_is_labelled_fused_and_reported(done):
    assert (done.outcome.labelled, done.outcome.failed) == (6, 0)
    run = labelgen.open_run(done.run)
    assert len(run.frames) == 6
    assert done.fused is not None
    assert labelgen.open_run(done.fused.run).parent.url == run.url
    assert Path(done.report).is_file()
    again = labelgen.label(labelgen.plan("nuscenes", run.root, settings=SETTINGS, output=done.run))
    assert again.outcome.labelled == 0


def test_a_frame_alone_is_the_frame_of_the_run(done, dataroot):
    frames, info = plan_frames("nuscenes", dataroot)
    config = load_config("demo", [f"{name}={value}" for name, value in SETTINGS.items()], dataset="nuscenes")
    steps = labelgen.frame_steps(config, info.dataroot, info)
    run = labelgen.open_run(done.run)
    for frame in frames[:2]:
        record = labelgen.label_frame(frame, steps)
        stored = run.frame(frame.frame_id)
        assert equal(record.labels, stored.labels)
        np.testing.assert_array_equal(record.semantics.class_scores, stored.semantics.class_scores)
        assert len(record.xyz) == stored.num_points

    class Broken:
        name = "mine"

        def setup(self) -> None: ...

        def __call__(self, task) -> None:
            raise ValueError("no such thing")

    with pytest.raises(FrameError, match=f"frame {frames[0].frame_id}: mine: no such thing"):
        labelgen.label_frame(frames[0], [*steps[:2], Broken()])


@pytest.mark.parametrize(
    ("verb", "arguments", "command"),
    [
        (api.revote, {"changes": {"min_margin": 0.3}}, ["revote", "--min-margin", "0.3"]),
        (api.refine, {"afi": True, "fill": True}, ["refine", "--afi", "--fill"]),
        (api.refine, {"retrieval": {"neighbours": 3}}, ["refine", "--retrieval", "--neighbours", "3"]),
        (api.fuse, {"changes": {"voxel": 0.4}}, ["fuse", "--voxel", "0.4"]),
    ],
    ids=lambda value: value[0] + value[1] if isinstance(value, list) else None,
)
def test_a_verb_gives_what_its_command_gives(done, tmp_path, monkeypatch, capsys, verb, arguments, command):
    derived = verb(done.run, output=tmp_path / "verb", scenes=range(1), **arguments)
    assert (derived.outcome.labelled, derived.outcome.scenes) == (3, 1)
    name, *options = command
    shell = Shell(monkeypatch, capsys)
    given = (name, done.run, *options, "--output", tmp_path / "command", "--scenes", "0:1")
    assert shell(*given).code == 0
    ours, theirs = labelgen.open_run(derived.run), labelgen.open_run(tmp_path / "command")
    assert ours.frames == theirs.frames
    assert all(equal(ours.frame(name).labels, theirs.frame(name).labels) for name in ours.frames)


def test_what_cannot_be_asked_for_is_said_by_its_name(done, dataroot):
    with pytest.raises(UserError, match="choose one way to refine"):
        labelgen.refine(done.run)
    with pytest.raises(UserError, match="min_margin"):
        labelgen.revote(done.run, changes={"min_margin": 7})
    with pytest.raises(UserError, match="neighbours"):
        labelgen.refine(done.run, retrieval={"neighbors": 3})
    with pytest.raises(UserError, match=r"regions\.backend"):
        labelgen.plan("nuscenes", dataroot, settings={"regions.backend": "sma"})


def test_the_package_offers_all_verbs():
    verbs = {name for name in api.__all__ if inspect.isfunction(getattr(api, name))}
    assert verbs <= set(labelgen.__all__)
    for name in labelgen.__all__:
        assert getattr(labelgen, name) is not None
    assert all("# doctest: +SKIP" in inspect.getdoc(getattr(api, name)) for name in verbs - {"label_frame"})
    with pytest.raises(AttributeError):
        getattr(labelgen, "nonsense")  # noqa: B009
