"""Checks of the input: how they are registered, told, passed over, and when they stop a run."""

from dataclasses import replace

import numpy as np
import pytest

from labelgen.core.errors import UserError
from labelgen.core.frame import Camera, Frame
from labelgen.datasets.checks import (
    CHECKS,
    Check,
    FrameInput,
    Odd,
    PlanInput,
    check_names,
    frame_notes,
    noted_check,
    refuse,
    survey,
)
from labelgen.datasets.info import DatasetInfo

K = np.array([[200, 0, 159.5], [0, 200, 89.5], [0, 0, 1.0]])
FRONT = np.array([[0, -1, 0, 0], [0, 0, -1, -0.3], [1, 0, 0, 0], [0, 0, 0, 1.0]])


@pytest.fixture
def frames(tmp_path):
    """Five frames of one scene, with sound clouds."""
    rng = np.random.default_rng(0)
    for k in range(5):
        cloud = np.c_[rng.uniform(-20, 20, (500, 2)), rng.uniform(-2, 2, 500), rng.uniform(0, 1, 500)]
        cloud.astype("<f4").tofile(tmp_path / f"{k}.bin")
    pose = np.eye(4)
    out = []
    for k in range(5):
        pose = pose.copy()
        pose[0, 3] = k
        time = 1_700_000_000_000_000 + 500_000 * k
        camera = Camera("front", f"{k}.png", 320, 180, K, FRONT, time)
        out.append(Frame(f"f{k}", "s", k, time, f"{k}.bin", "kitti", pose, (camera,)))
    return out


@pytest.fixture
def few(monkeypatch):
    """A check of frames that finds what the test says, by the number of the frame."""
    shown = set()

    def function(data: FrameInput):
        if data.frame.index in shown:
            yield Odd(f"frame {data.frame.frame_id} is odd", "mend it", "front")

    monkeypatch.setitem(CHECKS, "test-few", Check("test-few", True, "frame", "", function))
    return shown


def named(findings, name):
    return [finding for finding in findings if finding.check == name]


@pytest.mark.parametrize(("shown", "stops"), [({0}, False), ({0, 1}, False), ({0, 1, 2}, True)])
def test_most_frames_must_show_what_stops_a_run(frames, tmp_path, few, shown, stops):
    few |= shown
    (finding,) = named(survey(PlanInput(tmp_path, frames, DatasetInfo())), "test-few")
    assert (finding.count, finding.of, finding.refuse) == (len(shown), 5, stops)
    assert "frame f0 is odd; mend it" in str(finding)
    if stops:
        with pytest.raises(UserError, match=r"frame f0 is odd.*--allow test-few"):
            refuse([finding])
    else:
        refuse([finding])


def test_what_is_allowed_is_passed_over(frames, tmp_path, few):
    few |= {0, 1, 2, 3, 4}
    assert not named(survey(PlanInput(tmp_path, frames, DatasetInfo()), {"test-few"}), "test-few")


def test_a_misspelt_check_is_refused_with_what_is_meant():
    assert check_names(["scene-speed"]) == {"scene-speed"}
    with pytest.raises(UserError, match="did you mean scene-speed"):
        check_names(["scene-sped"])


def test_notes_name_their_check(frames, tmp_path, few):
    few |= {1}
    (data,) = PlanInput(tmp_path, frames[1:2], DatasetInfo()).frame_inputs
    (note,) = (note for note in frame_notes(data) if "odd" in note)
    assert noted_check(note) == "test-few"
    assert noted_check("frame f0: i/0.png: the file is empty") is None
    assert noted_check("check of the data: fine") is None


def test_clouds_that_cannot_be_read_stop_a_run_only_if_all_are(frames, tmp_path):
    for k in range(4):
        (tmp_path / f"{k}.bin").write_bytes(b"")
    assert not named(survey(PlanInput(tmp_path, frames, DatasetInfo())), "cloud-readable")
    (tmp_path / "4.bin").write_bytes(b"")
    (finding,) = named(survey(PlanInput(tmp_path, frames, DatasetInfo())), "cloud-readable")
    assert finding.refuse
    assert "0.bin" in str(finding)


def test_many_of_a_kind_are_counted(frames, tmp_path):
    still = [replace(frame, timestamp_us=frames[0].timestamp_us) for frame in frames]
    found = named(survey(PlanInput(tmp_path, still, DatasetInfo())), "scene-order")
    assert len(found) == 4
    assert "1 more like that" in str(found[-1])
