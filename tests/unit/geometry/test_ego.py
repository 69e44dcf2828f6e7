"""The box of the ego vehicle."""

import numpy as np

from labelgen.geometry import NUSCENES_EGO_BOX, ego_mask
from tests.helpers.geometry import keyframe


def test_inside_outside_and_not_finite():
    xyz = np.array(
        [[0, 0, 0], [0.9, 2.5, -1], [1.1, 0, -1], [0, 2.7, -1], [0, 0, 0.4], [np.nan, 0, 0], [0, np.inf, 0]],
        np.float32,
    )
    assert ego_mask(xyz).tolist() == [True, True, False, False, False, False, False]
    assert ego_mask(xyz, (-2, -2, -2, 2, 2, 2)).tolist() == [True, False, True, False, True, False, False]


def test_no_vehicle():
    assert not ego_mask(np.zeros((3, 3), np.float32), None).any()
    assert ego_mask(np.zeros((0, 3), np.float32)).shape == (0,)


def test_covers_the_car_of_the_real_keyframe(nuscenes_keyframe):
    _, cloud = keyframe(nuscenes_keyframe)
    on_car = ego_mask(cloud.xyz)
    assert on_car.sum() > 1000
    # The car's returns end where the box does: there is a gap before the first ground return.
    x0, y0, z0, x1, y1, z1 = NUSCENES_EGO_BOX
    wider = ego_mask(cloud.xyz, (x0 - 0.3, y0 - 0.3, z0, x1 + 0.3, y1 + 0.3, z1))
    assert (wider & ~on_car).sum() < 0.01 * on_car.sum()
