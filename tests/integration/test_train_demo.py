"""``labelgen models``: the list, and a training run of seconds from rendering to measured weights."""

import json

import pytest
from typer.testing import CliRunner

from labelgen.cli.main import app
from labelgen.core.errors import UserError
from labelgen.demo.small_models import make as demo
from labelgen.demo.world import TRAIN_SEEDS, VAL_SEEDS
from labelgen.models.shipped import shipped_dir

runner = CliRunner()


def test_list_as_json():
    result = runner.invoke(app, ["models", "list", "--json"])
    assert result.exit_code == 0
    models = json.loads(result.stdout)["models"]
    demos = [entry for entry in models if entry["model"] == "demo"]
    assert {entry["stage"] for entry in demos} == {"regions", "semantics", "captions"}
    assert all(entry["present"] and len(entry["weights"]) == 32 for entry in demos)


def test_list_as_table():
    result = runner.invoke(app, ["models", "list"])
    assert result.exit_code == 0
    assert "vit_h" in result.stdout


@pytest.mark.slow
def test_train_demo(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "VAL_PICTURES", 1)
    monkeypatch.setattr(demo, "SAM_SETTINGS", demo.SAM_SETTINGS | {"points_per_side": 3})
    before = {path: path.read_bytes() for path in shipped_dir("sam").parent.rglob("*.*")}
    arguments = ["models", "train-demo", "--minutes", "0.05", "--pictures", "3", "--json"]
    arguments += ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout.splitlines()[-1])
    assert 0 <= figures["sam"]["found"] <= 1
    assert 0 <= figures["clip"]["accuracy"] <= 1
    for kind, file in (("sam", "model.safetensors"), ("clip", "open_clip_model.safetensors")):
        assert (tmp_path / "out" / kind / file).is_file()
        assert json.loads((tmp_path / "out" / kind / "training.json").read_text())["steps"] > 0
        assert (tmp_path / "work" / kind / "metrics.jsonl").read_text()
    assert before == {path: path.read_bytes() for path in before}, "the shipped models stay as they are"
    # A second call has nothing left to train.
    again = runner.invoke(app, arguments)
    assert again.exit_code == 0
    assert (tmp_path / "work" / "sam" / "metrics.jsonl").read_text().count("\n") < 10


@pytest.mark.parametrize("first_city", [TRAIN_SEEDS.stop - 1, VAL_SEEDS.start])
def test_only_cities_for_training(tmp_path, first_city):
    with pytest.raises(UserError, match=str(TRAIN_SEEDS.stop - 1)):
        demo.train_demo(tmp_path, ["sam"], minutes=1, pictures=6, first_city=first_city)
    assert not list(tmp_path.iterdir())
