"""Shards come back as they were given, through our reader and through those of others."""

from __future__ import annotations

import json
import os
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numcodecs.zstd import Zstd

from labelgen.core.records import FrameStatus
from labelgen.shards import StoredRun, verify, write_shard
from labelgen.shards.columns import pack, uv_steps
from tests.helpers.records import assert_stored, make_record
from tests.helpers.runs import FINGERPRINT, make_failure, make_run, some_records, write


@st.composite
def groups(draw: st.DrawFn) -> list[Any]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    same = {
        "classes": draw(st.integers(1, 5)),
        "width": draw(st.integers(0, 6)),
        "captions": draw(st.booleans()),
        "parents": draw(st.booleans()),
        "cloud": draw(st.booleans()),
        "image_size": draw(st.sampled_from([(1600, 900), (3840, 2160)])),
    }
    # All frames have regions, or none: one without any goes with captions and without.
    most = draw(st.sampled_from([0, 30]))
    ids = st.text(
        st.characters(codec="ascii", exclude_categories=["C"], exclude_characters="/\\"), max_size=20
    )
    return [
        make_record(
            rng,
            frame_id=f"{draw(ids)}-{n}",
            scene_id=draw(st.text(st.characters(exclude_categories=["C", "Z"]), max_size=5)),
            timestamp_us=draw(st.integers(-(2**62), 2**62)),
            source_id=draw(st.sampled_from(["", "a"])),
            status=draw(st.sampled_from(FrameStatus)),
            notes=tuple(draw(st.lists(st.text(st.characters(exclude_categories=["C", "Z"])), max_size=2))),
            points=draw(st.integers(0, 40)),
            regions=draw(st.integers(min(1, most), most)),
            cameras=draw(st.integers(1, 3)),
            **same,
        )
        for n in range(draw(st.integers(1, 4)))
    ]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(groups())
def test_any_group_comes_back(records: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder))
        write(run, records, [make_failure("f")])
        opened = StoredRun(run)
        assert sorted(opened.frames) == sorted(record.frame_id for record in records)
        for record in records:
            assert_stored(opened.frame(record.frame_id).record(), record, 1 / uv_steps(records))
        assert verify(run, deep=True) == []


@pytest.fixture(autouse=True)
def _no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


CASES: dict[str, dict[str, Any]] = {
    "everything": {"captions": True, "parents": True, "cloud": True},
    "many chunks": {"points": 9000, "regions": 300, "cameras": 3},
    "no points": {"points": 0},
    "no regions": {"regions": 0, "captions": True},
    "no features": {"width": 0},
}


@pytest.mark.parametrize("case", CASES)
def test_tensorstore_zarr_and_zarrs_read_every_array(tmp_path: Path, case: str) -> None:
    import tensorstore

    run = make_run(tmp_path)
    records = some_records(count=3, **CASES[case])
    manifest = write(run, records)
    assert manifest.path is not None
    want = pack(records, uv_steps(records))
    assert set(want) == set(manifest.arrays)
    pipelines = ["zarr.core.codec_pipeline.BatchedCodecPipeline", "zarrs.ZarrsCodecPipeline"]
    groups = []
    for pipeline in pipelines:
        with zarr.config.set({"codec_pipeline.path": pipeline}):
            for consolidated in (True, False):
                group = zarr.open_group(run / manifest.path, mode="r", use_consolidated=consolidated)
                groups.append({name: group[name] for name in want})
    for name, values in want.items():
        store = {"driver": "file", "path": str(run / manifest.path / name)}
        array = tensorstore.open({"driver": "zarr3", "kvstore": store}, read=True).result()
        readings = [np.asarray(array.read().result()), *(np.asarray(group[name][...]) for group in groups)]
        for reading in readings:
            assert reading.dtype == values.dtype, name
            assert reading.shape == values.shape, name
            assert reading.tobytes() == values.tobytes(), name


def test_metadata_is_what_zarr_itself_would_write(tmp_path: Path) -> None:
    """zarr-python, asked for the same arrays, agrees in every field but for what it may leave out."""
    from zarr.codecs import Crc32cCodec, ZstdCodec

    from labelgen.shards.encode import array_metadata
    from labelgen.shards.schema import ARRAYS

    for name, values in pack(some_records(**CASES["everything"]), 32).items():
        spec = ARRAYS[name]
        zarr.create_array(
            tmp_path / name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=spec.chunk_shape(values.shape),
            shards=spec.shard_shape(values.shape),
            compressors=[ZstdCodec(level=3), Crc32cCodec()] if spec.compressed else [Crc32cCodec()],
            fill_value=spec.fill,
        )
        theirs = json.loads((tmp_path / name / "zarr.json").read_text())
        ours = json.loads(json.dumps(array_metadata(spec, values.shape)))
        for metadata in (ours, theirs):
            # One byte has no order, and extensions that are not used may be listed as none.
            metadata["codecs"][0]["configuration"]["codecs"][0].pop("configuration", None)
            metadata.pop("storage_transformers", None)
        assert ours == theirs, name


# --- a reader from docs/shard-format.md alone --------------------------------------------------------------


def crc32c(data: bytes) -> int:
    """CRC-32C bit by bit (Castagnoli's polynomial, reflected)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def read_by_hand(shard: Path, name: str) -> np.ndarray:
    """One array from its ``zarr.json`` and its file, by the document's two steps."""
    metadata = json.loads((shard / name / "zarr.json").read_text())
    shape = metadata["shape"]
    (codec,) = metadata["codecs"]
    rows = codec["configuration"]["chunk_shape"][0]
    compressed = any(inner["name"] == "zstd" for inner in codec["configuration"]["codecs"])
    file = (shard / name / "c").joinpath(*["0"] * len(shape)).read_bytes()
    count = -(-shape[0] // rows)
    index = file[-16 * count - 4 : -4]
    assert struct.unpack("<I", file[-4:])[0] == crc32c(index)
    parts = []
    for number in range(count):
        offset, length = struct.unpack_from("<QQ", index, 16 * number)
        chunk = file[offset : offset + length]
        assert struct.unpack("<I", chunk[-4:])[0] == crc32c(chunk[:-4])
        data = Zstd().decode(chunk[:-4]) if compressed else chunk[:-4]
        dtype = np.dtype(metadata["data_type"]).newbyteorder("<")
        parts.append(np.frombuffer(data, dtype).reshape(rows, *shape[1:]))
    return np.concatenate(parts)[: shape[0]]


def test_a_reader_made_from_the_document_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    records = some_records(count=3, points=120, captions=True, image_size=(3000, 2000))
    embeddings = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    write_shard(
        run,
        records,
        [],
        fingerprint=FINGERPRINT,
        attributes={"text_embeddings": embeddings, "class_names": ["a"]},
    )
    (manifest_file,) = (run / "manifests").glob("*.json")
    manifest = json.loads(manifest_file.read_text())
    shard = run / manifest["path"]
    attributes = json.loads((shard / "zarr.json").read_text())["attributes"]
    assert attributes["format"] == "labelgen-shard"
    steps = attributes["uv_steps_per_pixel"]
    assert steps == 16
    arrays = {name: read_by_hand(shard, name) for name in manifest["arrays"]}
    for entry, record in zip(manifest["frames"], records, strict=True):
        f = entry["row"]
        assert arrays["frame/id"][f].tobytes().rstrip(b"\0").decode() == entry["frame_id"] == record.frame_id
        n = arrays["frame/num_points"][f]
        assert np.array_equal(arrays["points/label"][f, :n], record.labels.label)
        assert np.array_equal(arrays["points/region"][f, :n], record.labels.region)
        views = slice(*arrays["frame/view_offsets"][f : f + 2])
        stored = arrays["views/uv"][views]
        assert np.array_equal(stored // steps, np.floor(record.views.uv + 0.5))
        assert np.abs((stored + 0.5) / steps - 0.5 - record.views.uv).max() <= 0.5 / steps
        begin, end = arrays["frame/region_offsets"][f : f + 2]
        assert np.array_equal(arrays["regions/feature"][begin:end], record.semantics.feature)
        for kind, values in (("rle", record.regions.rle), ("caption", record.semantics.caption or ())):
            offsets = arrays[f"regions/{kind}_offsets"]
            texts = [
                arrays[f"regions/{kind}_bytes"][offsets[r] : offsets[r + 1]].tobytes()
                for r in range(begin, end)
            ]
            assert texts == [value.encode() if isinstance(value, str) else value for value in values]
    scores = (
        arrays["regions/feature"].astype(np.float32) @ np.array(attributes["text_embeddings"], np.float32).T
    )
    assert np.allclose(scores[:12], records[0].semantics.feature.astype(np.float32) @ embeddings.T)
