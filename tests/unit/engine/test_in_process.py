"""Units of work in this process: what is done alone, and when nothing is begun any more."""

from __future__ import annotations

import pytest

from labelgen.engine.driver import Watch
from labelgen.engine.in_process import one_by_one


class Units:
    """Units of two frames; says what was done with each, and how."""

    def __init__(self, *greedy: int) -> None:
        self.greedy, self.asked, self.done = greedy, [], []

    def __iter__(self):
        for number in range(4):
            self.asked.append(number)
            yield number

    @staticmethod
    def frames_of(number):
        return [f"{number}a", f"{number}b"]

    def do(self, number):
        if number in self.greedy:
            raise MemoryError
        self.done.append((number, "here"))
        return number

    def do_alone(self, number):
        self.done.append((number, "alone"))
        return number

    def run(self, watch):
        return one_by_one(self, watch, self.frames_of, self.do, self.do_alone)


def test_a_unit_at_which_a_driver_died_or_that_is_too_large_is_done_alone():
    units, marks = Units(2), []
    watch = Watch(suspects=frozenset(["1b", "elsewhere"]), mark=marks.append)
    assert list(units.run(watch)) == [0, 1, 2, 3]
    assert units.done == [(0, "here"), (1, "alone"), (2, "alone"), (3, "here")]
    assert marks == ["0a", "", "1a", "", "2a", "", "3a", ""]


@pytest.mark.parametrize("after", range(5))
def test_nothing_is_begun_nor_asked_for_after_a_stop(after):
    units, watch = Units(), Watch()
    if after == 0:
        watch.stop.set()
    for number in units.run(watch):
        if number + 1 == after:
            watch.stop.set()
    assert units.asked == list(range(after))[:4]
    assert [number for number, _ in units.done] == units.asked


def test_what_kills_the_process_stays_marked():
    units, marks = Units(), []

    def die(number):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(one_by_one(units, Watch(mark=marks.append), units.frames_of, die, die))
    assert marks == ["0a"]
