"""Is a camera's distortion that of a lens, in OpenCV's order, and of the model that it is taken for?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from labelgen.core.frame import Camera
from labelgen.datasets.checks.inputs import PlanInput
from labelgen.datasets.checks.intrinsics import each_camera, field_of_view
from labelgen.datasets.checks.registry import Odd, check
from labelgen.geometry.cameras import fold_over

Vector = NDArray[np.float64]
#: Of tangential coefficients: of calibrated lenses they are a few thousandths.
MOST_TANGENTIAL = 0.02
#: Degrees across from which a lens bends: one that draws straight lines straight ends here.
WIDE = 100.0
#: A wide lens draws the border of the image by more than this share nearer to the centre.
LEAST_BEND = 0.08
#: Share by which a lens may move the border of the image.
MOST_BEND = 0.75
_ORDER = "labelgen takes k1 k2 p1 p2 [k3 [k4 k5 k6 …]], OpenCV's order"


@check("fisheye", "plan")
def fisheye(plan: PlanInput) -> Iterator[Odd]:
    """Four coefficients of a fisheye (Kannala-Brandt's k1 to k4) are taken for k1 k2 p1 p2."""
    yield from each_camera(plan, _fisheye)


@check("distortion", "plan")
def distortion(plan: PlanInput) -> Iterator[Odd]:
    """Distortion coefficients fold or tear the image within its borders, or are in another order."""
    yield from each_camera(plan, lambda camera: None if _fisheye(camera) else _implausible(camera))


def _coefficients(camera: Camera) -> Vector | None:
    """(12,) float64; None of a camera without distortion."""
    if camera.distortion is None or not np.any(camera.distortion):
        return None
    lens = np.zeros(12)
    lens[: min(12, len(camera.distortion))] = camera.distortion[:12]
    return lens


def _edge(camera: Camera) -> float:
    """Normalised radius of the middle of the farther side border."""
    K = camera.intrinsics
    return float(max(K[0, 2] + 0.5, camera.width - K[0, 2] - 0.5) / K[0, 0])


def _bend(lens: Vector, s: float) -> float:
    """Radial factor less one at the squared radius s."""
    k1, k2, _, _, k3, k4, k5, k6 = lens[:8]
    return float((1 + s * (k1 + s * (k2 + s * k3))) / (1 + s * (k4 + s * (k5 + s * k6))) - 1)


def _fisheye(camera: Camera) -> Odd | None:
    lens = _coefficients(camera)
    if lens is None or lens[4:].any():
        return None
    across = field_of_view(camera)[0]
    if across < WIDE or (_bend(lens, _edge(camera) ** 2) < -LEAST_BEND and abs(lens[2:4]).max() < 0.005):
        return None
    four = ", ".join(f"{k:g}" for k in lens[:4])
    return Odd(
        f"distortion {four}: no lens of {across:.0f} degrees or more bends so little",
        f"do they belong to a fisheye lens (Kannala-Brandt's k1 k2 k3 k4)? {_ORDER}: rectify such images "
        f"first",
    )


def _implausible(camera: Camera) -> Odd | None:
    lens = _coefficients(camera)
    if lens is None:
        return None
    given = ", ".join(f"{k:g}" for k in np.asarray(camera.distortion))
    worst = float(abs(lens[2:4]).max())
    if worst > MOST_TANGENTIAL:
        hint = f"do they belong to a fisheye, or are they in another order (k1 k2 k3 p1 p2)? {_ORDER}"
        return Odd(
            f"distortion {given}: a tangential coefficient (p1, p2) of {worst:g} does not occur in any lens",
            hint,
        )
    edge, limit = _edge(camera), fold_over(lens)
    reach = np.sqrt(limit) * (1 + _bend(lens, limit)) if np.isfinite(limit) else np.inf
    if reach < 0.9 * edge:
        return Odd(
            f"distortion {given}: folds the image at {reach / edge:.0%} of the way to its border",
            f"do they belong to this image's lens and to OpenCV's model? {_ORDER}",
        )
    if not abs(_bend(lens, edge * edge)) < MOST_BEND:
        return Odd(
            f"distortion {given}: moves the border of the image by {_bend(lens, edge * edge):+.0%}",
            f"do they belong to this image's lens and to OpenCV's model? {_ORDER}",
        )
    return None
