"""What a labelled run says of itself as a whole."""

from dataclasses import dataclass, field

import pytest

from labelgen.core.errors import UserError
from labelgen.core.records import Reason
from labelgen.datasets.checks import CHECKS, Check, refuse
from labelgen.inspection.verdict import judge


@dataclass
class Entry:
    """As much of a `FrameEntry` as is looked at."""

    frame_id: str
    reasons: dict[int, int]
    num_views: int = 100
    num_regions: int = 10
    notes: tuple[str, ...] = ()
    status: str = "ok"

    @property
    def labelled(self):
        return self.reasons.get(Reason.LABELLED, 0)


@dataclass
class Entries:
    """A run of such entries."""

    entries: dict[str, Entry] = field(default_factory=dict)

    @property
    def frames(self):
        return list(self.entries)

    def entry(self, frame_id):
        return self.entries[frame_id]


SOUND = {Reason.LABELLED: 800, Reason.NO_REGION: 100, Reason.OCCLUDED: 100, Reason.NO_CAMERA: 900}


def run(*changes):
    return Entries(
        {f"f{k}": Entry(f"f{k}", **{"reasons": SOUND} | change) for k, change in enumerate(changes)}
    )


def found(*changes):
    return {finding.check: finding.refuse for finding in judge(run(*changes))}


@pytest.fixture
def noted(monkeypatch):
    monkeypatch.setitem(CHECKS, "test-noted", Check("test-noted", True, "frame", "", lambda data: iter(())))
    return {"notes": ("check test-noted: camera front is odd", "frame f0: i.png: the file is empty")}


def test_a_sound_run_says_nothing():
    assert found({}, {}, {}) == {}
    assert found({"reasons": {Reason.LABELLED: 10}}) == {}


def test_a_run_without_a_label_is_no_success():
    nothing = {"reasons": {Reason.NO_CAMERA: 1000}, "num_views": 0, "num_regions": 0}
    assert found(nothing, nothing) == {"no-label": True}
    assert found(nothing, {}) == {}
    with pytest.raises(UserError, match=r"not one point of 2 frames.*--allow no-label"):
        refuse(judge(run(nothing, nothing)))


def test_images_without_regions():
    empty = {"num_regions": 0, "reasons": {Reason.NO_REGION: 1000}}
    assert found(empty, empty, {})["no-region"]
    assert "no-region" not in found(empty, {}, {})


def test_few_labels_say_why():
    reasons = {Reason.LABELLED: 10, Reason.VOID: 900, Reason.NO_REGION: 90}
    (finding,) = judge(run({"reasons": reasons}))
    assert (finding.check, finding.refuse) == ("few-labels", False)
    assert "1.0% of the 1,000 points" in finding.text
    assert "of no known class" in finding.text


def test_a_depth_test_that_hides_most():
    assert found({"reasons": {Reason.LABELLED: 200, Reason.OCCLUDED: 800}}) == {"most-hidden": False}
    assert found({"reasons": {Reason.LABELLED: 500, Reason.OCCLUDED: 500}}) == {}


def test_notes_of_checks_are_counted(noted):
    assert found(noted, noted, {}) == {"test-noted": True}
    assert found(noted, {}, {}) == {"test-noted": False}
    (finding,) = judge(run(noted, {}, {}))
    assert str(finding) == "camera front is odd (1 of 3 frames checked)"
    assert not judge(run(noted, {}, {}), allow={"test-noted"})
    assert not judge(run(noted, {}, {}), frames={"f1", "f2"})
