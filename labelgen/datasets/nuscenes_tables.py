"""Reads the nuScenes tables that a plan needs, and of them only what it needs; nothing in them is trusted.

nuscenes-devkit's own ``NuScenes`` class is the reference in the tests, but not what reads here: on the full
data set it keeps all annotations and sweeps in memory, it refuses a data root without map images or with
part of the label files, it reports broken tables as a bare ``KeyError`` or ``AssertionError``, and importing
it turns off Pillow's limit on image size for the whole process.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelgen.core.errors import UserError
from labelgen.core.text_files import read_text
from labelgen.datasets.nuscenes_unread import calibration_notes
from labelgen.io.paths import is_safe_path

Record = dict[str, Any]
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TEXT, _INTEGER, _FLAG, _LIST = (str,), (int,), (bool,), (list,)
_NUMBER = (int, float)
#: Bytes; sample_data.json of the full data set has one gigabyte.
_LARGEST = 8 << 30


@dataclass(frozen=True)
class Tables:
    """The records of one version, by token unless said otherwise; field types are checked, values are not.

    Attributes:
        scenes, samples: in the tables' order.
        sensors, calibrations, poses: by token; poses are those that keyframes name.
        keyframes: {sample token: {channel: sample_data record}}.
        sweeps: {scene token: {channel: all its sample_data records, by time}}; empty unless asked for.
        labels: {"lidarseg" or "panoptic": {sample_data token: path}}, without an entry where there is no
            such table.
        categories: {name: id in the label files}, empty without label tables, or where ids are missing.
        notes: what is wrong with tables that only truth needs, and what of calibrations is not read.
    """

    where: Path
    scenes: list[Record]
    samples: list[Record]
    sensors: dict[str, Record]
    calibrations: dict[str, Record]
    poses: dict[str, Record]
    keyframes: dict[str, dict[str, Record]]
    sweeps: dict[str, dict[str, list[Record]]]
    labels: dict[str, dict[str, str]]
    categories: dict[str, int]
    notes: tuple[str, ...] = ()


def choose_version(dataroot: Path, version: str) -> str:
    """The version's folder name; an empty ``version`` stands for the only one there is.

    Raises:
        UserError: no such data root or version; the message lists the versions found.
    """
    if not dataroot.is_dir():
        raise UserError(
            f"data root {dataroot} is not a folder; give the folder that holds v1.0-* and samples/"
        )
    found = sorted(child.name for child in dataroot.iterdir() if (child / "sample_data.json").is_file())
    if not found:
        if (dataroot / "sample_data.json").is_file():
            raise UserError(f"{dataroot} holds tables; give its parent {dataroot.parent} as data root")
        raise UserError(f"data root {dataroot} holds no nuScenes tables (a folder such as v1.0-mini)")
    if not version and len(found) == 1:
        return found[0]
    if not version:
        raise UserError(f"data root {dataroot} holds the versions {', '.join(found)}; choose one")
    if version not in found or not _VERSION.fullmatch(version):
        raise UserError(f"data root {dataroot} holds no version {version!r}; there is {', '.join(found)}")
    return version


def read_tables(folder: Path, sweeps: bool = False) -> Tables:
    """Read the tables in ``<dataroot>/<version>``.

    Args:
        folder: of the version.
        sweeps: whether to read what lies between keyframes, too; on the full data set, that takes gigabytes.

    Raises:
        UserError: a table is missing or broken, or names a record that is not there; the message names the
            file, the record and the field.
    """
    sensors = _by_token(_read(folder, "sensor", token=_TEXT, channel=_TEXT, modality=_TEXT))
    calibrations = _by_token(
        _read(
            folder,
            "calibrated_sensor",
            token=_TEXT,
            sensor_token=_TEXT,
            translation=_LIST,
            rotation=_LIST,
            camera_intrinsic=_LIST,
        )
    )
    scenes = _once(_read(folder, "scene", token=_TEXT, name=_TEXT), folder / "scene.json", "name")
    samples = _read(folder, "sample", token=_TEXT, timestamp=_INTEGER, scene_token=_TEXT)
    records = _read(
        folder,
        "sample_data",
        keep=lambda record: sweeps or record.get("is_key_frame") is not False,
        token=_TEXT,
        sample_token=_TEXT,
        ego_pose_token=_TEXT,
        calibrated_sensor_token=_TEXT,
        timestamp=_INTEGER,
        is_key_frame=_FLAG,
        filename=_TEXT,
        width=_INTEGER,
        height=_INTEGER,
    )
    wanted = {record["ego_pose_token"] for record in records}
    poses = _read(
        folder,
        "ego_pose",
        keep=lambda record: str(record.get("token")) in wanted,
        token=_TEXT,
        translation=_LIST,
        rotation=_LIST,
    )
    by_sample: dict[str, dict[str, Record]] = {record["token"]: {} for record in samples}
    scene_of = {record["token"]: record["scene_token"] for record in samples}
    by_scene: dict[str, dict[str, list[Record]]] = {record["token"]: {} for record in scenes}
    for record in records:
        calibration = look_up(calibrations, record, "calibrated_sensor_token", folder, "sample_data")
        sensor = look_up(sensors, calibration, "sensor_token", folder, "calibrated_sensor")
        _check_path(record, folder / "sample_data.json")
        channels = look_up(by_sample, record, "sample_token", folder, "sample_data")
        if record["is_key_frame"] and channels.setdefault(sensor["channel"], record) is not record:
            raise UserError(
                f"{folder / 'sample_data.json'}: sample {record['sample_token']!r} has {sensor['channel']} "
                f"twice: remove keyframe {channels[sensor['channel']]['token']!r} or {record['token']!r}"
            )
        if sweeps:
            by_channel = by_scene.setdefault(scene_of[record["sample_token"]], {})
            by_channel.setdefault(sensor["channel"], []).append(record)
    for by_channel in by_scene.values():
        for found in by_channel.values():
            found.sort(key=lambda record: (record["timestamp"], record["token"]))
    labels = {}
    for task in ("lidarseg", "panoptic"):
        if (folder / f"{task}.json").is_file():
            rows = _read(folder, task, token=_TEXT, sample_data_token=_TEXT, filename=_TEXT)
            for record in rows:
                _check_path(record, folder / f"{task}.json")
            rows = _once(rows, folder / f"{task}.json", "sample_data_token")
            labels[task] = {record["sample_data_token"]: record["filename"] for record in rows}
    categories, notes = _categories(folder) if labels else ({}, ())
    return Tables(
        where=folder,
        scenes=scenes,
        samples=samples,
        sensors=sensors,
        calibrations=calibrations,
        poses=_by_token(poses),
        keyframes=by_sample,
        sweeps=by_scene,
        labels=labels,
        categories=categories,
        notes=(*notes, *calibration_notes(calibrations, sensors, poses, folder)),
    )


def look_up(records: dict[str, Any], record: Record, key: str, folder: Path, table: str) -> Any:
    """The record that a record's token names.

    Raises:
        UserError: there is none.
    """
    found = records.get(record[key])
    if found is None:
        raise UserError(
            f"{folder / table}.json: record {record['token']!r}: {key} {record[key]!r} is not in any "
            f"table; the tables are not from the same release, extract them again"
        )
    return found


def read_json(path: Path, hook: Callable[[Record], Any] | None = None) -> Any:
    """Parse a file of the data set.

    Raises:
        UserError: missing, unreadable or not JSON.
    """
    if not path.exists():
        raise UserError(f"table {path} is missing; extract the data set's metadata again")
    text = read_text(path, "table", _LARGEST)
    try:
        return json.loads(text, object_hook=hook)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f"table {path} is not JSON ({error}); extract the data set's metadata again"
        ) from None


def _read(
    folder: Path,
    table: str,
    keep: Callable[[Record], bool] | None = None,
    **fields: tuple[type, ...],
) -> list[Record]:
    path = folder / f"{table}.json"
    # Dropping records while they are parsed keeps the memory at the size of what a plan needs.
    hook = None if keep is None else lambda record: record if keep(record) else None
    records = read_json(path, hook)
    if not isinstance(records, list):
        raise UserError(f"table {path} is not a list of records; extract the data set's metadata again")
    if keep is not None:
        records = [record for record in records if record is not None]
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise UserError(f"{path}: record {number} is not an object")
        for field, kinds in fields.items():
            value = record.get(field)
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                raise UserError(
                    f"{path}: record {record.get('token', number)!r}: field {field!r} is "
                    f"{'missing' if field not in record else repr(value)[:40]}, expected {kinds[0].__name__}"
                )
    return _once(records, path, "token") if "token" in fields else records


def _once(records: list[Record], path: Path, key: str) -> list[Record]:
    """The records without repetitions, word for word, of others.

    Raises:
        UserError: two different ones have the same key, so that nobody knows which one counts.
    """
    found: dict[str, Record] = {}
    for record in records:
        if found.setdefault(record[key], record) != record:
            raise UserError(f"{path}: {key} {record[key]!r} appears twice, for different records; remove one")
    return list(found.values())


def _by_token(records: Iterable[Record]) -> dict[str, Record]:
    return {record["token"]: record for record in records}


def _check_path(record: Record, where: Path) -> None:
    if not is_safe_path(record["filename"]):
        raise UserError(
            f"{where}: record {record['token']!r}: filename {record['filename']!r} is not a path below "
            f"the data root; the table is damaged or cannot be trusted"
        )


def _categories(folder: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """{name: id in the label files}; or nothing, and why: without ids labels can be made, but not scored."""
    records = _read(folder, "category", name=_TEXT)
    path = folder / "category.json"
    problem = ""
    for record in records:
        index = record.get("index")
        if type(index) is not int or not 0 <= index <= 255:
            problem = f"category {record['name']!r:.60} has no index from 0 to 255"
            break
    table: dict[str, int] = {} if problem else {record["name"]: record["index"] for record in records}
    if not problem and (len(table) != len(records) or len(set(table.values())) != len(records)):
        problem = "two categories have the same index or name"
    if problem:
        advice = "use the category.json that comes with nuScenes-lidarseg"
        return {}, (f"{path}: {problem}: labels can be made, but not compared with the truth; {advice}",)
    return table, ()
