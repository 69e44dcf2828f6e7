"""What a training on Ray says of a worker that could not go on."""

from __future__ import annotations

import pickle

from ray.train import WorkerGroupError

from labelgen.core.errors import FrameError
from labelgen.engine.ray.train import _reason


def test_the_error_of_a_worker_is_told_by_itself():
    text = "Traceback (most recent call last):\n  UserError in a line of code\nFrameError: …"
    missing = FrameError("is missing", frame_id="a-0", path="x.bin")
    sent = pickle.loads(pickle.dumps(WorkerGroupError(text, {0: RuntimeError("nccl"), 1: missing})))
    assert _reason(sent) == "frame a-0: x.bin: is missing"
    other = WorkerGroupError("out of\nmemory", {0: RuntimeError("killed")})
    assert _reason(other) == "Training failed due to worker errors: out of memory"
    assert _reason(ValueError("no GPU")) == "no GPU"
