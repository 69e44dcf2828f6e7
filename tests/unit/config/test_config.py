import pytest

from labelgen.config import RunConfig, fingerprint, load_config
from labelgen.core.errors import UserError
from labelgen.core.taxonomy import load_taxonomy
from labelgen.presets import PRESETS

MODELS = [{"name": "sam", "weights": "aa"}, {"name": "clip", "weights": "bb"}]


def mark(config: RunConfig, digest: str = "t", models=MODELS) -> str:
    return fingerprint(config, digest, models)


def test_the_fingerprint_covers_what_changes_a_label():
    base = mark(RunConfig())
    for override in (
        "regions.points_per_side=8",
        "semantics.crop_scale=2.0",
        "labels.min_margin=0.3",
        "projection.max_residual=0.1",
        "projection.ego_box=null",
        "shards.store_points=true",
        "regions.backend=superpixel",
    ):
        assert mark(load_config(None, [override])) != base, override
    assert mark(RunConfig(), digest="u") != base
    assert mark(RunConfig(), models=[{"name": "sam", "weights": "ac"}, MODELS[1]]) != base


def test_the_fingerprint_covers_nothing_else():
    base = mark(RunConfig())
    for override in (
        "runtime.runner=sequential",
        "runtime.frames_per_shard=3",
        "runtime.threads=2",
        "regions.checkpoint=/elsewhere/sam.pth",
        "regions.points_per_batch=8",
        "semantics.batch_size=3",
        "demo.scenes=9",
    ):
        assert mark(load_config(None, [override])) == base, override
    assert mark(RunConfig(), models=MODELS[::-1]) == base


def test_what_the_data_set_brings_holds_where_nothing_is_asked_for():
    box = (-1.0, -1.0, -1.0, 1.0, 1.0, 1.0)
    settled = RunConfig().settle("semantickitti19", box)
    assert (settled.taxonomy, settled.projection.box) == ("semantickitti19", box)
    asked = load_config(None, ["taxonomy=mine.yaml", "projection.ego_box=null"]).settle("nuscenes16", box)
    assert (asked.taxonomy, asked.projection.box) == ("mine.yaml", None)
    assert RunConfig().projection.box is None


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_shipped_presets_are_valid(preset):
    config = load_config(PRESETS[preset])
    load_taxonomy(config.taxonomy or "nuscenes16")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("regions.points_per_side=0", "points_per_side"),
        ("regions.no_such_field=1", "no_such_field"),
        ("nonsense", r"section\.field=value"),
        ("dataset.deep=1", "dataset"),
        ("regions.backend=magic", "backend"),
        ("semantics.temperature=.nan", "temperature"),
        ("regions.points_per_side=[1", "points_per_side"),
    ],
)
def test_a_wrong_override_is_named(override, message):
    with pytest.raises(UserError, match=message):
        load_config(None, [override])


def test_a_preset_may_be_overridden_field_by_field(tmp_path):
    preset = tmp_path / "mine.yaml"
    preset.write_text("regions: {points_per_side: 4}\nlabels: {min_margin: 0.5}\n")
    config = load_config(preset, ["regions.points_per_side=5"])
    assert config.regions.points_per_side == 5
    assert config.labels.min_margin == 0.5
