"""How frames travel to Ray's workers."""

import pickle

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.engine.ray.operators import pack, unpack
from labelgen.engine.task import FrameTask
from tests.unit.datasets.frames import make_frame


@settings(max_examples=20, deadline=None)
@given(seeds=st.lists(st.integers(0, 5), max_size=8))
def test_a_packed_group_holds_its_frames_in_order(seeds):
    frames = [make_frame(np.random.default_rng(seed)) for seed in seeds]
    tasks = [pickle.loads(row["task"]) for row in unpack(pack(frames))]
    assert [pickle.dumps(task) for task in tasks] == [
        pickle.dumps(pickle.loads(pickle.dumps(FrameTask(frame)))) for frame in frames
    ]


def test_frames_of_one_rig_take_little_room():
    """The driver holds the packed groups of all frames that are still to be done."""
    one = make_frame(np.random.default_rng(0))
    assert len(pack([one] * 8)["frames"]) < 2 * len(pack([one])["frames"])
