from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelgen.core.records import UNLABELLED, Reason
from labelgen.inspection.counts import PointCounts
from labelgen.runs import open_run
from tests.helpers.runs import make_run, some_records, write

NAMES = ["car", "road", "tree"]
points = st.lists(
    st.tuples(st.sampled_from([0, 1, 2, 7, UNLABELLED]), st.integers(0, 255), st.integers(0, 9)), max_size=60
)


def counts_of(*frames):
    counts = PointCounts()
    for rows in frames:
        columns = np.array(rows, np.uint8).reshape(-1, 3).T
        counts.add(*columns)
    return counts


@settings(deadline=None)
@given(frames=st.lists(points, max_size=4))
def test_the_summary_is_a_literal_recount(frames):
    result = counts_of(*frames).summary(NAMES)
    rows = [row for frame in frames for row in frame]
    labelled = [row for row in rows if row[0] != UNLABELLED]
    assert result["points"] == len(rows)
    assert result["labelled"] == len(labelled)
    assert result["coverage"] == (len(labelled) / len(rows) if rows else 0)

    names = {0: "car", 1: "road", 2: "tree", 7: "class 7"}
    present = {names[label] for label, _, _ in labelled}
    assert set(result["labels"]) == set(NAMES) | present
    for label, name in names.items():
        if name in result["labels"]:
            mine = [c / 255 for found, c, _ in labelled if found == label]
            entry = result["labels"][name]
            assert entry["points"] == len(mine)
            assert entry["share"] == (len(mine) / len(labelled) if labelled else 0)
            assert entry["mean_confidence"] == (pytest.approx(sum(mine) / len(mine)) if mine else None)

    texts = [Reason(r).name.lower() if r in list(Reason) else f"reason {r}" for _, _, r in rows]
    assert result["reasons"] == Counter(texts)

    confidence = sorted(c for _, c, _ in labelled)
    deciles = (
        [confidence[-(-len(confidence) * k // 10) - 1] / 255 for k in range(1, 10)] if confidence else []
    )
    assert result["confidence"] == deciles
    tenths = [sum(min(c * 10 // 255, 9) == k for c in confidence) for k in range(10)]
    assert result["confidence_histogram"] == tenths


def test_an_empty_run_has_a_summary():
    result = PointCounts().summary(NAMES)
    assert (result["points"], result["coverage"], result["confidence"]) == (0, 0, [])


def test_huge_counts_do_not_overflow():
    counts = PointCounts()
    counts.labels[1] = counts.confidence[255] = 5_000_000_000
    counts.confidence_sums[1] = 255 * 5_000_000_000
    assert counts.summary(NAMES)["labels"]["road"] == {
        "points": 5_000_000_000,
        "share": 1.0,
        "mean_confidence": 1.0,
    }


def test_the_counts_of_a_manifest_are_those_of_the_arrays(tmp_path):
    run = make_run(tmp_path)
    write(run, some_records(count=3))
    by_arrays, by_manifest = PointCounts(), PointCounts()
    for frame in open_run(run).stream():
        by_arrays.add(frame.labels.label, frame.labels.confidence, frame.labels.reason)
        assert by_manifest.add_counts(frame.entry)
    assert by_manifest.summary(NAMES) == by_arrays.summary(NAMES)
    old = open_run(run).entry("frame-0").model_copy(update={"reasons": None})
    assert not by_manifest.add_counts(old)
