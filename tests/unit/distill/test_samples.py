"""Batches from a run: what goes in comes out, numbers fit, randomness depends on seed, epoch and frame."""

import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from labelgen.core.errors import FrameError, RawFileError, UserError
from labelgen.core.records import NO_REGION
from labelgen.data import BatchStream, LabelDataset
from labelgen.distill.augment import in_sector, move, normalise_intensity, voxelise
from labelgen.distill.batch import NONE
from labelgen.distill.classes import ClassSplit
from labelgen.distill.config import DataConfig
from labelgen.distill.needs import SOURCES, open_for_training
from labelgen.distill.samples import FrameTransform, batches_of, join, nearest
from tests.helpers import training_runs
from tests.helpers.training_runs import PER_CLASS, WIDTH, Samples, make_training_run, with_plan

EVERYTHING = tuple(SOURCES)
BOX = ((-10.0, -10.0, -3.0), (10.0, 10.0, 4.0))


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    return open_for_training(make_training_run(tmp_path_factory.mktemp("run"), captions=True))


def samples(opened, needs=EVERYTHING, config=None, **more):
    given = {"neighbours": 5, "bounds": BOX} | more
    return Samples(FrameTransform(opened, opened.frames, needs, config or DataConfig(), **given))


def stream_of(one, **more):
    return BatchStream(
        one.run, one.transform.fields, frames=one.run.frames, transform=one.transform, prefetch=0, **more
    )


def same(one, two):
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(two, field.name)
        if not (torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b):
            return False
    return True


def test_what_was_stored_comes_out_by_its_own_numbers(opened):
    whole = samples(opened, training=False)
    batch = join([whole[0, 0], whole[0, 1]])
    begin = regions = 0
    for number, frame_id in enumerate(batch.frame_id):
        record = opened.frame(frame_id).record()
        rows = batch.frame == number
        raw = batch.raw_point[batch.raw_frame == number].numpy()
        inside = ((record.xyz >= BOX[0]) & (record.xyz < BOX[1])).all(1)
        assert inside.sum() < len(raw)  # some are beyond the bounds, and are answered for all the same
        assert ((raw >= begin) & (raw < begin + int(rows.sum()))).all()
        gap = np.linalg.norm(batch.xyz.numpy()[raw] - record.xyz, axis=1)
        assert gap[inside].max() <= 0.1 * np.sqrt(3)
        for point in np.flatnonzero(~inside):
            all_gaps = np.linalg.norm(batch.xyz[rows].numpy() - record.xyz[point], axis=1)
            assert gap[point] == pytest.approx(all_gaps.min(), rel=1e-5)
        kept = record.views.visible & inside[record.views.point]
        where = batch.frame[batch.view_point] == number
        assert np.array_equal(batch.view_point[where].numpy(), raw[record.views.point[kept]])
        seen = record.view_region[kept].astype(np.int64)
        expected = np.where(seen == NO_REGION, NONE, seen + regions)
        assert np.array_equal(batch.view_region[where].numpy(), expected)
        mine = batch.region_frame == number
        assert np.array_equal(batch.region_feature[mine].numpy(), record.semantics.feature.astype(np.float32))
        assert np.array_equal(batch.region_label[mine].numpy(), record.semantics.label)
        begin, regions = begin + int(rows.sum()), regions + 6
    assert batch.region_feature.shape == (12, WIDTH)
    assert torch.equal(batch.inputs[:, 1:4], batch.xyz)
    torch.testing.assert_close(batch.inputs[:, 4], batch.xyz.norm(dim=1))


def test_the_label_of_a_point_is_that_of_its_own_raw_point(opened):
    one = samples(opened, ("label", "confidence"), training=False)[0, 0]
    record = opened.frame(opened.frames[0]).record()
    rows = rows_of(opened, one)
    assert np.array_equal(one["points/label"], record.labels.label[rows])
    assert np.allclose(one["points/confidence"], record.labels.confidence[rows] / 255)
    true = samples(opened, ("label", "confidence"), training=False, truth=True)[0, 0]
    truth = np.repeat(np.arange(3), PER_CLASS)
    truth[0] = 255
    assert np.array_equal(true["points/label"], truth[rows])
    assert (true["points/confidence"] == 1).all()


def rows_of(opened, one):
    """Raw row of each point of a part that was not moved, by its place."""
    xyz = opened.frame(one["frame_id"]).record().xyz
    place = {tuple(row): n for n, row in enumerate(xyz.tolist())}
    return [place[tuple(row)] for row in one["points/xyz"].tolist()]


def partition(numbers):
    """Which rows belong together, whatever their numbers."""
    return {tuple(np.flatnonzero(numbers == n)) for n in np.unique(numbers[numbers >= 0])}


@pytest.mark.parametrize("truth", [True, False])
def test_objects_are_those_of_the_source_with_the_labels_of_the_same_points(opened, truth):
    whole = samples(opened, ("instance",), training=False, truth=truth)
    parts = [whole[0, 0], whole[0, 1]]
    batch = join(parts)
    begin = 0
    for part, frame_id in zip(parts, opened.frames[:2], strict=True):
        rows = rows_of(opened, part)
        if truth:
            stored = np.load(opened.root / f"{frame_id}.npz")["data"][rows]
            label, number = stored // 1000 - 1, stored
            assert np.array_equal(part["points/label"], np.where(label > 2, 255, label))
        else:
            labels = opened.frame(frame_id).labels
            label, number = labels.label[rows], labels.instance[rows].astype(int)
            assert np.array_equal(part["points/label"], label)
        expected = np.where((label == 1) & (number > 0), number, -1)
        count = len(partition(expected))
        assert count == 2 if truth else 1 <= count <= 2
        assert partition(part["points/instance"]) == partition(expected)
        assert set(part["points/instance"]) == set(range(-1, count))
        mine = batch.instance[batch.frame == opened.frames.index(frame_id)].numpy()
        assert np.array_equal(
            mine, np.where(part["points/instance"] < 0, -1, part["points/instance"] + begin)
        )
        begin += count
    assert batch.instance.dtype == torch.int64
    moved = join(
        [samples(opened, ("instance",), DataConfig(max_points=60), truth=truth)[0, n] for n in (0, 1)]
    )
    assert set(moved.label[moved.instance >= 0].tolist()) == {1}
    present = torch.unique(moved.instance[moved.instance >= 0])
    assert torch.equal(present, torch.arange(len(present)))  # those cropped away leave no gap
    for number in present:
        assert len(torch.unique(moved.frame[moved.instance == number])) == 1


def test_objects_of_two_frames_that_are_mixed_stay_apart(opened):
    config = DataConfig(polarmix=1, rotate=False, flip=0, scale=0, max_points=None)
    mixed = samples(opened, ("instance",), config, bounds=None, truth=True)
    true = {}
    for frame_id in opened.frames:
        numbers = np.load(opened.root / f"{frame_id}.npz")["data"]
        for row, number in zip(opened.frame(frame_id).xyz.tolist(), numbers.tolist(), strict=True):
            true[tuple(row)] = (frame_id, number) if number // 1000 == 2 else None
    several = 0
    for epoch in range(6):
        part = mixed[epoch, 0]
        expected = [true[tuple(row)] for row in part["points/xyz"].tolist()]
        pairs = set(zip(part["points/instance"].tolist(), expected, strict=True)) - {(-1, None)}
        assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)
        several += len({b[0] for _, b in pairs}) == 2
    assert several


@pytest.mark.parametrize("truth", [True, False])
def test_what_is_novel_never_reaches_a_batch(tmp_path, truth):
    """Batches are the same to the bit whether novel points have a truth or none at all."""
    made = [open_for_training(make_training_run(tmp_path / name, ("a",), 2)) for name in ("one", "two")]
    if truth:
        for frame_id in made[1].frames:
            path = made[1].root / f"{frame_id}.npz"
            stored = np.load(path)["data"]
            assert (stored // 1000 == 2).sum() > 9
            np.savez(path, data=np.where(stored // 1000 == 2, 0, stored))
            ids = np.fromfile(made[1].root / f"{frame_id}.bin", np.uint8)
            np.where(ids == 2, 0, ids).astype(np.uint8).tofile(made[1].root / f"{frame_id}.bin")
    split = ClassSplit("no cars", (0, 2), (1,))
    needs = ("label", "confidence", "instance")
    for config in (DataConfig(), DataConfig(polarmix=1)):
        for fields_ in (needs, needs[:2]):
            one, two = (
                samples(c, fields_, config, bounds=None, truth=truth, classes=s)
                for c, s in zip(made, (split, split if not truth else None), strict=True)
            )
            for key in ((0, 0), (1, 1)):
                a, b = join([one[key]]), join([two[key]])
                assert same(a, b)
                assert set(a.label.tolist()) <= {0, 2, 255}
                assert a.instance is None or set(a.instance.tolist()) == {-1}
    shown = join([samples(made[0], needs, training=False, truth=truth)[0, 0]])
    hidden = join([samples(made[0], needs, training=False, truth=truth, classes=split)[0, 0]])
    novel = shown.label == 1
    assert novel.sum() > 9
    assert (hidden.label[novel] == 255).all()
    assert torch.equal(hidden.label[~novel], shown.label[~novel])
    assert set(hidden.confidence[novel].tolist()) == {float(truth)}


def test_frames_without_instances_are_named_or_have_none(tmp_path):
    opened = open_for_training(make_training_run(tmp_path, ("a",), 2))
    bare = dict(opened.plan)
    bare["a-1"] = replace(bare["a-1"], panoptic_path=None)
    with pytest.raises(
        UserError, match=r"1 frames have no truth .* a-1: .*frames\.parquet names no panoptic_path"
    ):
        samples(with_plan(opened, bare), ("instance",), truth=True)
    samples(with_plan(opened, bare), ("label",), truth=True)
    part = samples(with_plan(opened, bare), ("instance",), training=False)[0, 1]  # of the run
    assert part["points/instance"].max() >= 0
    (tmp_path / "data" / "a-1.npz").unlink()
    with pytest.raises(FrameError, match=r"a-1: a-1\.npz: no such file"):
        samples(opened, ("instance",), truth=True)[0, 1]
    np.savez(tmp_path / "data" / "a-1.npz", data=np.zeros(3, np.uint16))
    with pytest.raises(FrameError, match=r"a-1: a-1\.npz: 3 labels for 240 points"):
        samples(opened, ("instance",), truth=True)[0, 1]
    np.savez(tmp_path / "data" / "a-1.npz", data=np.full(240, 3000, np.uint16))  # nothing but stuff
    part = samples(opened, ("instance",), truth=True, training=False)[0, 1]
    assert set(part["points/instance"]) == {-1}
    assert set(part["points/label"]) == {2}
    both = samples(opened, ("instance",), truth=True, training=False)
    assert set(join([both[0, 1], both[0, 0]]).instance.tolist()) == {-1, 0, 1}


def test_labels_of_low_confidence_are_no_labels(opened):
    sure = samples(opened, ("label", "confidence"), DataConfig(min_confidence=0.5), training=False)[0, 0]
    assert set(sure["points/label"][sure["points/confidence"] < 0.5]) == {255}
    assert (sure["points/label"][sure["points/confidence"] >= 0.5] != 255).all()


def test_randomness_is_of_seed_epoch_and_frame(opened):
    config = DataConfig(max_points=50)
    one = samples(opened, config=config)
    assert same(join([one[3, 1]]), join([samples(opened, config=config)[3, 1]]))
    others = (one[2, 1], samples(opened, config=config, seed=1)[3, 1])
    assert not any(np.allclose(one[3, 1]["points/xyz"], other["points/xyz"]) for other in others)
    assert len(one[0, 0]["points/xyz"]) == 50


def test_workers_change_nothing_and_samples_can_be_pickled(opened):
    one = samples(opened)
    again = pickle.loads(pickle.dumps(one))
    assert same(join([one[1, 0]]), join([again[1, 0]]))


def test_a_batch_of_the_loader_is_that_of_its_samples(opened):
    one = samples(opened)
    made = list(batches_of(stream_of(one, batch_size=2, epochs=2), workers=0))
    assert len(made) == 4
    for number, batch in enumerate(made):
        keys = [(number // 2, opened.frames.index(frame_id)) for frame_id in batch.frame_id]
        assert same(batch, join([one[key] for key in keys]))
    whole = samples(opened, training=False)
    data = LabelDataset(opened, whole.transform.fields, transform=whole.transform)
    for number, batch in enumerate(batches_of(data, workers=0)):
        assert same(batch, join([whole[0, number]]))


@pytest.mark.slow
def test_two_worker_processes_make_the_same_batches(opened):
    one = samples(opened)
    here, there = (list(batches_of(stream_of(one, batch_size=2, epochs=3), workers)) for workers in (0, 2))
    assert len(here) == 6
    assert all(same(a, b) for a, b in zip(here, there, strict=True))


@pytest.mark.parametrize("count", [0, 1, 2, 4, 40])
def test_neighbours_equal_brute_force(count):
    xyz = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    found = nearest(xyz, 3)
    assert found.shape == (count, 3)
    if count > 3:
        distance = np.linalg.norm(xyz[:, None] - xyz[None], axis=2)
        np.fill_diagonal(distance, np.inf)
        assert np.array_equal(found, distance.argsort(1)[:, :3])
    elif count == 2:
        assert found.tolist() == [[1, 1, 1], [0, 0, 0]]


def test_voxels_keep_one_point_each():
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-3, 3, (500, 3)).astype(np.float32)
    cells = np.floor(xyz / np.float32(0.9))
    for draw in (None, np.random.default_rng(1)):
        chosen, inverse = voxelise(xyz, 0.9, draw)
        assert len(np.unique(cells, axis=0)) == len(chosen)
        assert (cells[chosen[inverse]] == cells).all()
    assert all(len(part) == 0 for part in voxelise(xyz[:0], 0.9, None))


def test_moves_are_what_they_say():
    rng, xyz = np.random.default_rng(0), np.random.default_rng(1).normal(size=(20, 3)).astype(np.float32)
    still = DataConfig(rotate=False, flip=0, scale=0)
    assert np.array_equal(move(xyz, still, rng), xyz)
    turned = move(xyz, still.model_copy(update={"rotate": True}), rng)
    assert np.allclose(turned[:, 2], xyz[:, 2])
    assert np.allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(xyz, axis=1), atol=1e-5)
    mirrored = move(xyz, still.model_copy(update={"flip": 1.0}), rng)
    assert np.allclose(mirrored, xyz * [-1, -1, 1])
    grown = move(xyz, still.model_copy(update={"scale": 0.1}), rng)
    share = (grown / xyz).mean()
    assert 0.9 <= share <= 1.1
    assert np.allclose(grown, share * xyz, atol=1e-5)


def test_polarmix_brings_a_sector_of_another_frame(opened):
    config = DataConfig(polarmix=1, rotate=False, flip=0, scale=0, max_points=None)
    mixed = samples(opened, ("label", "confidence"), config, bounds=None)
    owner = {tuple(row): n for n, f in enumerate(opened.frames) for row in opened.frame(f).xyz.tolist()}
    found = [{owner[tuple(row)] for row in mixed[epoch, 0]["points/xyz"].tolist()} for epoch in range(6)]
    assert any(len(frames) == 2 for frames in found)
    assert all(0 in frames for frames in found)
    with pytest.raises(UserError, match="polarmix"):
        samples(opened, config=config)
    angles = np.array([[1, 0, 0], [0, 1, 0], [-1, 0.001, 0]], np.float32)
    assert in_sector(angles, -0.1, 0.2).tolist() == [True, False, False]


def test_a_cache_without_a_field_says_so_and_what_makes_it(tmp_path):
    opened = open_for_training(make_training_run(tmp_path, ("a",), 1, features=False))
    with pytest.raises(UserError, match=r"regions/feature.*labelgen run"):
        samples(opened, ("region_feature",))
    with pytest.raises(UserError, match=r"regions/caption_feature.*caption"):
        samples(opened, ("caption_feature",))
    with pytest.raises(UserError, match="no truth"):
        samples(with_plan(opened, categories={}), ("label",), truth=True)


def test_frames_without_points_in_bounds_make_an_empty_part(opened):
    far = ((500.0, 500.0, 500.0), (501.0, 501.0, 501.0))
    batch = join([samples(opened, bounds=far, training=False)[0, 0]])
    assert len(batch) == 0
    assert len(batch.view_point) == 0
    assert set(batch.raw_point.tolist()) == {NONE}
    assert batch.neighbours.shape == (0, 5)


@pytest.mark.parametrize("none", [0.0, np.nan, 1e30])
def test_no_return_is_no_input(tmp_path, monkeypatch, none):
    """Every third point of the stored clouds is none, and has no intensity."""
    sound = training_runs._record

    def spoiled(*given):
        record, *truth = sound(*given)
        xyz, intensity = record.xyz.copy(), record.intensity.copy()
        xyz[::3], intensity[::3] = none, np.nan
        return replace(record, xyz=xyz, intensity=intensity), *truth

    monkeypatch.setattr(training_runs, "_record", spoiled)
    opened = open_for_training(make_training_run(tmp_path))
    part = samples(opened, ["label"], bounds=None, training=False)[0, 0]
    assert np.isfinite(part["points/inputs"]).all()
    gone = np.zeros(opened.entry(part["frame_id"]).num_points, bool)
    gone[::3] = True
    np.testing.assert_array_equal(part["raw/point"] == NONE, gone)
    kept = samples(opened, ["label"], bounds=None, config=DataConfig(voxel=1e-6))[0, 0]
    assert len(kept["points/xyz"]) == (~gone).sum()


def test_intensity_that_is_no_number_is_the_mean():
    some = np.float32([1, np.nan, 3, np.inf, 5])
    np.testing.assert_allclose(
        normalise_intensity(some, "x:f4,y:f4,z:f4"), np.array([-2, 0, 0, 0, 2]) / 8**0.5 * 3**0.5
    )
    assert normalise_intensity(np.float32([np.nan]), "x:f4,y:f4,z:f4").tolist() == [0]
    assert np.isfinite(normalise_intensity(some, "kitti")).all()


@pytest.mark.parametrize("single", [False, True])
def test_what_a_worker_could_not_read_comes_as_it_was_raised(tmp_path, single):
    run = make_training_run(tmp_path, ("a",), 2, points=False, captions=True)
    raw = np.random.default_rng(0).normal(size=(sum(PER_CLASS), 5)).astype("<f4")
    for name in ("a-0", "a-1"):
        (tmp_path / "data" / f"{name}.pcd.bin").write_bytes(raw.tobytes())
    opened = open_for_training(run)
    (tmp_path / "data" / "a-1.pcd.bin").unlink()
    made = samples(opened)
    frames = (
        LabelDataset(opened, made.transform.fields, frames=opened.frames, transform=made.transform)
        if single
        else stream_of(made, batch_size=1)
    )
    raised = []
    for workers in (0, 1):
        with pytest.raises(RawFileError) as caught:
            list(batches_of(frames, workers))
        raised.append((caught.value.frame_id, caught.value.path, caught.value.as_given()))
    assert raised[0] == raised[1]
    assert raised[0][:2] == ("a-1", "a-1.pcd.bin")
    assert "\n" not in raised[0][2]


def test_a_frame_whose_cloud_is_not_there_is_named(tmp_path):
    run = make_training_run(tmp_path, ("a",), 1, points=False, captions=True)
    with pytest.raises(
        UserError, match=r"data root .*data holds none of the run's files, such as a-0\.pcd\.bin"
    ):
        open_for_training(run)
    raw = np.random.default_rng(0).normal(size=(sum(PER_CLASS) + 1, 5)).astype("<f4")
    (tmp_path / "data" / "a-0.pcd.bin").write_bytes(raw[1:].tobytes())
    opened = open_for_training(run)
    (tmp_path / "data" / "a-0.pcd.bin").unlink()
    with pytest.raises(FrameError, match=r"^frame a-0: a-0\.pcd\.bin: no such file.*--dataroot"):
        list(batches_of(stream_of(samples(opened), batch_size=1), workers=0))
    (tmp_path / "data" / "a-0.pcd.bin").write_bytes(raw.tobytes())
    with pytest.raises(FrameError, match="241 points, but 240 were labelled"):
        list(batches_of(stream_of(samples(opened), batch_size=1), workers=0))
    (tmp_path / "data" / "a-0.pcd.bin").write_bytes(raw[1:].tobytes())
    (batch,) = batches_of(stream_of(samples(opened, bounds=None, training=False), batch_size=1), workers=0)
    assert {tuple(row) for row in batch.xyz.tolist()} <= {tuple(row) for row in raw[1:, :3].tolist()}
    unlabelled = {name: replace(frame, label_path=None) for name, frame in opened.plan.items()}
    with pytest.raises(UserError, match="1 frames have no truth"):
        samples(with_plan(opened, unlabelled), ("label",), truth=True)
