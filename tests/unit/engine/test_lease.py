"""Who may drive a run: one at a time, or several that share, and nobody that is dead."""

import json
import os
import pickle
import re
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from labelgen.core.errors import UserError
from labelgen.core.frame import Frame
from labelgen.engine import drivers
from labelgen.engine import lease as module
from labelgen.engine.claims import Claims
from labelgen.engine.drivers import living_drivers
from labelgen.engine.lease import lease
from labelgen.io.place import open_store
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
        "from labelgen.engine.lease import lease\n"
        "from tests.unit.engine.test_lease import frames\n"
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
        assert not one.alone()
    assert not (run / "claims").exists(), "the last one out clears up"


def test_frames_of_one_that_is_gone_are_taken_over_unless_they_are_done(run):
    records = some_records(count=2)
    both = [named(record.frame_id, record.source_id) for record in records]
    with lease(run, both, share=True) as one:
        with lease(run, both, share=True) as other:
            assert all(other.claims.take(frame) for frame in both)
            write(run, records[:1])
        assert one.alone()
        assert not one.claims.take(both[0]), "done"
        assert one.claims.take(both[1]), "claimed, but nobody's any more"


def test_claims_travel_to_workers(run):
    with lease(run, frames("a"), share=True) as held:
        assert held.claims.take(named("a"))
        there: Claims = pickle.loads(pickle.dumps(held.claims))
        assert there.take(named("a")), "a worker that does it again is one of ours"


class Elsewhere:
    """A driver on another machine, whose clock is ``skew`` seconds ahead of ours."""

    def __init__(self, run, skew: float, share: bool = False) -> None:
        self.store, self.skew = open_store(run), skew
        self.driver = drivers.Driver(
            token="0123456789ab", host="elsewhere/boot/space", pid=1, born="7", started=time.time() + skew,
            share=share, frames=("a",),
        )  # fmt: skip
        (self.store.folder / "drivers").mkdir(parents=True, exist_ok=True)
        self.sign()
        self.store.replace(drivers.record_key(self.driver.token), self.driver.model_dump_json().encode())

    def sign(self) -> None:
        self.store.replace(drivers.beat_key(self.driver.token), str(time.time() + self.skew).encode())


@pytest.fixture
def own_clocks(monkeypatch):
    """A file system that dates files by the clock of who writes them: as a beat's content says, here."""

    def changed(store, key):
        return float(store.read(key)) if key.endswith(".beat") else time.time()

    monkeypatch.setattr("labelgen.io.local.LocalStore.changed", changed)


@pytest.fixture
def steps(monkeypatch):
    """Steps of a second that take no time; ``then`` is called after each."""

    class Steps:
        now = time.monotonic()
        waited = 0

        @staticmethod
        def then():
            pass

        def sleep(self, seconds):
            self.now += seconds
            self.waited += seconds
            self.then()

    given = Steps()
    for place in (module, drivers):
        monkeypatch.setattr(place.time, "monotonic", lambda: given.now)
        monkeypatch.setattr(place.time, "sleep", given.sleep)
    return given


@pytest.mark.parametrize("skew", [-600.0, 0.0, 600.0])
@pytest.mark.parametrize("clocks", ["the store's", "own"])
def test_a_living_one_keeps_its_frames_whatever_its_clock_says(run, steps, skew, clocks, request):
    if clocks == "own":
        request.getfixturevalue("own_clocks")
    other = Elsewhere(run, skew)

    def beat_now_and_then():
        if steps.waited % drivers.BEAT_S == 0:
            other.sign()

    steps.then = beat_now_and_then
    with pytest.raises(UserError, match="elsewhere"), lease(run, frames("a")):
        pass
    with lease(run, frames("b")):
        pass


@pytest.mark.parametrize("skew", [-600.0, 0.0, 600.0])
@pytest.mark.parametrize("clocks", ["the store's", "own"])
def test_a_dead_one_is_not_waited_for_long_whatever_its_clock_said(run, steps, skew, clocks, request):
    other = Elsewhere(run, skew)
    beat = run / drivers.beat_key(other.driver.token)
    if clocks == "own":
        request.getfixturevalue("own_clocks")
        beat.write_text(str(time.time() - 200 + skew))
    else:
        os.utime(beat, (1, time.time() - 200))
    warned = []
    with lease(run, frames("a"), warn=warned.append) as held:
        assert held.buried == {other.driver.token: ""}
    assert steps.waited <= drivers.WATCH_S + 2
    assert "elsewhere" in warned[0]
    assert not list((run / "drivers").iterdir())


def test_workers_take_over_from_a_dead_one_by_what_they_saw_themselves(run, steps):
    other = Elsewhere(run, 600, share=True)
    with lease(run, frames("a"), share=True) as held:
        (run / "claims" / "a").write_text(other.driver.token)
        for _ in range(20):
            assert not held.claims.take(named("a"))
            other.sign()
            steps.sleep(20)
        begin = steps.waited
        while not held.claims.take(named("a")):
            steps.sleep(10)
        assert drivers.STALE_S - 20 <= steps.waited - begin <= drivers.STALE_S + 20


def test_a_mutex_left_behind_does_not_hold_for_ever(run, steps):
    (run / "drivers").mkdir()
    mutex = run / "drivers" / "mutex"
    for content in (f"f00 1 1 {drivers.identity()[0]}", "f00 1 1 elsewhere//", "f" * 32):
        mutex.write_text(content)
        with lease(run, frames("a")):
            assert not mutex.exists()
    assert not list((run / "drivers").iterdir())


def test_in_a_store_the_stores_clock_counts(object_store, steps, monkeypatch):
    url = object_store.bucket() + "/run"
    make_run(url)
    store = open_store(url)
    with lease(url, frames("a")) as held:
        elsewhere = held.driver.model_copy(update={"host": "elsewhere//"})
        store.replace(drivers.record_key(elsewhere.token), elsewhere.model_dump_json().encode())
        store.replace(drivers.beat_key(elsewhere.token), str(time.time() - 600).encode())
        with pytest.raises(UserError, match="elsewhere"), lease(url, frames("a")):
            pass
        assert not steps.waited
        now = time.time()
        changed = {"mutex": now, "beat": now - 200}
        monkeypatch.setattr(type(store), "changed", lambda _, key: changed[re.split("[/.]", key)[-1]])
        with lease(url, frames("a")) as heir:
            assert heir.buried == {held.driver.token: ""}


# --- what others put there ----------------------------------------------------------------------------------

GOOD = {
    "token": "0123456789ab",
    "host": "h//",
    "pid": 1,
    "born": "1",
    "started": 0.0,
    "share": True,
    "frames": ["a"],
}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("keep.json", GOOD | {"token": "../../victim/keep"}),
        ("0123456789ab.json", GOOD | {"token": "ba9876543210"}),
        ("0123456789ab.json", GOOD | {"started": "soon"}),
        ("0123456789ab.json", GOOD | {"started": 1e300}),
        ("0123456789ab.json", GOOD | {"pid": -1}),
        ("0123456789ab.json", GOOD | {"pid": 1e9}),
        ("0123456789ab.json", GOOD | {"frames": "a"}),
        ("0123456789ab.json", GOOD | {"frames": ["x" * 65]}),
        ("0123456789ab.json", GOOD | {"host": "h" * 1000}),
        ("0123456789ab.json", {}),
        ("0123456789ab.json", [[]]),
        ("0123456789AB.json", GOOD),
        ("q\x1b[2J.json", GOOD),
    ],
)
def test_what_is_no_drivers_file_is_set_aside(run, tmp_path, name, content):
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "keep.json").write_text("{}")
    (run / "drivers").mkdir()
    (run / "drivers" / name).write_text(json.dumps(content))
    warned = []
    with lease(run, frames("a"), warn=warned.append):
        pass
    assert (victim / "keep.json").exists()
    (text,) = warned
    assert "not a driver's file" in text
    (left,) = (run / "drivers").iterdir()
    assert json.loads(left.read_text()) == content, "nothing is lost"


def test_a_believable_file_of_nobody_is_no_obstacle(run, steps):
    """Begun in the future on another machine, with a million frames, and the last sign from the year 2096."""
    (run / "drivers").mkdir()
    claim = GOOD | {"started": time.time() + 1e9, "frames": [f"frame-{k}" for k in range(10**6)] + ["a"]}
    (run / "drivers" / "0123456789ab.json").write_text(json.dumps(claim | {"share": False}))
    beat = run / "drivers" / "0123456789ab.beat"
    beat.write_text("4e9")
    os.utime(beat, (4e9, 4e9))
    now = run / "drivers" / "0123456789ab.now"
    now.touch()
    os.truncate(now, 1 << 30)
    with lease(run, frames("a")) as held:
        assert not held.suspects
    assert not list((run / "drivers").iterdir())


def test_a_frame_that_is_not_asked_for_is_not_suspected(run):
    (run / "drivers").mkdir()
    dead = drivers.Driver.here(("a",), False).model_copy(update={"born": "1"})
    (run / drivers.record_key(dead.token)).write_text(dead.model_dump_json())
    (run / drivers.now_key(dead.token)).write_text("../../x")
    with lease(run, frames("a")) as held:
        assert held.buried == {dead.token: "../../x"}
        assert not held.suspects


def folder(path):
    (path / "x").mkdir(parents=True)


def pipe(path):
    os.mkfifo(path)


def link(path):
    path.symlink_to(path.parent.parent.parent / "victim")


@pytest.mark.parametrize("make", [folder, pipe, link], ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    "place", ["drivers/mutex", "drivers/0123456789ab.json", "drivers/0123456789ab.beat", "claims/a", "claims"]
)
def test_no_file_in_the_place_of_ours(run, tmp_path, steps, make, place):
    (tmp_path / "victim" / "tree").mkdir(parents=True)
    (tmp_path / "victim" / "0123456789ab.json").write_text(json.dumps(GOOD))
    for name in ("drivers", "claims"):
        if name != place:
            (run / name).mkdir()
    make(run / place)
    with lease(run, frames("a"), share=True) as held:
        assert held.claims.take(named("a"))
    assert sorted(path.name for path in (tmp_path / "victim").iterdir()) == ["0123456789ab.json", "tree"]


@pytest.mark.parametrize("make", [folder, pipe, link, "file"], ids=["folder", "pipe", "link", "file"])
def test_no_folder_of_drivers(run, tmp_path, make):
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim" / "other.json").write_text("{}")
    (run / "drivers").write_text("x") if make == "file" else make(run / "drivers")
    with lease(run, frames("a")):
        assert len(living_drivers(run)) == 1
    assert [path.name for path in (tmp_path / "victim").iterdir()] == ["other.json"]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"../../../victim", b"x" * 10**6, b""])
def test_a_claim_of_nobody_is_taken(run, content):
    with lease(run, frames("a"), share=True) as held:
        (run / "claims" / "a").write_bytes(content)
        assert held.claims.take(named("a"))


def test_a_run_that_is_removed_stays_so(run, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BEAT_S", 0.01)
    with lease(run, frames("a"), share=True) as held:
        run.rename(tmp_path / "gone")
        time.sleep(0.1)
        with pytest.raises(UserError, match="is gone"):
            held.mark("a")
    assert not run.exists()
