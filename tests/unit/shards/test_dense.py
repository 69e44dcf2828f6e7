"""Dense features: stored apart, removable without harm; and a feature for every point, against loops."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from labelgen.core.errors import UserError
from labelgen.core.records import NO_REGION, DenseFeatures
from labelgen.shards import StoredRun
from labelgen.shards.compact import compact
from labelgen.shards.point_features import from_dense, from_regions
from labelgen.shards.resume import done_frames
from labelgen.shards.verify import verify
from tests.helpers.runs import make_run, some_records, write


@pytest.fixture(params=["float16", "int8"])
def made(request, tmp_path):
    records = some_records(1, dense=request.param)
    run = make_run(tmp_path / "run")
    write(run, records)
    return run, records


def same(found: DenseFeatures, given: DenseFeatures) -> None:
    assert found.values.dtype == given.values.dtype
    assert found.values.tobytes() == given.values.tobytes()
    assert found.size.tolist() == given.size.tolist()
    assert (found.scale is None) == (given.scale is None)
    if given.scale is not None:
        assert found.scale.tobytes() == given.scale.tobytes()


def test_what_was_given_is_read(made):
    run, records = made
    opened = StoredRun(run)
    for record in records:
        same(opened.frame(record.frame_id).dense, record.dense)
        assert opened.frame(record.frame_id).record().dense is None  # megabytes that few ask for
    assert "dense/size" in opened.arrays
    assert not [problem for problem in verify(run, deep=True) if problem.kind != "source-changed"]


def test_they_stand_apart(made):
    run, _ = made
    (folder,) = (run / "features").iterdir()
    (shard,) = (run / "shards").iterdir()
    assert folder.name == shard.name
    assert not (shard / "dense").exists()


def test_they_can_be_removed(made):
    run, records = made
    shutil.rmtree(run / "features")
    opened = StoredRun(run)
    frame = opened.frame(records[0].frame_id)
    assert (frame.labels.label == records[0].labels.label).all()
    assert frame.point_features("regions").shape == (200, 8)
    assert len(done_frames(run).done) == len(records)
    problems = verify(run, deep=True)
    assert [problem.kind for problem in problems if problem.kind != "source-changed"] == ["removed-features"]
    assert all(problem.harmless for problem in problems if problem.kind == "removed-features")
    with pytest.raises(UserError, match=r"features/.*cannot be read"):
        frame.point_features("dense")


def test_damage_is_found(made):
    run, _ = made
    file = next((run / "features").glob("*/dense/size/c/0/0/0"))
    content = bytearray(file.read_bytes())
    content[3] ^= 1
    file.write_bytes(content)
    assert any(p.kind in {"checksum", "torn-shard"} for p in verify(run, deep=True))


def test_an_attempt_that_no_manifest_names_is_a_leftover(made):
    run, _ = made
    shutil.copytree(next((run / "features").iterdir()), run / "features" / f"{'0' * 16}-{'1' * 12}.zarr")
    assert [p.kind for p in verify(run) if p.where.startswith("features/000")] == ["unreferenced-attempt"]
    verify(run, clean=True, min_age=-1)
    assert len(list((run / "features").iterdir())) == 1


def test_compaction_keeps_them(made, tmp_path):
    run, records = made
    compact(run, tmp_path / "compact")
    opened = StoredRun(tmp_path / "compact")
    for record in records:
        same(opened.frame(record.frame_id).dense, record.dense)


def test_a_run_without_any_says_what_to_do(tmp_path):
    run = make_run(tmp_path / "run")
    write(run, some_records())
    with pytest.raises(UserError, match=r"label with semantics\.dense_features"):
        StoredRun(run).point_features("frame-0", "dense")
    with pytest.raises(UserError, match="There are regions and dense"):
        StoredRun(run).point_features("frame-0", "both")  # type: ignore[arg-type]
    assert StoredRun(run).frame("frame-0").dense is None


def test_frames_of_one_shard_with_other_grids_are_refused(tmp_path):
    records = some_records(1, dense="float16")
    other = replace(records[0].dense, values=records[0].dense.values[:, :2])
    with pytest.raises(ValueError, match="dense features differ"):
        write(make_run(tmp_path / "run"), [replace(records[0], dense=other), *records[1:]])


def test_points_from_regions_view_by_view():
    (record,) = some_records(4, count=1)
    found = from_regions(200, record.views, record.view_region, record.semantics.feature)
    views = record.views
    seen = 0
    for point in range(200):
        total = np.zeros(8)
        for v in np.flatnonzero((views.point == point) & views.visible):
            if record.view_region[v] != NO_REGION:
                total += record.semantics.feature[record.view_region[v]].astype(np.float64)
        length = np.linalg.norm(total)
        np.testing.assert_allclose(found[point], total / length if length else total, atol=2e-3)
        seen += length > 0
    assert 0 < seen < 200


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_points_from_dense_maps_view_by_view(dtype):
    (record,) = some_records(4, count=1, dense=dtype)
    found = from_dense(200, record.views, record.dense)
    values, views = record.dense.decode(), record.views
    for point in range(200):
        total = np.zeros(8)
        for v in np.flatnonzero((views.point == point) & views.visible):
            x = np.clip((float(views.uv[v, 0]) + 0.5) / 1600 * 4 - 0.5, 0, 3)
            y = np.clip((float(views.uv[v, 1]) + 0.5) / 900 * 3 - 0.5, 0, 2)
            for i in range(3):
                for j in range(4):  # tents over the cells' centres
                    share = max(0, 1 - abs(y - i)) * max(0, 1 - abs(x - j))
                    total += share * values[views.camera[v], i, j]
        length = np.linalg.norm(total)
        np.testing.assert_allclose(found[point], total / length if length else total, atol=2e-3)


def test_images_without_features_say_nothing():
    (record,) = some_records(4, count=1, dense="float16")
    blind = replace(record.dense, values=np.zeros_like(record.dense.values))
    assert not from_dense(200, record.views, blind).any()
    fewer = DenseFeatures(record.dense.values[:1], record.dense.size[:1])
    found = from_dense(200, record.views, fewer)
    only = set(record.views.point[record.views.visible & (record.views.camera == 0)].tolist())
    assert {int(p) for p in np.flatnonzero(found.any(axis=1))} == only
