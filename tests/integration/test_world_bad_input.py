"""Building the city with impossible wishes: one clear line, and nothing left that looks whole."""

import errno

import pytest
from typer.testing import CliRunner

from labelgen.cli.world import app, parse_size
from labelgen.core.errors import UserError
from labelgen.demo.world import build, export


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"scenes": 0}, "0 scenes"),
        ({"scenes": 5000}, "5000 scenes"),
        ({"frames": 0}, "0 frames"),
        ({"frames": -3}, "-3 frames"),
        ({"seed": -1}, "seed -1"),
        ({"image_size": (0, 900)}, "0x900 is impossible"),
        ({"image_size": (100_000, 900)}, "impossible"),
    ],
)
def test_impossible_wishes(tmp_path, wish, says):
    with pytest.raises(UserError, match=says):
        build(tmp_path / "out", **{"scenes": 1, "frames": 1, "seed": 1, "image_size": (64, 36), **wish})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        build(out, scenes=1, frames=1)
    assert (out / "mine.txt").read_text() == "mine"
    with pytest.raises(UserError, match="not a folder"):
        build(out / "mine.txt", scenes=1, frames=1)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_disk_that_is_full_before_the_start(tmp_path):
    with pytest.raises(UserError, match="GB left"):
        build(tmp_path / "out", scenes=1000, frames=1200, image_size=(8000, 8000))
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_on_the_way(tmp_path, monkeypatch):
    written = []

    def full(self, index, frame):
        written.extend(self.root.rglob("*.json"))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(export._Scene, "_cloud", full)
    with pytest.raises(UserError, match="disk is full"):
        build(tmp_path / "out", scenes=1, frames=1, image_size=(64, 36))
    assert list(tmp_path.iterdir()) == []


def test_a_crash_leaves_nothing_that_looks_whole(tmp_path, monkeypatch):
    def crash(*_):
        raise RuntimeError("crash")

    monkeypatch.setattr(export._Scene, "close", crash)
    with pytest.raises(RuntimeError, match="crash"):
        build(tmp_path / "out", scenes=1, frames=1, image_size=(64, 36))
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write|not a folder"):
        build(tmp_path / "file" / "out", scenes=1, frames=1, image_size=(64, 36))


@pytest.mark.parametrize("text", ["", "1600", "x", "ax900", "1600x900x3", "-3x5", "1e3x9"])
def test_sizes_that_are_none(text):
    with pytest.raises(UserError, match="WIDTHxHEIGHT"):
        parse_size(text)


def test_the_command_prints_what_it_built(tmp_path):
    wish = [
        "build",
        "--out",
        str(tmp_path / "out"),
        "--scenes",
        "1",
        "--frames",
        "1",
        "--image-size",
        "64x36",
        "--json",
    ]
    result = CliRunner().invoke(app, wish)
    assert result.exit_code == 0, result.output
    assert '"frames": 1' in result.stdout
    assert (tmp_path / "out/v1.0-mini/sample.json").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
