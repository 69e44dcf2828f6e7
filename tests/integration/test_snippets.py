"""The Python in the documentation does what it says, on a small run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

import labelgen
from labelgen.config import RunConfig
from tests.helpers.labelled_runs import label
from tests.helpers.nuscenes_root import make_dataroot

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("snippets")
    root = make_dataroot(folder, scenes=1, samples=2)
    return label(
        "nuscenes", root, folder / "run", RunConfig.model_validate({"shards": {"store_points": True}})
    )


def test_the_page_about_shards(run, monkeypatch):
    text = (DOCS / "shards.md").read_text()
    read, door, stream = re.findall(r"```python\n(.*?)```", text.partition("## Read")[2], re.DOTALL)[:3]
    assert "runs/demo" in read
    names: dict[str, object] = {}
    exec(read.replace("runs/demo", str(run)), names)
    opened = names["run"]
    assert isinstance(opened, labelgen.runs.Run)
    frame = opened.frame(opened.frames[0])
    unknown = frame.labels.region == 65535
    assert unknown.any()
    assert not unknown.all()

    exec(door.replace("runs/demo", str(run)).replace("data/city", str(opened.root)), names)
    last = names["frame"]
    assert last.frame_id == opened.frames[-1]
    assert len(last.truth) == len(last.xyz) == last.num_points

    given = []
    names |= {"DataLoader": lambda data, **more: given.append(data) or DataLoader(data, batch_size=None)}
    exec(stream, names | {"epochs": 2})
    assert isinstance(given[0], labelgen.ShardStream)


def test_the_page_about_python(run, tmp_path, monkeypatch):
    text = (DOCS / "python.md").read_text()
    whole, steps = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    root = labelgen.open_run(run).root
    config = tmp_path / "light.yaml"
    config.write_text(
        "regions: {backend: superpixel, superpixel_method: slic, superpixel_segments: 20}\n"
        "semantics: {model: demo, context: 0}\nruntime: {runner: sequential}\n"
    )
    monkeypatch.chdir(tmp_path)
    for given, ours in (
        ('config="nuscenes"', f'config="{config}"'),
        ('frame_steps("nuscenes"', f'frame_steps("{config}"'),
        ("/data/nuscenes", str(root)),
    ):
        assert given in whole + steps
        whole, steps = whole.replace(given, ours), steps.replace(given, ours)
    names: dict[str, object] = {}
    exec(whole, names)
    assert names["fused"].outcome.labelled == 2
    assert len(list((tmp_path / "pseudo").rglob("*_lidarseg.bin"))) == 2
    exec(steps, names)
    stored = labelgen.open_run("runs/val").frame(names["frames"][0].frame_id)
    assert names["record"].labels.label.tobytes() == stored.labels.label.tobytes()
