"""A frame alone in its process: what comes out of it, and what is said when nothing does."""

from dataclasses import replace

import numpy as np
import pytest

from labelgen.engine import isolation
from labelgen.engine.isolation import run_isolated
from labelgen.engine.job import FIRST, MODELS
from labelgen.engine.task import FrameTask, run_steps
from tests.helpers.light_jobs import light_plan
from tests.helpers.nuscenes_root import make_dataroot


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("isolation")
    root = make_dataroot(folder, scenes=1, samples=1)
    return light_plan(root, folder / "run", ("runtime.memory_gb=0.5",))


def loaded(plan) -> FrameTask:
    return run_steps(plan.job.steps_of(FIRST), FrameTask(plan.job.frames[0]))


def faulty(plan, fault: str):
    return replace(plan.job, frames=(), faults={plan.job.frames[0].frame_id: fault})


def test_a_good_frame_comes_out_as_it_would_have_anyway(plan):
    here = run_steps(plan.job.steps_of(MODELS), loaded(plan))
    alone = run_isolated(replace(plan.job, frames=()), MODELS, loaded(plan))
    assert alone.failure is None
    assert alone.regions.rle == here.regions.rle
    np.testing.assert_array_equal(alone.semantics.class_scores, here.semantics.class_scores)
    assert set(alone.seconds) == set(here.seconds)


@pytest.mark.parametrize(
    ("fault", "error_type", "words"),
    [
        ("segfault", "WorkerDied", "SIGSEGV"),
        ("allocate", "MemoryError", "0.5 GB"),
        ("cuda", "WorkerDied", "illegal memory access"),
    ],
)
def test_a_poison_frame_is_named_with_the_reason(plan, fault, error_type, words):
    task = run_isolated(faulty(plan, fault), MODELS, loaded(plan))
    assert (task.failure.stage, task.failure.error_type) == ("work", error_type)
    assert words in task.failure.message
    assert task.failure.frame_id == plan.job.frames[0].frame_id
    assert task.failure.traceback
    assert task.cloud is None, "nothing of it is carried on"


def test_one_that_never_ends_is_ended(plan, monkeypatch):
    monkeypatch.setattr(isolation, "LIMIT_S", 0.01)
    task = run_isolated(replace(plan.job, frames=()), MODELS, loaded(plan))
    assert task.failure.error_type == "TimeoutError"
