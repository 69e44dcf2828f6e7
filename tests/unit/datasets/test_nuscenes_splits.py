"""The splits are nuscenes-devkit's."""

from nuscenes.utils.splits import create_splits_scenes

from labelgen.datasets.nuscenes_splits import official_splits


def test_the_splits_are_the_devkits():
    theirs = {name: tuple(scenes) for name, scenes in create_splits_scenes(verbose=False).items()}
    assert official_splits() == theirs
