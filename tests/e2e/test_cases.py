"""The cases of wrong input that lie beside the real frames, each with its right answer."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from labelgen.core.records import Reason
from labelgen.runs import open_run
from tests.helpers.cli import Result, Shell

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def cases(shared_data: Path) -> Path:
    """Folder of the cases' scripts."""
    folder = shared_data.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"no cases at {folder}")
    return folder


@pytest.fixture
def build(cases: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Builds a case by a script's name and its own."""
    monkeypatch.syspath_prepend(str(cases))

    def make(script: str, case: str) -> Path:
        out = tmp_path / "data"
        module = importlib.import_module(script)
        if script == "inputs":
            module.CASES[case](out)
        elif script == "street":
            module.street(out)
        else:
            module.main(case, out)
        return out

    return make


DATASETS = {
    "street": "manifest",
    "inputs": "manifest",
    "kitti_frame": "semantickitti",
    "nuscenes_frame": "nuscenes",
}


def check(shell: Shell, script: str, out: Path) -> Result:
    return shell("datasets", "check", "--dataset", DATASETS[script], "--dataroot", out)


def run(shell: Shell, script: str, out: Path, *more: object) -> Result:
    where = ("--dataset", DATASETS[script], "--dataroot", out, "--config", out / "fast.yaml")
    return shell("run", *where, "--no-report", "--output", out / "run", *more)


def assert_said(found: Result, words: str) -> None:
    """Not silent: a problem, warning or error holds one of the words."""
    lines = [
        line for line in (found.out + found.err).splitlines() if re.search("problem|warning|error", line)
    ]
    assert any(re.search(words, line, re.IGNORECASE) for line in lines), (found.code, found.out, found.err)
    assert "Traceback" not in found.out + found.err


#: Script and case: what `check` says, and what `run` says; None where it is not asked.
SAID: dict[tuple[str, str], tuple[str | None, str | None]] = {
    ("kitti_frame", "halved"): ("calib.txt|principal point|intrinsics",) * 2,
    ("inputs", "k-double"): ("intrinsics|principal point",) * 2,
    ("inputs", "k-image-units"): ("intrinsics|pixel",) * 2,
    ("inputs", "inverted"): ("camera_from_lidar",) * 2,
    ("kitti_frame", "identity"): (None, "calib.txt|image_2|sees no point|has a label"),
    ("inputs", "fisheye"): ("fisheye", None),
    ("nuscenes_frame", "distortion"): ("camera_distortion", None),
    ("inputs", "npy"): ("npy",) * 2,
    ("inputs", "pcd-padded"): ("pcd",) * 2,
    ("inputs", "float64"): ("layout|coordinates|float64",) * 2,
    ("inputs", "five-columns"): ("layout|columns",) * 2,
    ("inputs", "intensity-255"): ("intensit", None),
    ("inputs", "time-per-point"): ("time", None),
    ("nuscenes_frame", "cut-sweep"): ("short|whole turn|sweep", None),
    ("nuscenes_frame", "duplicate-keyframe"): ("CAM_FRONT", None),
    ("inputs", "rgb12in16"): (None, "16 bits"),
}


@pytest.mark.parametrize(("script", "case"), SAID, ids=[case for _, case in SAID])
def test_nothing_is_wrong_in_silence(build, shell, script, case):
    out = build(script, case)
    checks, runs = SAID[script, case]
    if checks is not None:
        found = check(shell, script, out)
        assert found.code in (1, 2)
        assert_said(found, checks)
    if runs is not None:
        assert_said(run(shell, script, out), runs)


@pytest.mark.parametrize(
    ("script", "case", "points"),
    [
        ("street", "", "2,244 points"),
        ("kitti_frame", "sound", "17,182 points"),
        ("nuscenes_frame", "sound", "3,053 points"),
        ("kitti_frame", "apple-double", "17,182 points"),
        ("kitti_frame", "apple-double-image", "17,182 points"),
        ("kitti_frame", "second-download", "17,182 points"),
    ],
)
def test_sound_data_say_nothing(build, shell, script, case, points):
    found = check(shell, script, build(script, case))
    assert found.code == 0, found.out + found.err
    assert points in found.out
    assert "nothing looks wrong" in found.out


def test_a_person_beside_the_vehicle_is_no_part_of_it(build, shell):
    out = build("inputs", "ego-walker")
    assert run(shell, "inputs", out).code == 0
    opened = open_run(out / "run")
    reason = opened.frame(opened.frames[0]).labels.reason
    assert not (reason[-400:] == Reason.EGO).any()


def test_points_that_are_not_finite_are_no_target(build, shell):
    out = build("inputs", "nan-organised")
    assert run(shell, "inputs", out).code == 0
    words = ("--split", "all", "--size", "demo", "--set", "optimizer.epochs=1", "--output", out / "train")
    assert shell("train", "annotation-free", out / "run", *words).code == 0


def test_a_run_without_a_region_teaches_nothing(build, shell):
    out = build("inputs", "no-region")
    assert run(shell, "inputs", out).code == 2
    words = ("--split", "all", "--size", "demo", "--set", "optimizer.epochs=1", "--output", out / "train")
    found = shell("train", "pretrain", "slidr", out / "run", *words)
    assert found.code == 2
    assert re.search("no region|pair", found.err)
    assert not list((out / "train").rglob("*.safetensors"))


def test_category_json_without_index_stops_what_needs_truth_alone(build, shell):
    out = build("nuscenes_frame", "no-index")
    planned = shell("plan", "--dataset", "nuscenes", "--dataroot", out)
    assert planned.code == 0, planned.err
    assert "category.json" in planned.out + planned.err
    assert run(shell, "nuscenes_frame", out).code == 0
    assert shell("evaluate", out / "run").code == 2


def test_equal_file_names_in_two_sequences(build, shell):
    out = build("kitti_frame", "two-sequences")
    assert run(shell, "kitti_frame", out).code == 0
    done = shell("export", out / "run", "--format", "slidr", "--out", out / "slidr")
    assert done.code == 0, done.err
    assert len(list((out / "slidr").rglob("*.png"))) == 2


@pytest.mark.parametrize("case", ["yaml-aliases", "yaml-brackets"])
def test_bombs_as_settings(build, shell, case):
    out = build("inputs", case)
    found = shell("plan", "--dataset", "manifest", "--dataroot", out, "--config", out / "config.yaml")
    assert found.code == 2
    assert "config.yaml" in found.err


def test_more_classes_than_ids(build, shell):
    out = build("inputs", "taxonomy-255")
    for found in (
        shell("taxonomy", "lint", out / "many.yaml"),
        run(shell, "inputs", out, "--set", f"taxonomy={out / 'many.yaml'}"),
    ):
        assert found.code in (1, 2)
        assert "255" in found.out + found.err
        assert "254" in found.out + found.err


def test_truth_that_unpacks_to_gigabytes(build, shell):
    out = build("inputs", "npz-bomb")
    assert run(shell, "inputs", out).code == 0
    code = (
        "from pathlib import Path\nfrom labelgen.cli.main import main\n"
        "try:\n    main()\nfinally:\n    print(Path('/proc/self/status').read_text())"
    )
    command = [sys.executable, "-c", code, "evaluate", str(out / "run")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "l/0.npz" in done.stderr
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stdout)
    assert peak is not None
    assert int(peak[1]) < 1 << 20


# Runs as disks and strangers leave them


@pytest.fixture
def spoil(
    cases: Path, tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Labels the street and spoils the run as a case says."""
    monkeypatch.syspath_prepend(str(cases))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")

    def make(case: str) -> Path:
        importlib.import_module("street").street(tmp_path / "root", 4)
        assert again(shell, tmp_path).code == 0
        importlib.import_module("runs").CASES[case](tmp_path / "run")
        return tmp_path

    return make


def again(shell: Shell, out: Path) -> Result:
    where = ("--dataset", "manifest", "--dataroot", out / "root", "--config", out / "root/fast.yaml")
    return shell("run", *where, "--no-report", "--output", out / "run")


def test_a_bit_that_flipped_is_done_anew(spoil, shell):
    out = spoil("bit-flip")
    assert shell("verify", out / "run", "--deep").code == 1
    redone = again(shell, out)
    assert redone.code == 0, redone.err
    assert "2 to do" in redone.out
    assert shell("verify", out / "run", "--deep").code == 0


@pytest.mark.parametrize(("case", "words"), [("class-names", r"run\.json"), ("chunk-bomb", "points/label")])
def test_damage_is_named(spoil, shell, case, words):
    found = shell("verify", spoil(case) / "run", "--deep")
    assert found.code == 1
    assert re.search(words, found.out + found.err)


def test_a_drivers_file_removes_nothing_of_others(spoil, shell):
    out = spoil("lease-outside")
    again(shell, out)
    assert {path.name for path in (out / "victim").iterdir()} == {"keep.json", "tree.json"}


def test_a_drivers_file_that_makes_no_sense(spoil, shell):
    out = spoil("driver-file")
    found = again(shell, out)
    assert found.code in (0, 2)
    assert found.code == 2 or len(open_run(out / "run")) == 4


def test_a_derived_run_without_its_parent(spoil, shell):
    found = shell("verify", spoil("orphan") / "derived")
    assert found.code == 1
    assert "parent" in found.out + found.err


def test_a_derived_run_behind_a_link(spoil, shell):
    found = shell("inspect", spoil("linked") / "derived")
    assert found.code == 0 or ("parent" in found.err and "link" in found.err)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "right"),
    [
        ("fake-gpu", r"CUDA[\s\S]*doctor: exit 1[\s\S]*(warning|error)[\s\S]*run: exit"),
        (
            "wrong-root",
            r"rot[\s\S]*afi, rot: exit 2[\s\S]*afi, root: exit 0[\s\S]*"
            r"fuse, rot: exit 2[\s\S]*fuse, root: exit 0",
        ),
        ("copied-root", r"2 done, 0 to do[\s\S]*exit 0|anew[\s\S]*exit 0"),
        ("deleted-under", r"gone[\s\S]*exit 2"),
        ("read-only", r"\nexit 0"),
        ("abort", r"(2 ){20}"),
        ("no-config", r"run: exit 0[\s\S]*export: exit 0"),
    ],
)
def test_commands(cases, tmp_path, case, right):
    if case == "read-only" and os.geteuid():
        pytest.skip("mounts a file system")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", str(cases / "shell.sh"), case, str(tmp_path)],
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    said = done.stdout
    assert re.search(right, said), said
    assert "Traceback" not in said
