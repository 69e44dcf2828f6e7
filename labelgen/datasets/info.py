"""What holds for all frames of a plan, as the metadata of ``frames.parquet`` carries it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from labelgen.core.errors import UserError

#: Key of the schema's metadata.
METADATA = b"labelgen"
#: Version of the schema of ``frames.parquet``.
MANIFEST_VERSION = 1
#: Metres from the LiDAR to the farthest side of the vehicle that carries it.
_LONGEST_BOX = 50.0


def _is_box(box: Sequence[float]) -> Sequence[float]:
    low, high = np.array(box[:3]), np.array(box[3:])
    if not (np.abs(box) <= _LONGEST_BOX).all() or not (low < high).all():
        raise ValueError(f"three minima and three larger maxima in metres are expected, not {list(box)}")
    return box


_Text = Annotated[str, StringConstraints(max_length=4096)]
_Category = Annotated[int, Field(ge=0, le=65535)]
_Box = Annotated[tuple[float, float, float, float, float, float], AfterValidator(_is_box)]


@dataclass(frozen=True)
class DatasetInfo:
    """What holds for all frames of a plan.

    Attributes:
        dataset: name of the data set's reader.
        version, split: as given to the reader.
        dataroot: absolute folder that all paths are relative to; readers may be told another.
        categories: {category name: id in the label files}, from the data set's own tables; empty where it
            has no truth.
        missing_files: LiDAR and image files that were absent when the plan was made.
        taxonomy: the one that suits the data set, a name or a file; empty where it says none.
        ego_box: x, y, z minima, then maxima of the ego vehicle in the LiDAR frame, metres; None where the
            data set says none.
        notes: what its reader came upon that does not stop labelling, a sentence each.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)

    dataset: _Text = "manifest"
    version: _Text = ""
    split: _Text = ""
    dataroot: _Text = ""
    categories: dict[str, _Category] = field(default_factory=dict)
    missing_files: int = 0
    taxonomy: _Text = ""
    ego_box: _Box | None = None
    notes: tuple[_Text, ...] = ()


_ADAPTER = TypeAdapter(DatasetInfo)


def encode_info(info: DatasetInfo, where: str) -> bytes:
    """As metadata; equal arguments give equal bytes.

    Raises:
        UserError: what `decode_info` would refuse.
    """
    metadata = json.dumps({"format": MANIFEST_VERSION, **asdict(info)}, sort_keys=True).encode()
    decode_info(metadata, where)
    return metadata


def decode_info(metadata: bytes, where: str) -> DatasetInfo:
    """From metadata.

    Raises:
        UserError: not as documented; names the file and the entry.
    """
    try:
        content: dict[str, Any] = json.loads(metadata)
        version = content.pop("format", MANIFEST_VERSION)
        if version != MANIFEST_VERSION:
            raise UserError(f"{where}: manifest format {version}; this labelgen reads {MANIFEST_VERSION}")
        return _ADAPTER.validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        entry = ".".join(map(str, first["loc"]))
        problem = f"{entry}: {first['msg'].removeprefix('Value error, ')}"
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        problem = str(error)
    raise UserError(f"{where}: metadata {METADATA.decode()!r} is not as documented: {problem}")
