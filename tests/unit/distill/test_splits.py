"""Splits and subsets: no scene on both sides, the papers' own lists, presets that hold together."""

import numpy as np
import pytest
from nuscenes.utils import splits as official

from labelgen.core.errors import UserError
from labelgen.core.frame import Frame
from labelgen.distill.config import load_train_config
from labelgen.distill.registry import METHODS
from labelgen.distill.splits import MINI_VAL, choose_fraction, split_frames


class FakeRun:
    """A run of which nothing is asked but its plan."""

    url = "toy"

    def __init__(self, plan, dataset, labelled):
        self.plan, self.dataset, self.labelled = plan, dataset, set(labelled)

    def __contains__(self, frame_id):
        return frame_id in self.labelled

    def planned(self, frame_id):
        return self.plan[frame_id]


def run_of(scenes, frames=2, dataset="nuscenes"):
    """A run of frames alone; the plan goes through the scenes in the order given."""
    plan = {
        f"{scene}-{n}": Frame(f"{scene}-{n}", scene, n, n, "x", "nuscenes", np.eye(4), ())
        for scene in scenes
        for n in range(frames)
    }
    from labelgen.datasets import DatasetInfo

    return FakeRun(plan, DatasetInfo(dataset=dataset), plan)


def scenes_in(frames):
    return list(dict.fromkeys(frame.rpartition("-")[0] for frame in frames))


def test_slidr_holds_out_one_hundred_scenes_of_the_official_training_split():
    assert len(MINI_VAL) == 100
    assert set(official.train) >= MINI_VAL
    assert not MINI_VAL & set(official.val)
    everything = run_of([*official.val, *official.train], 1)
    one = split_frames(everything, "slidr")
    assert (len(one.train), len(one.val)) == (600, 100)
    both = split_frames(everything)
    assert (both.name, len(both.train), len(both.val)) == ("official", 700, 150)


def test_one_per_cent_are_seven_whole_scenes_in_the_order_of_the_table():
    order = official.train[::-1]  # any order of the table
    opened = run_of([*official.val, *order], 3)
    train = split_frames(opened).train
    for percent, count in ((1, 7), (5, 35), (10, 70), (25, 175), (100, 700)):
        chosen = choose_fraction(opened, train, percent)
        assert len(chosen) == 3 * count
        step = 100 // percent
        assert scenes_in(chosen) == order[step - 1 :: step]
    with pytest.raises(UserError, match="--fraction 7"):
        choose_fraction(opened, train, 7)


def test_kitti_takes_every_hundredth_scan_and_sequence_08_is_scored():
    opened = run_of([f"{n:02d}" for n in range(11)], 191, "semantickitti")
    one = split_frames(opened)
    assert scenes_in(one.val) == ["08"]
    assert scenes_in(one.train) == [f"{n:02d}" for n in range(11) if n != 8]
    chosen = choose_fraction(opened, one.train, 1)
    assert list(chosen) == sorted(one.train, key=lambda f: (f[:2], int(f[3:])))[::100]
    assert len(chosen) == 20  # ceil(1910 / 100)


def test_few_scenes_are_cut_by_frames_and_held_out_by_scene():
    opened = run_of(["d", "c", "b", "a", "e"], 60)
    one = split_frames(opened)
    assert one.name == "held-out"
    assert scenes_in(one.val) == ["a"]
    assert scenes_in(one.train) == ["d", "c", "b", "e"]
    assert choose_fraction(opened, one.train, 1) == (one.train[99], one.train[199])
    assert choose_fraction(opened, one.train[:5], 1) == one.train[4:5]
    assert scenes_in(split_frames(run_of(["x", "y"])).val) == ["y"]
    named = split_frames(opened, "b, c")
    assert scenes_in(named.val) == ["c", "b"]
    assert set(named.train).isdisjoint(named.val)
    whole = split_frames(opened, "all")
    assert whole.train == whole.val
    for wrong in ("z", "official", "slidr", "a,b,c,d,e"):
        with pytest.raises(UserError, match=r"scene|split"):
            split_frames(opened, wrong)
    with pytest.raises(UserError, match="leaves no scene"):
        split_frames(run_of(["only"]))
    lost = FakeRun(opened.plan, opened.dataset, [frame for frame in opened.plan if frame[0] != "a"])
    assert scenes_in(split_frames(lost).val) == ["e"]  # failed frames are not there


@pytest.mark.parametrize("method", METHODS.own())
@pytest.mark.parametrize("size", [None, "demo", "small", "base", "large"])
def test_every_method_has_settings_in_every_size(method, size):
    config = load_train_config(method, size)
    assert config.method == method
    assert size is None or config.backbone == {
        "demo": "waffleiron-6-64",
        "small": "waffleiron-12-128",
        "base": "waffleiron-48-256",
        "large": "waffleiron-48-768",
    }.get(size)


def test_settings_are_laid_over_one_another_and_checked(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("optimizer: {epochs: 3}\ndata: {voxel: 0.3}\n")
    config = load_train_config("slidr", "demo", file, ["optimizer.batch_size=7", "settings.temperature=0.2"])
    assert (config.optimizer.epochs, config.optimizer.batch_size, config.data.voxel) == (3, 7, 0.3)
    assert config.data.max_points == load_train_config("slidr", "demo").data.max_points
    assert config.settings["temperature"] == 0.2
    assert load_train_config("slidr", "demo", None, ["backbone=minkunet34"]).backbone_settings == {}
    (tmp_path / "list.yaml").write_text("- 1\n")
    for arguments, word in (
        (("nothing", None, None, []), "unknown method"),
        (("slidr", "huge", None, []), "unknown size"),
        (("slidr", None, tmp_path / "no.yaml", []), "cannot read"),
        (("slidr", None, tmp_path / "list.yaml", []), "mapping"),
        (("slidr", None, None, ["epochs"]), "section.field"),
        (("slidr", None, None, ["optimizer.epochs=0"]), "optimizer.epochs"),
        (("slidr", None, None, ["optimizer.ephocs=1"]), "optimizer.ephocs"),
        (("slidr", None, None, ["optimizer.epochs=[1"]), "not valid YAML"),
    ):
        with pytest.raises(UserError, match=word):
            load_train_config(*arguments)


def test_what_changes_weights_changes_the_digest_and_nothing_else_does():
    config = load_train_config("slidr")
    assert config.digest() == load_train_config("slidr", None, None, ["runtime.workers=7"]).digest()
    assert config.digest() != load_train_config("slidr", None, None, ["seed=7"]).digest()
    assert config.digest(run="a") != config.digest(run="b")
