"""Backends of another package on Ray's workers give the labels of the sequential run."""

from __future__ import annotations

import os

import numpy as np
import pytest

import labelgen
from tests.helpers.nuscenes_root import make_dataroot
from tests.helpers.plugins import install_example, installed


@pytest.mark.slow
def test_plug_ins_on_workers_give_equal_labels(tmp_path, monkeypatch, shell):
    site = tmp_path / "site"
    site.mkdir()
    install_example(site)
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PYTHONPATH", path)  # as if it were installed, for the processes that Ray starts
    dataroot = make_dataroot(tmp_path, scenes=1, samples=3)
    sets = ["regions.backend=patches", "semantics.backend=colour", "fusion.enabled=false"]
    asked = ["--dataset", "nuscenes", "--dataroot", dataroot, "--no-report"]
    asked += [word for text in sets for word in ("--set", text)]
    with installed(site):
        for runner in ("sequential", "ray"):
            done = shell("run", *asked, "--output", tmp_path / runner, "--runner", runner)
            assert done.code == 0, done.err
        one, two = (labelgen.open_run(tmp_path / runner) for runner in ("sequential", "ray"))
        assert one.info.fingerprint == two.info.fingerprint
        assert set(one.frames) == set(two.frames)
        assert one.arrays == two.arrays
        names = [name for name in sorted(one.arrays) if not name.startswith(("frame/", "regions/rle"))]
        for frame in one.frames:
            assert (one.frame(frame).labels.label != 255).any()
            for name in names:
                ours, theirs = one.frame(frame).array(name), two.frame(frame).array(name)
                np.testing.assert_array_equal(ours, theirs, err_msg=f"{frame} {name}")
            rle, other = (run.frame(frame).record().regions.rle for run in (one, two))
            assert rle == other
