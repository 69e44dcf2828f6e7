"""Tracks on things whose ways are known."""

from __future__ import annotations

import numpy as np
import pytest

from labelgen.labels import tracks
from labelgen.labels.settings import TrackSettings
from labelgen.labels.tracks import Tracker

RNG = np.random.default_rng(0)
BLOB = RNG.uniform(-0.5, 0.5, (20, 3))


def pose(x, yaw=0.0):
    out = np.eye(4)
    out[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    out[0, 3] = x
    return out


def step(tracker, number, places, labels, ego=0.0, yaw=0.0, order=None):
    """One frame of things at global places; returns the track of each."""
    global_from_lidar = pose(ego, yaw)
    order = range(len(places)) if order is None else order
    points, label, instance = [], [], []
    for k, which in enumerate(order):
        world = BLOB + places[which]
        points.append((world - global_from_lidar[:3, 3]) @ global_from_lidar[:3, :3])
        label += [labels[which]] * len(BLOB)
        instance += [k + 1] * len(BLOB)
    xyz = np.concatenate([*points, np.zeros((3, 3))]).astype(np.float32)
    label, instance = np.array([*label, 5, 5, 5], np.uint8), np.array([*instance, 0, 0, 0], np.uint16)
    found = tracker.update(500_000 * number, global_from_lidar, xyz, label, instance)
    assert (found[-3:] == 0).all()
    out = {which: int(found[k * len(BLOB)]) for k, which in enumerate(order)}
    assert all((found[k * 20 : (k + 1) * 20] == out[which]).all() for k, which in enumerate(order))
    return [out[which] for which in range(len(places))]


def test_parked_cars_keep_their_numbers_while_the_ego_drives_and_turns():
    tracker = Tracker()
    places = np.array([[10, 3, 0], [14, 3, 0], [18, 3, 0], [12, -4, 0.0]])
    first = step(tracker, 0, places, [0] * 4)
    assert sorted(first) == [1, 2, 3, 4]
    for number in range(1, 8):
        order = RNG.permutation(4)
        assert step(tracker, number, places, [0] * 4, 4.0 * number, 0.1 * number, order) == first
    assert not tracker.moving


def test_movers_are_followed_and_known_as_such():
    tracker = Tracker()
    begin = np.array([[0, 0, 0], [0, 4, 0], [30, 8, 0.0]])
    speed = np.array([[10, 0, 0], [-8, 0, 0], [0, 0, 0.0]])
    first = step(tracker, 0, begin, [0, 0, 0])
    for number in range(1, 8):
        assert step(tracker, number, begin + speed * 0.5 * number, [0, 0, 0], 3.0 * number) == first
    assert tracker.moving == {first[0], first[1]}


def test_two_that_meet_do_not_swap():
    tracker = Tracker()
    begin, speed = np.array([[0, 0, 0], [20, 1.5, 0.0]]), np.array([[6, 0, 0], [-6, 0, 0.0]])
    first = step(tracker, 0, begin, [0, 0])
    for number in range(1, 8):
        assert step(tracker, number, begin + speed * 0.5 * number, [0, 0]) == first


def test_hidden_for_a_moment_and_for_good():
    tracker = Tracker(TrackSettings(max_gap_s=1.2))
    places = np.array([[5, 0, 0], [12, 0, 0.0]])
    first = step(tracker, 0, places, [0, 0])
    step(tracker, 1, places[:1], [0])
    assert step(tracker, 2, places, [0, 0]) == first
    for number in range(3, 6):
        step(tracker, number, places[:1], [0])
    assert step(tracker, 6, places, [0, 0])[1] == 3


def test_another_class_at_the_same_place_goes_on_but_yields_to_its_own():
    tracker = Tracker()
    here = np.array([[5, 0, 0.0]])
    assert step(tracker, 0, here, [0]) == [1]
    assert step(tracker, 1, here, [1]) == [1]
    fresh = Tracker()
    places = np.array([[5, 0, 0], [5, 2.5, 0.0]])
    first = step(fresh, 0, places, [0, 1])
    assert step(fresh, 1, places[::-1] + np.array([0.0, 0.4, 0]), [1, 0]) == first[::-1]


def test_nothing_and_too_much():
    tracker = Tracker()
    nothing = np.zeros((0, 3), np.float32), np.zeros(0, np.uint8), np.zeros(0, np.uint16)
    assert len(tracker.update(0, np.eye(4), *nothing)) == 0
    tracker._count = 65535
    with pytest.raises(ValueError, match="65535 tracks"):
        step(tracker, 1, np.zeros((1, 3)), [0])


def test_more_things_than_can_be_compared(monkeypatch):
    monkeypatch.setattr(tracks, "MOST_PAIRS", 5)
    tracker, places = Tracker(), np.array([[0.0, 5, 0], [9, 5, 0], [18, 5, 0]])
    step(tracker, 0, places, [0, 0, 0])
    with pytest.raises(ValueError, match="3 things after 3 in the frames before"):
        step(tracker, 1, places, [0, 0, 0])
