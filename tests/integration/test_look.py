"""The report in a real browser, and a run in Rerun's files."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from labelgen.core.records import UNLABELLED
from labelgen.inspection.instances import instance_boxes
from labelgen.inspection.reporting import report_run
from labelgen.inspection.viewer import region_classes, view_run
from labelgen.runs import open_run
from tests.unit.exports.conftest import POINTS, SIZE, Labelled, labelled  # noqa: F401  (the fixture)

BROWSER = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_the_report_works_from_a_file(labelled: Labelled, tmp_path: Path) -> None:  # noqa: F811
    place, missing = report_run(open_run(labelled.run), tmp_path / "r", pictures=2)
    page = Path(place)
    assert missing == []
    # Says in the page itself which pictures were loaded, as a reader's console would.
    text = page.read_text()
    probe = tmp_path / "r" / "probe.html"
    probe.write_text(
        re.sub(r"script-src [^;\"]*", "script-src 'unsafe-inline'", text).replace(
            "</body>",
            "<script>addEventListener('load', () => { document.body.dataset.images = "
            "[...document.images].filter(i => i.complete && i.naturalWidth > 0).length; });</script></body>",
        )
    )
    for path, painted in ((page, True), (probe, False)):
        done = subprocess.run(
            [
                str(BROWSER),
                *("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"),
                *(f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=4000", "--dump-dom"),
                path.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert not re.search(r"CONSOLE.*(Refused|Error|error)", done.stderr), done.stderr
        if painted:
            (count,) = re.findall(r'data-painted="(\d+)"', done.stdout)
            assert int(count) == POINTS - 2  # two points are not finite
        else:
            assert 'data-images="2"' in done.stdout


def test_a_run_in_rerun(labelled: Labelled, tmp_path: Path) -> None:  # noqa: F811
    rerun = pytest.importorskip("rerun")
    run = open_run(labelled.run)
    file = tmp_path / "run.rrd"
    assert view_run(run, run.frames[:2], file) == []
    recording = rerun.dataframe.load_recording(file)
    table = recording.view(index="frame", contents="world/**").select().read_all()
    names = set(table.column_names)
    assert table["frame"].to_pylist() == [0, 1]
    for part in ("labels", "confidence", "truth", "CAM_FRONT/regions", "CAM_BACK/image"):
        assert any(f"ego_vehicle/{part}:" in name for name in names), (part, names)
    (column,) = [
        name
        for name in names
        if "ego_vehicle/labels:" in name and name.lower().endswith(("classid", "class_ids"))
    ]
    label = labelled.records[run.frames[1]].labels.label
    finite = np.isfinite(run.frame(run.frames[1]).xyz).all(1)
    assert table[column][1].as_py() == label[finite].tolist()


def test_regions_and_boxes(labelled: Labelled) -> None:  # noqa: F811
    run = open_run(labelled.run)
    record = run.frame(run.frames[0]).record()
    classes = region_classes(record, 0, SIZE[1], SIZE[0])
    assert classes.shape == (SIZE[1], SIZE[0])
    rows = record.regions.camera_slice(0)
    assert set(np.unique(classes)) <= {*record.semantics.label[rows].tolist(), UNLABELLED}
    xyz = run.frame(run.frames[0]).xyz
    centers, halves, ids = instance_boxes(xyz, record.labels)
    assert len(centers) == len(halves) == len(ids) > 0
    for value in np.unique(record.labels.instance[record.labels.instance > 0])[:5]:
        mine = (
            (record.labels.instance == value) & (record.labels.label != UNLABELLED) & np.isfinite(xyz).all(1)
        )
        if mine.sum() >= 5:
            inside = (np.abs(xyz[mine][:, None] - centers[None]) <= halves[None] + 1e-3).all(-1).all(0)
            assert inside.any()
