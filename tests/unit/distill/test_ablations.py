"""The study of benchmarks/ablations.py: its variants can be trained, its tables say what was measured."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.distill.test_methods import info, make_method

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

import ablation_tables
from ablation_study import FIVE, FREE, ONE, PROBE, VARIANTS, units

BY_NAME = {variant.name: variant for variant in VARIANTS}


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "random"])
def test_every_variant_is_a_method_with_known_settings(name):
    make_method(BY_NAME[name].method, BY_NAME[name].settings, 8, info())


def test_components_without_rcp_read_no_captions():
    for variant in VARIANTS:
        if variant.method == "vlm2scene" and not variant.settings.get("rcp", True):
            method = make_method(variant.method, variant.settings, 8, info())
            assert "caption_feature" not in method.needs, variant.name


def test_every_cell_of_the_tables_is_trained():
    rows = ablation_tables.COMPONENT_ROWS + ablation_tables.STRATEGY_ROWS
    wanted = {(name, protocol) for _, name, *_ in rows for protocol in (ONE, FIVE)}
    wanted |= {(name, protocol) for name in ablation_tables.PAPERS for protocol in (PROBE, ONE, FIVE)}
    wanted |= {(name, FREE) for _, name, *_ in ablation_tables.UOV_ROWS if name != ablation_tables.LABELS}
    trained = {(variant.name, protocol) for variant in VARIANTS for protocol in variant.protocols}
    assert wanted <= trained


STUDY = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from ablation_study import VARIANTS, Unit
from ablations import train_all

def work(folder, size, unit, deadline):
    (folder / "part").write_text(str(os.getpid()))
    (folder / "part").rename(folder / "pid")
    time.sleep(600)

if __name__ == "__main__":
    train_all(Path(sys.argv[1]), None, [Unit(VARIANTS[0], 0)], 1, 0, work)
"""


def test_a_study_that_is_killed_leaves_no_training_at_work(tmp_path):
    (tmp_path / "study.py").write_text(STUDY)
    benchmarks = Path(ablation_tables.__file__).parent
    with subprocess.Popen([sys.executable, tmp_path / "study.py", tmp_path, benchmarks]) as study:
        assert wait_for((tmp_path / "pid").exists, 60)
        study.kill()
    worker = int((tmp_path / "pid").read_text())
    assert wait_for(lambda: not is_running(worker), 30)


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # one that ended may wait for its status to be asked for
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_units_go_seed_by_seed():
    seeds = [unit.seed for unit in units(3)]
    assert seeds == sorted(seeds)
    assert len({unit.name for unit in units(3)}) == 3 * len(VARIANTS)


def test_cells_show_mean_spread_and_the_papers_figure():
    text = ablation_tables.tables({("slidr", ONE): {0: 30.0, 1: 34.0}, ("ppkt", ONE): {0: 20.04}})
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert "32.0 ± 2.8 | 38.3" in rows["slidr"]
    assert "20.0 | 37.8" in rows["ppkt"]
    assert "|  | 40.8" in rows["st-slidr"]


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        ({0: 35.0, 1: 36.0}, "yes"),
        ({0: 30.5, 1: 36.0}, "within the spread"),
        ({0: 20.0, 1: 40.0}, "no"),
        ({0: 35.0}, "within the spread"),  # one seed proves nothing
        ({}, ""),
    ],
)
def test_an_ordering_holds_beyond_its_spread(ours, verdict):
    text = ablation_tables.orderings({("vlm2scene", ONE): ours, ("slidr", ONE): {0: 30.0, 1: 31.0, 2: 99.0}})
    line = next(line for line in text.splitlines() if line.startswith(f"| vlm2scene > slidr, {ONE}"))
    assert line.split("|")[-2].strip() == verdict


def test_pseudo_labels_are_compared_with_every_seed():
    given = {("tmp", FREE): {0: 50.0, 1: 52.0, 2: 54.0}, (ablation_tables.LABELS, FREE): {0: 42.0}}
    line = next(line for line in ablation_tables.orderings(given).splitlines() if "its pseudo-labels" in line)
    assert "+10.0 ± 2.0 | yes" in line
