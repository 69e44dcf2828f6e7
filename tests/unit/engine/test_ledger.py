"""The books of a run: who is to blame for a death, when to stop, and what is counted."""

from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.core.errors import UserError
from labelgen.engine.metrics import Metrics
from labelgen.engine.supervisor import Supervisor


def report(**more):
    return {"seconds": {"vote": 0.5}, "failed": None, "last": True, **more}


def test_a_frame_on_anothers_books_killed_that_one():
    supervisor = Supervisor()
    assert supervisor.begin("a", "models", "x").deaths == 0
    assert supervisor.begin("b", "models", "x").deaths == 1
    assert supervisor.begin("c", "models", "x").deaths == 2
    supervisor.end("c", "models", report(last=False))
    assert supervisor.begin("d", "models", "x").deaths == 2, "it is done; it is only asked for again"
    assert supervisor.figures()["worker_deaths"] == {"models": 2}


def test_what_a_worker_had_before_is_done_when_it_begins_anew():
    """The message that says so may be lost with the worker that comes to grief over the next frame."""
    supervisor = Supervisor()
    supervisor.begin("a", "load", "good")
    supervisor.begin("a", "load", "poison")
    assert supervisor.begin("b", "load", "good").deaths == 0
    assert supervisor.begin("c", "load", "poison").deaths == 1


def test_operators_have_books_of_their_own():
    supervisor = Supervisor()
    supervisor.begin("a", "load", "x")
    assert supervisor.begin("b", "models", "x").deaths == 0


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.booleans()), max_size=60))
def test_only_frames_that_were_at_work_are_ever_blamed(events):
    """Against a model: each worker has at most one frame, and dies or ends it."""
    supervisor, at_work, deaths, names = Supervisor(), {}, {}, {}
    for slot, frame, dies in events:
        worker = f"{slot}-{names.get(slot, 0)}"
        frame_id = f"f{frame}"
        if frame_id in at_work.values():
            continue  # the engine gives a frame away again only after a death
        expected = deaths.get(frame_id, 0)
        dead = next((w for w, f in at_work.items() if f == frame_id), None)
        assert dead is None
        assert supervisor.begin(worker, "models", frame_id).deaths == expected
        if dies:
            names[slot] = names.get(slot, 0) + 1  # another process takes its place
            other = f"other-{slot}-{names[slot]}"
            assert supervisor.begin(other, "models", frame_id).deaths == expected + 1
            deaths[frame_id] = expected + 1
            supervisor.end(other, "models", report(last=False))
        else:
            supervisor.end(worker, "models", report(last=False))


def test_a_stop_lets_what_is_inside_finish():
    supervisor = Supervisor()
    for frame_id in ("x", "y"):
        supervisor.begin("a", "load", frame_id)
        supervisor.end("a", "load", report(last=False))
    supervisor.begin("b", "models", "x")
    supervisor.stop()
    assert supervisor.take().inside == 2
    supervisor.end("b", "models", report(last=False))
    assert supervisor.begin("b", "models", "y").stop, "it has not met the models yet"
    assert supervisor.begin("a", "load", "z").stop
    orders = supervisor.begin("a", "label", "x", finish=True)
    supervisor.end("a", "label", report())
    assert orders.stop
    state = supervisor.take()
    assert (state.left, state.inside) == (1, 0)
    assert supervisor.take().left == 0


def test_figures_add_up():
    metrics = Metrics()
    for number in range(4):
        metrics.begun("load")
        metrics.add("load", {"seconds": {"load": 0.1, "project": 0.3}, "failed": None, "last": False})
        metrics.begun("label")
        failed = "vote" if number == 3 else None
        more = {} if failed else {"images": 6, "regions": 60, "points": 100, "labelled": 80}
        metrics.add(
            "label", {"seconds": {"vote": 0.2 * (number + 1)}, "failed": failed, "last": True, **more}
        )
    figures = metrics.to_dict()
    assert figures["frames"]["vote"] == {"ok": 3, "failed": 1}
    assert figures["seconds"]["vote"] == {"total": 2.0, "mean": 0.5, "slowest": 0.8}
    assert (figures["points"], figures["coverage"], figures["masks_per_image"]) == (300, 0.8, 10.0)


def test_the_queue_is_what_left_one_operator_and_has_not_begun_in_the_next():
    metrics = Metrics()
    for _ in range(5):
        metrics.begun("load")
        metrics.add("load", {"seconds": {}, "failed": None, "last": False})
    metrics.begun("models")
    metrics.begun("models")
    assert metrics.queues() == {"models": 3}


def test_a_sink_sees_the_same_numbers():
    class Sink:
        def __init__(self):
            self.counts, self.values = {}, {}

        def count(self, name, value, **tags):
            key = (name, *sorted(tags.items()))
            self.counts[key] = self.counts.get(key, 0) + value

        def observe(self, name, value, **tags):
            self.count(name, value, **tags)

        def set(self, name, value, **tags):
            self.values[name] = value

    sink = Sink()
    metrics = Metrics(sink)
    metrics.begun("label")
    metrics.add("label", report(images=2, regions=9, points=10, labelled=4, gpu_bytes=7), worker="a")
    figures = metrics.to_dict()
    assert sink.counts["frames", ("outcome", "ok"), ("stage", "vote")] == figures["frames"]["vote"]["ok"] == 1
    assert sink.counts["stage_seconds", ("stage", "vote")] == figures["seconds"]["vote"]["total"]
    assert sink.values["coverage"] == figures["coverage"] == 0.4
    assert sink.values["gpu_bytes"] == figures["gpu_bytes"] == 7


def test_writers_that_die_are_counted_and_those_that_end_are_not():
    supervisor = Supervisor()
    assert supervisor.begin_write("a", "shard") == 0
    supervisor.end_write("a")
    assert supervisor.begin_write("b", "shard") == 0, "lost with a node and made again, not died over"
    assert supervisor.begin_write("c", "shard") == 1
    assert supervisor.begin_write("c", "shard of one") == 0
    assert supervisor.begin_write("d", "shard of one") == 1
    assert supervisor.begin_write("e", "shard") == 1, "c had gone on to another"
    assert supervisor.take().inside == 0, "frames that are written have left"
    assert supervisor.figures()["worker_deaths"] == {"write": 2}


def test_all_shards_that_a_frame_was_to_be_in_are_kept():
    supervisor = Supervisor()
    assert supervisor.assign(["x", "y"], "first") == {}
    assert supervisor.assign(["y", "z"], "second") == {"y": ["first"]}
    assert supervisor.assign(["y"], "third") == {"y": ["first", "second"]}
    assert supervisor.assign(["x", "y"], "first") == {"y": ["second", "third"]}


def test_the_first_error_that_ends_a_run_is_kept_as_it_is():
    supervisor = Supervisor()
    assert supervisor.fault() is None
    first = UserError("weights sam.pt are missing")
    supervisor.report(first)
    supervisor.report(UserError("another worker's"))
    assert supervisor.fault() is first
