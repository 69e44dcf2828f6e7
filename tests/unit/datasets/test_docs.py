"""The examples of docs/frames-parquet.md run as they stand, and give the same frame."""

from __future__ import annotations

import re
from pathlib import Path

from labelgen.datasets import read_frames
from labelgen.datasets.manifest import CAMERA_SCHEMA, SCHEMA

from .frames import assert_equal_frames

TEXT = (Path(__file__).parents[3] / "docs" / "frames-parquet.md").read_text()


def test_the_examples_run(tmp_path):
    found = []
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(block.replace("/data/mine", str(tmp_path)), {})
        found.append(read_frames(tmp_path / "frames.parquet"))
        (tmp_path / "frames.parquet").unlink()
    (((one,), info), ((other,), _)) = found
    assert_equal_frames(one, other)
    assert info.categories == {"road": 1, "car": 2}


def test_every_column_is_documented():
    for name in [*SCHEMA.names, *CAMERA_SCHEMA.names]:
        assert re.search(rf"^\|.*`{name}`", TEXT, re.MULTILINE), name
