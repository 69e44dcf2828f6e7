"""Regions from id maps as SLidR, Seal and UOV write them, and what is wrong with files."""

import json
import os
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from labelgen.core.errors import FrameError, UserError
from labelgen.geometry.rle import decode
from labelgen.regions import Prompts, describe_proposer, make_proposer
from labelgen.regions.files import read_stored
from labelgen.regions.settings import FileSettings

SIZE = (20, 30)
IMAGE = np.zeros((*SIZE, 3), np.uint8)
FRONT = "samples/CAM_FRONT/n015__CAM_FRONT__1.jpg"


@pytest.fixture
def ids():
    ids = np.zeros(SIZE, np.uint8)
    ids[5:10, 5:20] = 1
    ids[12:, :] = 3
    return ids


def write(folder, ids, name="n015__CAM_FRONT__1"):
    folder.mkdir(exist_ok=True)
    Image.fromarray(ids).save(folder / f"{name}.png")
    return folder / f"{name}.png"


def propose(folder, image_path=FRONT, **settings):
    config = FileSettings(folder=str(folder), **settings)
    return make_proposer(config).propose(IMAGE, Prompts(image_path=image_path))


def masks(regions):
    return [decode(code, *regions.size) for code in regions.rle]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_slidr_every_id_is_a_region(tmp_path, ids, kind):
    write(tmp_path, ids.astype(kind) * (1 if kind == np.uint8 else 9999))
    got = masks(propose(tmp_path))
    assert len(got) == 3
    for mask, number in zip(got, (0, 1, 3), strict=True):
        np.testing.assert_array_equal(mask, ids == number)


def test_background_is_no_region(tmp_path, ids):
    write(tmp_path, ids)
    regions = propose(tmp_path, background=3)
    assert regions.area.tolist() == [(ids == 0).sum(), 75]


def test_uov_tables(tmp_path, ids):
    path = write(tmp_path, ids)
    records = [{"id": k + 1, "category_id": 10 * k, "area": 1} for k in range(3)]
    path.with_suffix(".json").write_text(json.dumps(records))
    table = torch.arange(12.0).reshape(4, 3)
    for content in (table, [torch.zeros(4, 3), table]):  # FC-CLIP stores two
        torch.save(content, path.with_suffix(".pt"))
        stored = read_stored(path, SIZE)
        np.testing.assert_array_equal(stored.ids, [1, 3])
        np.testing.assert_array_equal(stored.category, [0, 20])
        np.testing.assert_array_equal(stored.feature, table[[1, 3]])
        np.testing.assert_array_equal(stored.labels, np.select([ids == 1, ids == 3], [0, 1], -1))
    assert len(propose(tmp_path)) == 2


def test_maps_named_by_sample_data_tokens(tmp_path, ids):
    write(tmp_path / "maps", ids, "f00d")
    names = tmp_path / "sample_data.json"
    names.write_text(json.dumps([{"filename": FRONT, "token": "f00d"}]))
    assert len(propose(tmp_path / "maps", names=str(names))) == 3
    with pytest.raises(FrameError, match=r"other\.jpg.*does not name it"):
        propose(tmp_path / "maps", "samples/other.jpg", names=str(names))
    names.write_text("{}")
    with pytest.raises(UserError, match=r"not nuScenes' sample_data\.json"):
        propose(tmp_path / "maps", names=str(names))


def test_maps_named_by_whole_paths(tmp_path, ids):
    """As exports name images whose own names are equal."""
    write(tmp_path, ids, "a")
    write(tmp_path, np.zeros_like(ids), "two_a")
    assert len(propose(tmp_path, "one/a.png")) == 3
    assert len(propose(tmp_path, "two/a.png")) == 1


def test_the_hash_follows_the_files(tmp_path, ids):
    write(tmp_path, ids)
    config = FileSettings(folder=str(tmp_path))
    first = describe_proposer(config).weights
    assert first == describe_proposer(config).weights
    write(tmp_path, ids, "another")
    assert first != describe_proposer(config).weights


class TestFaults:
    def test_no_folder(self, tmp_path):
        with pytest.raises(UserError, match=r"regions\.folder is missing"):
            make_proposer(FileSettings())
        with pytest.raises(UserError, match=r"holds no \*\.png"):
            make_proposer(FileSettings(folder=str(tmp_path)))

    def test_no_map_for_an_image(self, tmp_path, ids):
        write(tmp_path, ids)
        with pytest.raises(FrameError, match="no id map"):
            propose(tmp_path, "samples/elsewhere.jpg")
        with pytest.raises(FrameError, match="image's path"):
            make_proposer(FileSettings(folder=str(tmp_path))).propose(IMAGE)

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (np.zeros((4, 5), np.uint8), "5 x 4, its image 30 x 20"),
            (np.zeros((*SIZE, 3), np.uint8), "one channel"),
            (b"nothing", "cannot be read|cannot identify"),
        ],
    )
    def test_maps_that_do_not_fit(self, tmp_path, ids, content, words):
        path = write(tmp_path, ids)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            Image.fromarray(content).save(path)
        with pytest.raises(FrameError, match=words):
            propose(tmp_path)

    def test_a_truncated_map(self, tmp_path):
        path = write(tmp_path, np.random.default_rng(0).integers(0, 255, SIZE, np.uint8))
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(FrameError, match="cannot be read"):
            propose(tmp_path)

    @pytest.mark.parametrize(
        ("suffix", "content", "words"),
        [
            (".json", "[]", "the list beside it has 0"),
            (".json", "{}", "a list with a record"),
            (".json", "[{}, {}, {}]", "category_id"),
            (".json", "[", "not valid JSON"),
            (".pt", torch.zeros(3, 2), "table beside it has 3 rows"),
            (".pt", torch.zeros(9), "a row per region"),
        ],
    )
    def test_tables_that_do_not_fit(self, tmp_path, ids, suffix, content, words):
        path = write(tmp_path, ids).with_suffix(suffix)
        if isinstance(content, str):
            path.write_text(content)
        else:
            torch.save(content, path)
        with pytest.raises(FrameError, match=words):
            propose(tmp_path)

    def test_code_in_a_table_is_never_run(self, tmp_path, ids):
        path = write(tmp_path, ids).with_suffix(".pt")
        mark = tmp_path / "ran"

        class Evil:
            def __reduce__(self):
                return (open, (str(mark), "w"))

        torch.save(Evil(), path)
        with pytest.raises(FrameError, match=r"pt: holds objects other than tensors \([\w.]*open\)"):
            propose(tmp_path)
        assert not mark.exists()


def test_the_hash_of_a_folder_passes_over_what_is_no_map(tmp_path, ids):
    write(tmp_path, ids)
    config = FileSettings(folder=str(tmp_path))
    before = describe_proposer(config)
    for name in ("._n015__CAM_FRONT__1.png", ".DS_Store", "Thumbs.db", "b.png.part"):
        (tmp_path / name).write_bytes(b"\0\5\26\7")
    assert describe_proposer(config) == before
    write(tmp_path, ids, "b")
    assert describe_proposer(config) != before


def test_more_regions_than_a_frame_has(tmp_path):
    every = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    with pytest.raises(FrameError, match=r"m\.png: 65536 regions; the maximum is 65534"):
        read_stored(write(tmp_path, every, "m"), every.shape)


def test_a_map_that_is_none(tmp_path):
    os.mkfifo(tmp_path / "m.png")  # to open it would wait for ever
    with pytest.raises(FrameError, match="there is no id map"):
        read_stored(tmp_path / "m.png", SIZE)
    content = bytearray(write(tmp_path, np.zeros(SIZE, np.uint8), "n").read_bytes())
    content[16:24] = struct.pack(">II", 100_000, 100_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "n.png").write_bytes(content)
    with pytest.raises(FrameError, match=r"n\.png: (cannot be read|the id map is 100000 x 100000)"):
        read_stored(tmp_path / "n.png", SIZE)


def test_tables_that_declare_more_than_they_hold(tmp_path, ids):
    path = write(tmp_path, ids)
    table = path.with_suffix(".pt")
    torch.save(torch.zeros(1).expand(4, 1 << 40), table)
    with pytest.raises(FrameError, match=r"a table of \[4, 1099511627776\].* is not in it"):
        read_stored(path, SIZE)
    torch.save(torch.zeros(4, 100_000), table)
    with zipfile.ZipFile(table) as stored, zipfile.ZipFile(tmp_path / "b", "w", zipfile.ZIP_DEFLATED) as bomb:
        for member in stored.namelist():
            bomb.writestr(member, stored.read(member))
    os.replace(tmp_path / "b", table)
    with pytest.raises(FrameError, match=r"unpacks to 16.*torch compresses nothing"):
        read_stored(path, SIZE)
