"""The estimate that is kept beside a run: another's, a damaged or an impossible one is as none."""

import json

import pytest

from labelgen.engine.probe import CostEstimate, keep, kept
from labelgen.engine.throughput import Costs

COSTS = Costs({"load": 0.1, "regions": 2.0}, 5.0, 1e6, 1e6, 1000.0, 70, 8, machine="here, 2 cores")
BILL = CostEstimate("ab" * 16, COSTS, price=2.5)


def test_what_was_kept_is_found(tmp_path):
    assert kept(tmp_path / "run", BILL.fingerprint) is None
    keep(BILL, tmp_path / "run")
    assert kept(tmp_path / "run", BILL.fingerprint) == BILL
    assert kept(tmp_path / "run", "cd" * 16) is None


@pytest.mark.parametrize(
    "change",
    [
        {"price": -1},
        {"price": "free"},
        {"costs": None},
        {"costs": {"seconds": {"load": "long"}}},
        {"costs": {"seconds": [1, 2]}},
        {"costs": {"seconds": {"load": float("nan")}}},
        {"costs": {"cores_per_gpu": 0}},
        {"costs": {"frames": 0}},
        {"costs": {"start_s": 10**400}},
        {"costs": {"read_bytes": -5.0}},
    ],
    ids=str,
)
def test_an_impossible_one_is_none(tmp_path, change):
    keep(BILL, tmp_path / "run")
    (place,) = tmp_path.iterdir()
    content = json.loads(place.read_text())
    costs = content["costs"]
    content |= change
    if isinstance(change.get("costs"), dict):
        content["costs"] = costs | change["costs"]
    place.write_text(json.dumps(content))
    assert kept(tmp_path / "run", BILL.fingerprint) is None


@pytest.mark.parametrize("raw", [b"", b"[]", b"[" * 100_000, b"\xff", b'{"costs": {}, "costs": {}}'])
def test_a_damaged_one_is_none(tmp_path, raw):
    keep(BILL, tmp_path / "run")
    (place,) = tmp_path.iterdir()
    place.write_bytes(raw)
    assert kept(tmp_path / "run", BILL.fingerprint) is None
