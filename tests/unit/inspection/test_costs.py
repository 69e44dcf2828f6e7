"""Sums of what calls planned and took."""

from dataclasses import replace

import pytest

from labelgen.inspection.costs import compare_costs, shown
from labelgen.runs import open_run
from labelgen.shards.calls import record_call
from tests.helpers.runs import make_run, some_records, write


def expected(**more):
    plan = {
        "frames": 2,
        "bytes": 1000,
        "objects": 80,
        "wall_s": 60.0,
        "gpu_hours": 0.5,
        "price": 2.0,
        "cost": 1.0,
    }
    return {"expected": plan | {"seconds": {"load": 0.5}} | more}


def call(run, token, **more):
    record = {"labelled": 2, "failed": 0, "seconds": 90.0, "figures": {"gpus": 8, "cores": 64}}
    record_call(run, token, 1_700_000_000.0, record | more)


@pytest.fixture
def run(tmp_path):
    records = [replace(record, seconds={"load": 0.25}) for record in some_records(count=3)]
    write(make_run(tmp_path / "run"), records)
    return tmp_path / "run"


def lines_of(run):
    return {line["what"]: (line["planned"], line["actual"]) for line in compare_costs(open_run(run))}


def test_calls_add_up(run):
    call(run, "a", **expected())
    call(run, "b", labelled=1, failed=1, **expected())
    found = lines_of(run)
    assert found["frames"] == (4, 4)
    assert found["wall time, all calls"] == (120.0, 180.0)
    assert found["GPU-hours"] == (1.0, pytest.approx(2 * 90 * 8 / 3600))
    assert found["cost"] == (2.0, pytest.approx(2 * 90 * 8 / 3600 * 2))
    assert found["load, a frame"] == (0.5, pytest.approx(0.25))
    assert found["objects"][0] == 157, "the run's own three files are there once"
    files = [path for path in run.rglob("*") if path.is_file() and path.parent.name != "calls"]
    assert found["objects"][1] == len(files) + 2, "this run has neither plan nor index"


def test_without_a_plan_there_is_what_came(run):
    assert compare_costs(open_run(run)) == []
    call(run, "a", **expected())
    call(run, "b")
    found = lines_of(run)
    assert found["wall time, all calls"] == (None, 180.0), "half a plan is none"
    assert found["stored"][0] is None
    assert found["stored"][1] > 0


def test_lines_are_readable():
    line = {"what": "wall time", "unit": "time", "planned": 7200.0, "actual": 10_800.0}
    assert shown(line) == ("wall time", "2.0 h", "3.0 h", "150%")
    assert shown(line | {"planned": None}) == ("wall time", "-", "3.0 h", "-")
    assert shown(line | {"unit": "bytes", "actual": 1.5e9, "planned": 1.5e9})[2:] == ("1.5 GB", "100%")
