"""Exports for other projects' trainers, read back the way those read them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from labelgen.core.errors import UserError
from labelgen.core.records import NO_REGION, UNLABELLED, Reason
from labelgen.core.taxonomy import load_taxonomy
from labelgen.datasets import write_frames
from labelgen.exports import export_run, import_labels
from labelgen.exports.superpixels import number_compactly
from labelgen.exports.words import Words, numbered
from labelgen.geometry.rle import decode
from labelgen.runs import open_run
from labelgen.semantics.prompts import Vocabulary
from labelgen.shards import create_run, verify, write_shard
from tests.helpers.records import identity_of, make_record
from tests.helpers.runs import FINGERPRINT
from tests.unit.exports.conftest import POINTS, SIZE, Labelled


def tokens(labelled: Labelled) -> dict[str, str]:
    records = json.loads((labelled.root / "v1.0-mini/sample_data.json").read_text())
    return {record["filename"]: record["token"] for record in records}


def on_top(labelled: Labelled, frame_id: str, camera: int) -> np.ndarray:
    """Pixel by pixel: the smallest region of the camera there, -1 for none."""
    regions = labelled.records[frame_id].regions
    rows = [k for k in range(len(regions)) if regions.camera[k] == camera]
    best = np.full((SIZE[1], SIZE[0]), -1)
    for number, k in sorted(enumerate(rows), key=lambda item: -regions.area[item[1]]):
        best[decode(regions.rle[k], SIZE[1], SIZE[0])] = number
    return best


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("slidr", "superpixels/nuscenes/superpixels_labelgen/{}.png"),
        ("seal", "superpixels/nuscenes/superpixels_sam/{}.png"),
        ("limoe", "superpixels/{}.png"),
        ("superflow", "superpixels/{}.png"),
    ],
)
def test_superpixels(labelled: Labelled, tmp_path: Path, name: str, pattern: str) -> None:
    export_run(open_run(labelled.run), name, tmp_path / "out")
    token = tokens(labelled)
    for frame in labelled.frames:
        for number, camera in enumerate(frame.cameras):
            image = Image.open(tmp_path / "out" / pattern.format(token[camera.image_path]))
            assert (image.mode, image.size) == ("L", SIZE)
            ids = np.array(image)
            want = on_top(labelled, frame.frame_id, number)
            if name == "superflow":
                semantics = labelled.records[frame.frame_id].semantics
                rows = labelled.records[frame.frame_id].regions.camera_slice(number)
                label = np.append(semantics.label[rows], UNLABELLED)[want]
                assert np.array_equal(ids, np.where(label == UNLABELLED, 16, label))
                continue
            pairs = set(zip(ids.ravel().tolist(), want.ravel().tolist(), strict=True))
            assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})  # one to one
            assert sorted({a for a, _ in pairs}) == list(range(len(pairs)))  # without gaps, background last
            if -1 in want:
                assert ids[want == -1].min() == len(pairs) - 1


def test_too_many_superpixels_are_given_to_neighbours() -> None:
    painted = np.repeat(np.arange(200), 3)[None].repeat(4, 0)
    painted[:, -3:] = -1
    painted[:, :30] = 0  # the largest
    ids = number_compactly(painted.astype(np.int32), 150)
    found = np.unique(ids)
    assert found.tolist() == list(range(150))
    assert (ids[:, -3:] == 149).all()
    assert not (ids[:, :-3] == 149).any()


def test_uov(labelled: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="does not say which text encoder"):
        export_run(open_run(labelled.run), "uov", out)
    owner = [spec.id for spec in labelled.taxonomy.classes for _ in spec.words]
    owner += [len(labelled.taxonomy)] * len(labelled.taxonomy.void)
    words = np.random.default_rng(1).normal(size=(len(owner), 8)).astype(np.float32)
    vocabulary = Vocabulary(len(labelled.taxonomy), words, np.array(owner, np.int32))
    monkeypatch.setattr("labelgen.exports.uov.load_vocabulary", lambda *_, **__: vocabulary)
    export_run(open_run(labelled.run), "uov", out)
    token = tokens(labelled)
    general = {spec.id: labelled.info.categories[spec.source[0]] for spec in labelled.taxonomy.classes}
    for frame in labelled.frames:
        record = labelled.records[frame.frame_id]
        value = np.load(out / f"lidarseg_ov/{frame.frame_id}_lidarseg.npy", allow_pickle=False)
        assert value.dtype == np.int32
        bare = (record.labels.label == UNLABELLED) | (record.labels.region == NO_REGION)
        assert np.array_equal(value == -1, bare)
        assert [general[int(k)] for k in record.labels.label[~bare]] == (value[~bare] % 100).tolist()
        for number, camera in enumerate(frame.cameras):
            name = out / "superpixels" / token[camera.image_path]
            ids = np.array(Image.open(f"{name}.png"))
            entries = json.loads(Path(f"{name}.json").read_text())
            feature = torch.load(f"{name}.pt", weights_only=True)
            assert feature.shape == (len(entries) + 1, 8)
            assert feature.dtype == torch.float32
            assert not feature[0].any()
            assert ids.max(initial=0) <= len(entries) < 150
            rows = record.regions.camera_slice(number)
            want = on_top(labelled, frame.frame_id, number)
            for place, entry in enumerate(entries, start=1):
                (region,) = np.unique(want[ids == place])
                label = record.semantics.label[rows][region]
                score = words.astype(float) @ record.semantics.feature[rows][region].astype(float)
                assert entry["category_id"] == max(
                    (word for word in range(len(owner)) if owner[word] == label), key=lambda word: score[word]
                )
                assert (ids == place).sum() == entry["area"]
                assert np.array_equal(feature[place].half().numpy(), record.semantics.feature[rows][region])
    text = torch.load(out / "superpixels/text_embedding.pt", weights_only=True)
    assert np.array_equal(text.numpy(), words)


def test_uov_s_own_dictionary_has_its_numbers() -> None:
    """Some of the published list, by place; of words that are listed twice the first number wins."""
    taxonomy = load_taxonomy("nuscenes16-uov")
    row = numbered(taxonomy)
    unique = [word for spec in taxonomy.classes for word in spec.words] + list(taxonomy.void)
    words = [unique[place] for place in row]
    assert (len(words), len(unique)) == (175, 173)
    known = {0: "car", 18: "bus", 28: "scooter", 35: "bicycle_rack", 51: "human", 74: "scooter", 83: "bird"}
    known |= {96: "driveable surface", 149: "pavilion", 161: "pavilion", 166: "tree", 174: unique[-1]}
    assert {number: words[number] for number in known} == known
    owner = [spec.id for spec in taxonomy.classes for _ in spec.words] + [16] * len(taxonomy.void)
    vocabulary = Vocabulary(16, np.eye(173, dtype=np.float32), np.array(owner, np.int32))
    numbers = Words(vocabulary, row)
    assert numbers.feature.argmax(axis=1).tolist() == row.tolist()
    asked = [unique.index(word) for word in ("scooter", "pavilion", "tree")]
    won = numbers.won(np.eye(173, dtype=np.float16)[asked], np.array([owner[k] for k in asked], np.uint8))
    assert won.tolist() == [28, 149, 166]
    other = load_taxonomy("nuscenes16")
    assert numbered(other).tolist() == list(range(sum(len(s.words) for s in other.classes) + len(other.void)))


def test_openscene(labelled: Labelled, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_run(open_run(labelled.run), "openscene", out, split="train")
    for frame in labelled.frames:
        record = labelled.records[frame.frame_id]
        content = torch.load(out / f"nuscenes_multiview_labelgen/{frame.frame_id}.pt", weights_only=True)
        assert set(content) == {"feat", "mask_full"}
        mask = content["mask_full"].numpy()
        used = record.views.visible & (record.view_region != NO_REGION)
        assert np.array_equal(np.flatnonzero(mask), np.unique(record.views.point[used]))
        for row, point in enumerate(np.flatnonzero(mask)[:20]):
            mine = record.view_region[used & (record.views.point == point)]
            mean = record.semantics.feature[mine].astype(np.float64).mean(0)
            got = content["feat"][row].numpy().astype(np.float64)
            assert np.abs(got - mean / np.linalg.norm(mean)).max() < 2e-3
        # Written by the test itself a moment ago.
        xyz, colours, labels = torch.load(out / f"nuscenes_3d/train/{frame.frame_id}.pth", weights_only=False)
        assert colours == 0
        assert xyz.shape == (300, 3)
        assert np.array_equal(labels, record.labels.label)


def test_scalr(labelled: Labelled, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_run(open_run(labelled.run), "scalr", out, split="train")
    index = np.load(out / "nuscenes_data_train.npy", allow_pickle=True).item()  # as ScaLR reads it
    assert len(index) == len(labelled.frames)
    by_id = {frame.frame_id: frame for frame in labelled.frames}
    ordered = [by_id[frame_id] for frame_id in open_run(labelled.run).frames]
    for number, frame in enumerate(ordered):
        assert index[number]["point"]["filename"] == frame.lidar_path
        for camera in frame.cameras:
            entry = index[number][camera.name]
            assert entry["filename"] == camera.image_path
            assert np.allclose(entry["cs_record"]["camera_intrinsic"], camera.intrinsics)
            assert len(entry["poserecord"]["rotation"]) == 4
    with np.load(out / "list_files_nuscenes.npz", allow_pickle=False) as files:
        assert [row[2] for row in files["train"]] == [frame.frame_id for frame in ordered]
        paths = [(row[0], row[1]) for row in files["train"]]
    mapping = np.load(out / "mapping_class_index_nuscenes.npy", allow_pickle=False)
    mapper = np.vectorize(lambda value: mapping[value] if value < len(mapping) else 0)
    table = labelled.taxonomy.train_id_table(labelled.info.categories)
    for frame, (points, label_path) in zip(ordered, paths, strict=True):
        assert points == frame.lidar_path
        stored = np.fromfile(labelled.root / label_path, np.uint8)
        labels = mapper(stored) - 1
        labels[labels == -1] = 255
        assert np.array_equal(labels, table[stored])


def test_scalr_has_all_splits_in_one_folder(labelled: Labelled, tmp_path: Path) -> None:
    out, run = tmp_path / "out", open_run(labelled.run)

    def content() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in out.iterdir()}

    def refused(words: str, split: str = "val") -> None:
        before = content()
        with pytest.raises(UserError, match=words):
            export_run(run, "scalr", out, split=split)
        assert content() == before
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    export_run(run, "scalr", out, split="train")
    train = content()
    refused("already holds the split train", "train")
    (out / "notes.txt").write_text("mine")
    refused("already exists and is not empty")
    (out / "notes.txt").unlink()
    (out / "list_files_nuscenes.npz").write_bytes(train["list_files_nuscenes.npz"][:-30])
    refused("list_files_nuscenes.npz is damaged")
    (out / "list_files_nuscenes.npz").write_bytes(train["list_files_nuscenes.npz"])
    np.save(out / "mapping_class_index_nuscenes.npy", np.zeros(256, np.int64))
    refused("other classes")
    (out / "mapping_class_index_nuscenes.npy").write_bytes(train["mapping_class_index_nuscenes.npy"])
    (out / "nuscenes_data_train.npy").unlink()
    refused("already exists and is not empty")
    (out / "nuscenes_data_train.npy").write_bytes(train["nuscenes_data_train.npy"])
    (out / "nuscenes_data_val.npy").write_bytes(b"what an export left that was broken off")
    export_run(run, "scalr", out, split="val")
    assert {path.name for path in out.iterdir()} == {*train, "nuscenes_data_val.npy"}
    assert (out / "nuscenes_data_train.npy").read_bytes() == train["nuscenes_data_train.npy"]
    assert len(np.load(out / "nuscenes_data_val.npy", allow_pickle=True).item()) == len(labelled.frames)
    with np.load(out / "list_files_nuscenes.npz", allow_pickle=False) as files:
        assert sorted(files.files) == ["train", "val"]
        assert np.array_equal(files["train"], files["val"])
    with pytest.raises(UserError, match="not empty"):  # another format adds nothing
        export_run(run, "slidr", out)


def test_equal_names_of_images_are_told_apart(labelled: Labelled, tmp_path: Path) -> None:
    """Of the same stem in several folders the names are those of the whole paths; others stay."""
    paths = ["one/a.png", "two/a.png", "two/b.png", "one/two_a.png", "a/c.png", "a/c.jpg"]
    frames = [
        replace(frame, cameras=tuple(replace(c, image_path=path) for c in frame.cameras[:1]))
        for frame, path in zip(labelled.frames, paths, strict=False)
    ]
    run = tmp_path / "run"
    create_run(run, fingerprint=FINGERPRINT, config={}, taxonomy=labelled.taxonomy.to_dict(), models=[])
    write_frames(run / "frames.parquet", frames, replace(labelled.info, dataset="manifest", version=""))
    rng = np.random.default_rng(0)
    records = [make_record(rng, **identity_of(f), regions=0, cameras=1, image_size=SIZE) for f in frames]
    write_shard(run, records, [], fingerprint=FINGERPRINT)
    export_run(open_run(run), "limoe", tmp_path / "out")
    found = {path.name for path in (tmp_path / "out/superpixels").iterdir()}
    assert found == {
        "one_a.png",
        "two%2Fa.png.png",  # two_a is taken
        "b.png",
        "two_a.png",
        "a%2Fc.png.png",
        "a%2Fc.jpg.png",
    }


def test_semantickitti(labelled: Labelled, tmp_path: Path) -> None:
    taxonomy = load_taxonomy("semantickitti19")
    ids = {name: number for number, spec in enumerate(taxonomy.classes, 10) for name in spec.source}
    frames = [
        replace(frame, lidar_path=f"sequences/08/velodyne/{number:06d}.bin", lidar_layout="kitti")
        for number, frame in enumerate(labelled.frames)
    ]
    run = tmp_path / "run"
    create_run(run, fingerprint=FINGERPRINT, config={}, taxonomy=taxonomy.to_dict(), models=[])
    info = replace(labelled.info, dataset="semantickitti", dataroot=str(tmp_path / "kitti"), categories=ids)
    write_frames(run / "frames.parquet", frames, info)
    rng = np.random.default_rng(0)
    records = [
        make_record(rng, frame_id=f.frame_id, scene_id=f.scene_id, timestamp_us=f.timestamp_us, classes=19)
        for f in frames
    ]
    write_shard(run, records, [], fingerprint=FINGERPRINT)
    export_run(open_run(run), "semantickitti", tmp_path / "out")
    velodyne = tmp_path / "kitti/sequences/08/velodyne"
    velodyne.mkdir(parents=True)
    export_run(open_run(run), "lidarseg-overlay", tmp_path / "overlay")
    assert (tmp_path / "overlay/sequences/08/velodyne").resolve() == velodyne.resolve()
    for number, record in enumerate(records):
        for folder in ("out/sequences/08/predictions", "overlay/sequences/08/labels"):
            values = np.fromfile(tmp_path / folder / f"{number:06d}.label", np.uint32)
            want = np.where(record.labels.label == UNLABELLED, 0, record.labels.label.astype(int) + 10)
            assert np.array_equal(values & 0xFFFF, want)
            things = record.labels.label < 8
            assert np.array_equal(values >> 16, np.where(things, record.labels.instance, 0))
    assert len(list((tmp_path / "out").rglob("*.label"))) == len(records)
    with pytest.raises(UserError, match="is not sequences"):
        export_run(open_run(labelled.run), "semantickitti", tmp_path / "x")


def test_import_gives_back_what_was_exported(labelled: Labelled, tmp_path: Path) -> None:
    export_run(open_run(labelled.run), "lidarseg-overlay", tmp_path / "overlay")
    export_run(open_run(labelled.run), "nuscenes-lidarseg", tmp_path / "sub", fill="car", split="mini_val")
    frames, info = labelled.frames, labelled.info
    run = tmp_path / "run"
    assert import_labels(tmp_path / "overlay", run, frames, info, labelled.taxonomy) == (8, 0)
    assert verify(run, deep=True) == []
    none = np.arange(POINTS) >= POINTS - 2  # the data root's clouds end with two points that are no return
    for frame in open_run(run).stream():
        label = labelled.records[frame.frame_id].labels.label
        assert np.array_equal(frame.labels.label, np.where(none, UNLABELLED, label))
        assert (frame.labels.reason == Reason.NO_RETURN).nonzero()[0].tolist() == none.nonzero()[0].tolist()
    assert import_labels(tmp_path / "overlay", run, frames, info, labelled.taxonomy) == (0, 0)
    next((tmp_path / "sub").rglob("*.bin")).unlink()
    other = tmp_path / "other"
    done = import_labels(tmp_path / "sub", other, frames, info, labelled.taxonomy, ids="challenge")
    assert done == (7, 1)
    opened = open_run(other)
    (failure,) = opened.failures.values()
    assert failure.stage == "import"
    car = labelled.taxonomy.names.index("car")
    for frame in opened.stream():
        label = labelled.records[frame.frame_id].labels.label
        filled = np.where(label == UNLABELLED, car, label)
        assert np.array_equal(frame.labels.label, np.where(none, UNLABELLED, filled))
    short = next((tmp_path / "overlay").rglob("*.bin"))
    short.write_bytes(short.read_bytes()[:-1])
    import_labels(tmp_path / "overlay", tmp_path / "short", frames, info, labelled.taxonomy)
    (failure,) = open_run(tmp_path / "short").failures.values()
    assert f"{POINTS - 1} labels for {POINTS} points" in failure.message
    with pytest.raises(UserError, match=r"no \*_lidarseg"):
        import_labels(labelled.root / "samples", tmp_path / "x", frames, info, labelled.taxonomy)
    with pytest.raises(UserError, match="dataset or challenge"):
        import_labels(tmp_path / "sub", tmp_path / "x", frames, info, labelled.taxonomy, ids="kitti")


def test_a_label_that_the_taxonomy_lacks_is_refused(labelled: Labelled, tmp_path: Path) -> None:
    small = {**labelled.taxonomy.to_dict()}
    small["classes"] = small["classes"][:8]
    run = tmp_path / "run"
    create_run(run, fingerprint=FINGERPRINT, config={}, taxonomy=small, models=[])
    write_frames(run / "frames.parquet", labelled.frames, labelled.info)
    write_shard(run, list(labelled.records.values()), [], fingerprint=FINGERPRINT)
    with pytest.raises(UserError, match=r"label 15; taxonomy nuscenes16 has 8 classes"):
        export_run(open_run(run), "lidarseg-overlay", tmp_path / "out")
