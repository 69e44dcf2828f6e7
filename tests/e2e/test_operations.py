"""How a run is stopped, refused, shared and recorded; on the sequential runner, whose rules are Ray's."""

import errno
import json
import os
import signal

import pytest

from labelgen.core.errors import UserError
from labelgen.engine import derive, sequential
from labelgen.engine.drain import INTERRUPTED, STOPPED
from labelgen.engine.job import commit
from labelgen.engine.labelling import label_plan
from labelgen.engine.lease import lease, living_drivers
from labelgen.engine.scenes import derive_scene
from labelgen.runs import open_run
from labelgen.shards import writer
from labelgen.shards.calls import read_calls
from tests.e2e.conftest import QUICK
from tests.helpers.light_jobs import label, light_plan

HERE = ("runtime.runner=sequential",)


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


def test_sigterm_finishes_what_is_begun_and_the_next_call_goes_on(dataroot, run):
    seen = []

    def on_frame(count):
        seen.append(count)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    outcome = label_plan(light_plan(dataroot, run, HERE), on_frame)
    assert outcome.stopped
    assert outcome.labelled == 3
    assert len(open_run(run).frames) == 3, "the last one in a shard of its own"
    assert signal.getsignal(signal.SIGTERM) == before
    again = label(light_plan(dataroot, run, HERE))
    assert (again.labelled, again.stopped) == (3, False)
    assert not living_drivers(run)


@pytest.fixture
def ctrl_c():
    """Sends this process what Ctrl-C sends; what it does then is as before at the end."""
    # Shells start what they put into the background with Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda: os.kill(os.getpid(), signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, STOPPED), (signal.SIGINT, INTERRUPTED)])
def test_the_exit_code_says_what_stopped_it(shell, job, monkeypatch, ctrl_c, sent, code):
    def commit_and_be_told(*arguments):
        done = commit(*arguments)
        os.kill(os.getpid(), sent)
        return done

    monkeypatch.setattr(sequential, "commit", commit_and_be_told)
    result = shell("run", *job, *QUICK, "--json")
    assert result.code == code == {signal.SIGTERM: 75, signal.SIGINT: 130}[sent]
    assert (result.json["labelled"], result.json["stopped"]) == (2, True)
    assert "4 are left; the same command goes on" in result.err
    monkeypatch.setattr(sequential, "commit", commit)
    assert shell("run", *job, *QUICK).code == 0


def test_ctrl_c_twice_ends_at_once(shell, job, run, monkeypatch, ctrl_c):
    def commit_and_be_told_twice(*arguments):
        done = commit(*arguments)
        ctrl_c()
        ctrl_c()
        return done

    monkeypatch.setattr(sequential, "commit", commit_and_be_told_twice)
    result = shell("run", *job, *QUICK)
    assert result.code == 130
    assert (
        f"interrupted: 2 frames are committed in {run}; the same command goes on" in result.err + result.out
    )
    assert not living_drivers(run)


def test_ctrl_c_in_a_derived_run(shell, dataroot, run, monkeypatch, ctrl_c):
    label(light_plan(dataroot, run, HERE))

    def derive_one_and_be_told(*arguments):
        done = derive_scene(*arguments)
        ctrl_c()
        return done

    monkeypatch.setattr(derive, "derive_scene", derive_one_and_be_told)
    result = shell("revote", run, "--min-margin", 0.5)
    assert result.code == 130
    assert "stopped: 3 frames are committed, 3 are left; the same command goes on with them" in result.err
    monkeypatch.setattr(derive, "derive_scene", derive_scene)
    assert "1 scenes were there" in shell("revote", run, "--min-margin", 0.5).out


def test_strict_stops_at_the_first_frame_that_fails(dataroot, run):
    plan = light_plan(dataroot, run, HERE)
    bad = plan.job.frames[1].frame_id
    failing = light_plan(dataroot, run, HERE, faults={bad: "error"})
    outcome = label(failing, strict=True)
    assert (outcome.labelled, outcome.failed, outcome.stopped) == (1, 1, True)
    assert outcome.figures["frames"]["work"] == {"ok": 1, "failed": 1}
    rest = label(light_plan(dataroot, run, HERE))
    assert (rest.labelled, rest.failed) == (4, 0)
    assert open_run(run).failures[bad].error_type == "ValueError"


def test_a_second_driver_is_refused_in_one_line(shell, job, dataroot, run):
    assert shell("run", *job, *QUICK, "--frames", "0:2").code == 0
    with lease(run, light_plan(dataroot, run, HERE).planned):
        refused = shell("run", *job, *QUICK)
        assert refused.code == 2
        assert "another driver is at work on these frames" in refused.err.splitlines()[-1]
        assert shell("run", *job, *QUICK, "--frames", "0:2").code == 0, "nothing of it is left to do"
    assert shell("run", *job, *QUICK).code == 0


def test_frames_that_another_driver_has_taken_are_left_to_it(dataroot, run):
    plan = light_plan(dataroot, run, HERE)
    plan.open_run()
    with lease(run, plan.job.frames, share=True) as other:
        taken = [frame for frame in plan.job.frames[::2] if other.claims.take(frame)]
        outcome = label(plan, share=True)
        assert (outcome.labelled, outcome.elsewhere, outcome.stopped) == (3, len(taken), False)
    outcome = label(light_plan(dataroot, run, HERE), share=True)
    assert (outcome.labelled, outcome.elsewhere) == (3, 0)
    assert len(open_run(run).frames) == 6


def test_what_another_driver_did_since_the_plan_was_made_is_not_done_again(dataroot, run):
    early = light_plan(dataroot, run, HERE)
    label(light_plan(dataroot, run, HERE))
    outcome = label(early)
    assert (outcome.labelled, outcome.elsewhere) == (0, 0)


def test_a_call_leaves_its_numbers(dataroot, run):
    outcome = label(light_plan(dataroot, run, HERE))
    (call,) = read_calls(run)
    assert call.labelled == 6
    figures, opened = call.figures.model_dump(), open_run(run)
    assert figures == json.loads(json.dumps(outcome.figures))
    labels = [opened.frame(frame_id).labels.label for frame_id in opened.frames]
    assert figures["points"] == sum(map(len, labels))
    assert figures["labelled"] == sum(int((label != 255).sum()) for label in labels)
    assert figures["images"] == 36
    assert figures["regions"] == sum(len(opened.frame(frame_id).regions) for frame_id in opened.frames)
    assert all(counts == {"ok": 6, "failed": 0} for counts in figures["frames"].values())
    label(light_plan(dataroot, run, HERE))
    assert len(read_calls(run)) == 1, "a call with nothing to do leaves none"


def test_a_store_that_fails_for_a_moment_is_tried_again(dataroot, run, monkeypatch):
    real, calls = writer.write_group, []

    def flaky(*arguments):
        calls.append(1)
        if len(calls) in (1, 3):
            raise OSError(errno.ESTALE, "Stale file handle")
        real(*arguments)

    monkeypatch.setattr(writer, "write_group", flaky)
    monkeypatch.setattr("labelgen.io.retry.random.uniform", lambda low, high: 0.0)
    assert label(light_plan(dataroot, run, HERE)).labelled == 6
    assert len(calls) == 3 + 2


def test_a_full_disk_stops_the_run(dataroot, run, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_group", full)
        with pytest.raises(UserError, match="No space left"):
            label(light_plan(dataroot, run, HERE))
    assert not living_drivers(run)
    assert label(light_plan(dataroot, run, HERE)).labelled == 6


def test_a_frame_without_memory_fails_alone(dataroot, run):
    bad = light_plan(dataroot, run, HERE).job.frames[2].frame_id
    outcome = label(light_plan(dataroot, run, HERE, faults={bad: "memory"}))
    assert (outcome.labelled, outcome.failed) == (5, 1)
    failure = open_run(run).failures[bad]
    assert (failure.stage, failure.error_type) == ("work", "MemoryError")
