"""Fusion over time in a made-up street: what a frame learns from others, what moves, what is bounded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labelgen.core.records import PointLabels
from labelgen.labels.fuse import Sighting, fuse_scene
from labelgen.labels.settings import FusionSettings

ROAD, WALL, CAR = 0, 1, 2
PLAIN = FusionSettings(see_through=0)


def points_of(x):
    """The street around the vehicle at x: road ahead and behind, a wall to the left; and their classes."""
    rng = np.random.default_rng(int(x * 10) + 1)
    road = np.stack([rng.uniform(-15, 15, 900), rng.uniform(-4, 4, 900), np.full(900, -1.8)], 1)
    wall = np.stack([rng.uniform(-15, 15, 600), np.full(600, 5.0), rng.uniform(-1.5, 2, 600)], 1)
    return np.concatenate([road, wall]), np.repeat([ROAD, WALL], [900, 600])


def sighting(number, xyz, votes, moving=None, reason=None, instance=None):
    pose = np.eye(4)
    pose[:3, 3] = [411_300.0 + 3.0 * number, 1_180_900.0, 5.0]  # far from the origin, as map grids are
    N = len(xyz)
    label = np.where(votes.sum(1) > 0, votes.argmax(1), 255).astype(np.uint8)
    label[label == 3] = 255
    labels = PointLabels(
        label=label,
        confidence=np.full(N, 100, np.uint8),
        margin=np.full(N, 100, np.uint8),
        instance=np.zeros(N, np.uint16) if instance is None else instance,
        region=np.where(label == 255, 65535, 7).astype(np.uint16),
        camera=np.where(label == 255, 255, 2).astype(np.uint8),
        views=(label != 255).astype(np.uint8),
        reason=np.where(label == 255, 1, 0).astype(np.uint8) if reason is None else reason,
    )
    still = np.zeros(N, bool) if moving is None else moving
    return Sighting(f"f{number}", 500_000 * number, pose, xyz.astype(np.float32), votes, labels, still)


def votes_for(kind, seen, noise=0.0, rng=None):
    """One vote for each seen point's class, with errors."""
    rng = rng or np.random.default_rng(0)
    said = np.where(rng.random(len(kind)) < noise, rng.integers(0, 3, len(kind)), kind)
    out = np.zeros((len(kind), 4), np.float32)
    out[np.flatnonzero(seen), said[seen]] = 0.9
    out[seen, 3] += 0.1
    return out


def street(frames=8, noise=0.0, behind=False):
    """Points that are seen ahead of the vehicle only, or behind it only."""
    rng = np.random.default_rng(1)
    for number in range(frames):
        xyz, kind = points_of(3.0 * number)
        seen = xyz[:, 0] < -2 if behind else xyz[:, 0] > 2
        yield sighting(number, xyz, votes_for(kind, seen, noise, rng)), kind


def run(sightings, settings=PLAIN):
    return dict(fuse_scene(sightings, settings))


def test_points_that_no_camera_sees_learn_from_other_frames():
    made = list(street())
    fused = run(one for one, _ in made)
    assert list(fused) == [one.frame_id for one, _ in made]
    for one, kind in made[6:]:
        found = fused[one.frame_id]
        unseen = one.labels.label == 255
        assert unseen.mean() > 0.4
        assert (found.label[unseen] != 255).mean() > 0.9
        assert (found.label == kind)[found.label != 255].mean() > 0.99
        assert (found.reason[found.label != 255] == 0).all()
        assert (found.camera[unseen] == 255).all()
        np.testing.assert_array_equal(found.views, one.labels.views)
        still = (found.label == one.labels.label) & ~unseen
        assert (found.region[still] == 7).all()
        np.testing.assert_array_equal(found.label == 255, found.reason != 0)


def test_errors_are_outvoted():
    made = list(street(noise=0.3))
    fused = run((one for one, _ in made), PLAIN.model_copy(update={"voxel": 1.0, "levels": 1}))
    for one, kind in made[3:6]:
        seen = one.labels.label != 255
        before = (one.labels.label == kind)[seen].mean()
        assert (fused[one.frame_id].label == kind)[seen].mean() > before + 0.08


def test_looking_ahead_is_what_helps_the_first_frame():
    made = [one for one, _ in street(behind=True)]
    blind = run(made, PLAIN.model_copy(update={"ahead": 0}))
    wise = run(made, PLAIN.model_copy(update={"ahead": 6}))
    assert (blind["f0"].label != 255).mean() + 0.05 < (wise["f0"].label != 255).mean()
    last = f"f{len(made) - 1}"
    np.testing.assert_array_equal(blind[last].label, wise[last].label)


def test_one_frame_keeps_its_labels():
    ((one, kind),) = street(1)
    found = run([one])["f0"]
    seen = one.labels.label != 255
    np.testing.assert_array_equal(found.label[seen], kind[seen])
    assert (found.confidence[seen] > 100).all()  # one vote against a prior of two
    assert run([]) == {}


def with_car(number, x, moving, seen=True):
    """A street with a car at global x (relative to the first frame)."""
    xyz, kind = points_of(3.0 * number)
    rng = np.random.default_rng(number)
    car = rng.uniform([-2, -1, -1.6], [2, 1, -0.2], (200, 3)) + np.array([x - 3.0 * number, -1.5, 0])
    xyz, kind = np.concatenate([xyz, car]), np.append(kind, np.full(200, CAR))
    moves = (kind == CAR) & moving
    instance = np.where(kind == CAR, 9, 0).astype(np.uint16)
    votes = votes_for(kind, np.full(len(kind), seen))
    return sighting(number, xyz, votes, moves, instance=instance), kind


def test_what_moves_leaves_nothing_behind():
    # It drives through places that later frames have points in, of no known class.
    first = [with_car(number, 4.0 + 2 * number, True)[0] for number in range(4)]
    xyz = np.random.default_rng(0).uniform([-4, -2.4, -1.5], [6, -0.6, -0.3], (500, 3))
    later = sighting(4, xyz, np.zeros((500, 4), np.float32))
    assert (run([*first, later])["f4"].label != CAR).all()
    ghosts = [replace(one, moving=np.zeros(len(one.xyz), bool)) for one in first]
    assert (run([*ghosts, later])["f4"].label == CAR).any()
    # Its own points keep their own labels and their number.
    found = run(first)["f2"]
    mine = first[2].moving
    assert (found.label[mine] == CAR).all()
    assert (found.instance[mine] == 9).all()


def test_free_space_clears_what_has_left():
    """A car that nobody knew to be moving: later sweeps see through its place."""
    made = [with_car(number, 8.0 if number < 2 else 400.0, False)[0] for number in range(5)]
    turn = np.radians(np.arange(-180, 180, 0.3))
    rings = [
        np.stack([25 * np.cos(turn), 25 * np.sin(turn), np.full(len(turn), 25 * np.tan(np.radians(e)))], 1)
        for e in np.arange(-60, 4, 1.0)
    ]
    far = np.concatenate(rings)
    gone = [sighting(number, far, np.zeros((len(far), 4), np.float32)) for number in range(2, 5)]
    ask = np.array([[8.0 - 3.0 * 5, -1.5, -0.6]]) + np.random.default_rng(0).uniform(-0.3, 0.3, (50, 3))
    last = sighting(5, ask, np.zeros((50, 4), np.float32))
    there = run([*made[:2], *gone, last])["f5"]
    cleared = run([*made[:2], *gone, last], PLAIN.model_copy(update={"see_through": 30.0}))["f5"]
    assert (there.label == CAR).mean() > 0.8
    assert (cleared.label == CAR).mean() < 0.1


def test_the_ego_vehicle_is_left_out():
    xyz, kind = points_of(0)
    ego = np.arange(len(kind)) < 300
    reason = np.where(ego, 3, 0).astype(np.uint8)
    votes = votes_for(kind, np.ones(len(kind), bool))
    found = run([sighting(0, xyz, votes, reason=reason), sighting(1, xyz, votes, reason=reason)])["f0"]
    assert (found.label[ego] == 255).all()
    assert (found.reason[ego] == 3).all()
    assert (found.label[~ego] != 255).all()


@pytest.mark.parametrize("nowhere", [(0, 0, 0), (np.nan, np.nan, np.nan), (60.0, 0.0, -1.8), (5, 0, -1.8)])
def test_no_return_has_no_label_says_nothing_and_sees_through_nothing(nowhere):
    made = [one for one, _ in street(2)]
    none = np.arange(200) * 7  # spread over road and wall
    spoiled = []
    for one in made:
        xyz, reason = one.xyz.copy(), one.labels.reason.copy()
        xyz[none], reason[none] = nowhere, 8
        label = np.where(reason == 8, np.uint8(255), one.labels.label)
        labels = replace(one.labels, reason=reason, label=label)
        spoiled.append(replace(one, xyz=xyz, labels=labels))
    rest = np.setdiff1d(np.arange(len(made[0].xyz)), none)
    alone = []
    for one in made:
        columns = {name: getattr(one.labels, name)[rest] for name in one.labels._SPEC}
        parts = {"xyz": one.xyz[rest], "evidence": one.evidence[rest], "moving": one.moving[rest]}
        alone.append(replace(one, labels=PointLabels(**columns), **parts))
    settings = FusionSettings()
    found, without = run(spoiled, settings), run(alone, settings)
    for frame_id, labels in found.items():
        assert (labels.label[none] == 255).all()
        assert (labels.reason[none] == 8).all()
        for name in ("label", "confidence", "reason"):
            np.testing.assert_array_equal(getattr(labels, name)[rest], getattr(without[frame_id], name))


def test_void_close_votes_and_nothing_known_are_told_apart():
    xyz = np.array([[5, 0, 0], [10, 0, 0], [15, 0, 0], [20, 0, 0], [np.nan, 0, 0.0]])
    votes = np.zeros((5, 4), np.float32)
    votes[0, 3], votes[1, :2], votes[2, 0], votes[4, 1] = 1, 0.5, 1, 1
    found = run([sighting(0, xyz, votes)])["f0"]
    assert found.label.tolist() == [255, 255, 0, 255, 1]
    assert found.reason.tolist() == [6, 5, 0, 1, 0]
    assert found.confidence[3] == 0


def test_what_does_not_go_together():
    (one, _), (two, _) = street(2)
    with pytest.raises(ValueError, match="f1: the number of classes differs"):
        run([one, replace(two, evidence=two.evidence[:, :3])])
    with pytest.raises(ValueError, match="differ in length"):
        run([replace(one, xyz=one.xyz[:-1])])


def test_memory_does_not_grow_with_the_scene():
    """A long drive with a small window: the generator holds few frames, the map forgets."""
    from labelgen.labels import fuse

    made, sizes = fuse.VoxelMap, []

    class Watched(made):
        def forget(self, centre, reach):
            super().forget(centre, reach)
            sizes.append(len(self))

    fuse.VoxelMap = Watched
    try:
        settings = FusionSettings(see_through=0, ahead=2, keep=20.0, voxel=0.5, levels=1)
        frames = (one for one, _ in street(60))
        assert sum(1 for _ in fuse_scene(frames, settings)) == 60
    finally:
        fuse.VoxelMap = made
    assert max(sizes[30:]) < 1.1 * max(sizes[:30])
