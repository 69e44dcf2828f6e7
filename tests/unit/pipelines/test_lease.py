"""Who may drive a run: one at a time, or several that share, and nobody that is dead."""

import json
import pickle
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from labelgen.errors import UserError
from labelgen.frame import Frame
from pipelines import lease as module
from pipelines.lease import Claims, lease, living_drivers
from tests.helpers.runs import make_run, some_records, write
from tests.unit.datasets.frames import make_frame


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def named(name: str, source: str = "source") -> Frame:
    return replace(make_frame(np.random.default_rng(0)), frame_id=name, source_id=source)


def frames(*names) -> list[Frame]:
    return [named(name) for name in names]


def test_a_second_driver_of_the_same_frames_is_refused(run):
    refusal = pytest.raises(UserError, match=r"another driver is at work.*--share")
    with lease(run, frames("a", "b")), refusal, lease(run, frames("b", "c")):
        pass
    with lease(run, frames("b", "c")):
        pass
    assert not living_drivers(run)


def test_slices_do_not_mind_each_other(run):
    with lease(run, frames("a", "b")), lease(run, frames("c")), lease(run, []):
        assert len(living_drivers(run)) == 3


def test_one_that_shares_and_one_that_does_not_do_not_go_together(run):
    with lease(run, frames("a"), share=True), pytest.raises(UserError), lease(run, frames("a")):
        pass
    with lease(run, frames("a")), pytest.raises(UserError), lease(run, frames("a"), share=True):
        pass


def test_a_dead_driver_is_buried_and_its_frame_suspected(run):
    code = (
        "import os, sys, signal; from pathlib import Path\n"
        "from pipelines.lease import lease\n"
        "from tests.unit.pipelines.test_lease import frames\n"
        "holding = lease(Path(sys.argv[1]), frames('a'))\n"
        "held = holding.__enter__()\n"
        "held.mark('a'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(run)], check=False)
    assert list((run / "drivers").glob("*.json")), "it left its name"
    with lease(run, frames("a")) as held:
        assert held.suspects == {"a"}
        held.mark("")
    with lease(run, frames("a")) as held:
        assert not held.suspects


def test_one_on_another_machine_counts_as_dead_without_a_sign_of_life(run, monkeypatch):
    with lease(run, frames("a")) as held:
        path = run / "drivers" / f"{held.driver.token}.json"
        elsewhere = replace(held.driver, host="elsewhere//")
        path.write_text(json.dumps(elsewhere.__dict__ | {"frames": ["a"]}))
        with pytest.raises(UserError, match="elsewhere"), lease(run, frames("a")):
            pass
        beat = run / "drivers" / f"{held.driver.token}.beat"
        beat.write_text(str(time.time() - module.STALE_S - 1))
        with lease(run, frames("a")):
            pass


def test_signs_of_life_are_given(run, monkeypatch):
    monkeypatch.setattr(module, "BEAT_S", 0.01)
    with lease(run, frames("a")) as held:
        beat = run / "drivers" / f"{held.driver.token}.beat"
        first = float(beat.read_text())
        end = time.monotonic() + 10
        while float(beat.read_text()) == first and time.monotonic() < end:
            time.sleep(0.01)
        assert float(beat.read_text()) > first


def test_two_that_share_take_every_frame_once(run):
    all_frames = frames(*map(str, range(20)))
    with lease(run, all_frames, share=True) as one, lease(run, all_frames, share=True) as other:
        first = [frame.frame_id for frame in all_frames[::2] if one.claims.take(frame)]
        second = [frame.frame_id for frame in all_frames if other.claims.take(frame)]
        rest = [frame.frame_id for frame in all_frames if one.claims.take(frame)]
        assert first == rest
        assert sorted(first + second, key=int) == [frame.frame_id for frame in all_frames]
    assert not (run / "claims").exists(), "the last one out clears up"


def test_frames_of_one_that_is_gone_are_taken_over_unless_they_are_done(run):
    records = some_records(count=2)
    both = [named(record.frame_id, record.source_id) for record in records]
    with lease(run, both, share=True) as one:
        with lease(run, both, share=True) as other:
            assert all(other.claims.take(frame) for frame in both)
            write(run, records[:1])
        assert not one.claims.take(both[0]), "done"
        assert one.claims.take(both[1]), "claimed, but nobody's any more"


def test_claims_travel_to_workers(run):
    with lease(run, frames("a"), share=True) as held:
        assert held.claims.take(named("a"))
        there: Claims = pickle.loads(pickle.dumps(held.claims))
        assert there.take(named("a")), "a worker that does it again is one of ours"
