"""Taxonomies and data sets that do not belong together."""

from pathlib import Path

import pytest

from labelgen.core.errors import UserError
from labelgen.core.taxonomy import load_taxonomy
from labelgen.datasets.checks import PlanInput
from labelgen.datasets.checks.fit import taxonomy_fits
from labelgen.datasets.info import DatasetInfo
from labelgen.datasets.semantickitti import CATEGORIES
from labelgen.demo.world import CATEGORIES as CITY
from labelgen.engine.planning import own_taxonomy

NUSCENES = DatasetInfo("nuscenes", taxonomy="nuscenes16")
KITTI = DatasetInfo("semantickitti", categories=dict(CATEGORIES), taxonomy="semantickitti19")
CITY_TABLES = DatasetInfo("demo", categories={name: k for k, name in enumerate(CITY)}, taxonomy="nuscenes16")
MINE = DatasetInfo("manifest")


def odd(info, taxonomy):
    plan = PlanInput(Path(), [], info, {"taxonomy": taxonomy}, sample=0)
    return [str(found) for found in taxonomy_fits(plan)]


@pytest.mark.parametrize(
    ("info", "taxonomy"),
    [
        (NUSCENES, "nuscenes16"),
        (NUSCENES, "nuscenes16-uov"),
        (CITY_TABLES, "nuscenes16"),
        (CITY_TABLES, "nuscenes16-uov"),
        (KITTI, "semantickitti19"),
        (MINE, "semantickitti19"),
        (MINE, "nuscenes16"),
    ],
)
def test_what_belongs_together(info, taxonomy):
    assert not odd(info, taxonomy)


@pytest.mark.parametrize(
    ("info", "taxonomy", "hint"),
    [
        (NUSCENES, "semantickitti19", "--set taxonomy=nuscenes16"),
        (CITY_TABLES, "semantickitti19", "--set taxonomy=nuscenes16"),
        (KITTI, "nuscenes16", "--set taxonomy=semantickitti19"),
        (KITTI, "nuscenes16-uov", "--set taxonomy=semantickitti19"),
    ],
)
def test_what_does_not(info, taxonomy, hint):
    (found,) = odd(info, taxonomy)
    assert hint in found
    assert f"data set {info.dataset}" in found


def test_a_taxonomy_of_ones_own_without_categories_fits_anywhere(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nversion: 1\nclasses:\n"
        "- {name: crane, color: [1, 2, 3], thing: true, words: [crane]}\n"
        "- {name: quay, color: [4, 5, 6], thing: false, words: [quay]}\n"
    )
    assert load_taxonomy(str(path)).names == ["crane", "quay"]
    for info in (NUSCENES, KITTI, MINE):
        assert not odd(info, str(path))


def test_a_data_set_brings_its_taxonomy(tmp_path):
    assert own_taxonomy(KITTI) == "semantickitti19"
    assert own_taxonomy(MINE) == "nuscenes16"
    own = DatasetInfo(dataroot=str(tmp_path), taxonomy="classes/mine.yaml")
    assert own_taxonomy(own) == str(tmp_path / "classes/mine.yaml")
    for outside in ("../mine.yaml", "/etc/mine.yaml"):
        with pytest.raises(UserError, match="nor a path below the data root"):
            own_taxonomy(DatasetInfo(dataroot=str(tmp_path), taxonomy=outside))
