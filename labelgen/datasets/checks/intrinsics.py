"""Do a camera's intrinsics fit its image: in pixels, of this size, of a lens that there is?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from labelgen.core.frame import Camera
from labelgen.datasets.checks.inputs import Lens, PlanInput
from labelgen.datasets.checks.registry import Odd, check

#: Different calibrations that are looked at, at equal distances.
MOST_LENSES = 5000
#: Degrees that an image may span by its focal lengths. Those of public data sets span 25 to 95 across, those
#: of simulators up to 130.
LEAST_FIELD, MOST_FIELD = 10.0, 135.0
#: Focal lengths that are so small a part of the image's side are in another unit than pixels.
ABSURD_FOCAL = 1 / 24
#: Pixels of an image's side below which nothing can be said.
TINY = 8
#: Share of the image's width and height at which the principal point may lie. Crops have it off the centre:
#: KITTI-360 at 0.63 of the height, images cut at the top at 0.28.
ACROSS, DOWN = (0.3, 0.7), (0.2, 0.8)
#: Share of the image, from each border, in which no principal point lies.
BORDER = 0.08
#: K for an image so many times larger or smaller, both ways, is surely none of a crop; from the second on it
#: may be, if both ways are the same.
OTHER_SIZE, PERHAPS_OTHER = 1.3, 1.15
#: Of fx and fy.
MOST_RATIO = 1.25
#: Pixels of skew per pixel of focal length.
MOST_SKEW = 0.01
_CROPPED = "was the image cropped or scaled without adjusting K?"
#: {data set: the file that has its calibration}.
SOURCES = {
    "demo": "calibrated_sensor.json",
    "manifest": "frames.parquet",
    "nuscenes": "calibrated_sensor.json",
    "semantickitti": "calib.txt",
}
#: Factors by which images are usually scaled.
USUAL = (1 / 4, 1 / 3, 3 / 8, 1 / 2, 2 / 3, 3 / 4, 4 / 5, 5 / 4, 4 / 3, 3 / 2, 2, 8 / 3, 3, 4)


def each_camera(plan: PlanInput, judge: Callable[[Camera], Odd | None]) -> Iterator[Odd]:
    """What is odd about the calibrations of a plan: of each camera the first, with the frame that has it."""
    found: dict[str, tuple[Lens, Odd]] = {}
    images: dict[str, int] = {}
    for lens in plan.lenses[:: max(1, -(-len(plan.lenses) // MOST_LENSES))]:
        if (odd := judge(lens.camera)) is not None:
            found.setdefault(lens.camera.name, (lens, odd))
            images[lens.camera.name] = images.get(lens.camera.name, 0) + lens.number
    for name, (lens, odd) in found.items():
        more = f" and {images[name] - 1:,} more" if images[name] > 1 else ""
        where = SOURCES.get(plan.info.dataset, SOURCES["manifest"])
        yield Odd(
            f"camera {name}, according to {where}: {odd.text} (frame {lens.frame_id}{more})", odd.hint, name
        )


def field_of_view(camera: Camera) -> tuple[float, float]:
    """Degrees across and up, by the focal lengths alone."""
    sides = []
    for axis, size in enumerate((camera.width, camera.height)):
        f, centre = camera.intrinsics[axis, axis], camera.intrinsics[axis, 2] + 0.5
        sides.append(math.degrees(math.atan(centre / f) + math.atan((size - centre) / f)))
    return sides[0], sides[1]


@check("intrinsics-units", "plan", refuse=True)
def units(plan: PlanInput) -> Iterator[Odd]:
    """A camera's intrinsics are not in pixels."""
    yield from each_camera(plan, partial(_judge, "intrinsics-units"))


@check("intrinsics-size", "plan", refuse=True)
def size(plan: PlanInput) -> Iterator[Odd]:
    """A camera's intrinsics belong to images of another size: the principal point lies far off."""
    yield from each_camera(plan, partial(_judge, "intrinsics-size"))


@check("principal-point", "plan")
def principal_point(plan: PlanInput) -> Iterator[Odd]:
    """A camera's principal point lies farther from the image's centre than in any common crop."""
    yield from each_camera(plan, partial(_judge, "principal-point"))


@check("field-of-view", "plan")
def field(plan: PlanInput) -> Iterator[Odd]:
    """A camera sees less or more than the lenses of vehicles do."""
    yield from each_camera(plan, partial(_judge, "field-of-view"))


@check("focal-lengths", "plan")
def focal_lengths(plan: PlanInput) -> Iterator[Odd]:
    """A camera's fx and fy are far apart, or its axes are skewed."""
    yield from each_camera(plan, partial(_judge, "focal-lengths"))


def _judge(name: str, camera: Camera) -> Odd | None:
    """What is odd in the eyes of one check: the first that finds something explains what others would."""
    if min(camera.width, camera.height) < TINY:
        return None
    judges = {
        "intrinsics-units": _units,
        "intrinsics-size": _size,
        "principal-point": _principal_point,
        "field-of-view": _field,
        "focal-lengths": _focal_lengths,
    }
    for one, judge in judges.items():
        if (odd := judge(camera)) is not None:
            return odd if one == name else None
    return None


def _units(camera: Camera) -> Odd | None:
    K, width, height = camera.intrinsics, camera.width, camera.height
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    if fx > ABSURD_FOCAL * width and fy > ABSURD_FOCAL * height:
        return None
    size = f"{width} x {height}"
    text = f"intrinsics are not in pixels: f = {fx:.2g}, {fy:.2g} px in an image of {size}"
    if (np.eye(3) == K).all():
        return Odd(text, "they are the identity: no calibration was given")
    if 0.2 < fx < 20 and abs(cx) < 0.25 and abs(cy) < 0.25:
        return Odd(text, f"are they for coordinates from -1 to 1, in an image of {size} pixels?")
    if fx < 20 and 0.2 < cx < 0.8 and 0.15 < cy < 0.85:
        square = abs(fx / fy - 1) < 0.05
        second = "both rows by" if square else f"the second row by its height {height}, the first by"
        return Odd(text, f"are they in units of the image? Multiply {second} its width {width}")
    if fx < 100 and cx > 0 and cy > 0 and abs(math.log(cx / width / (cy / height))) < 0.4:
        unit = "metres" if fx < 0.1 else "millimetres"
        return Odd(
            text, f"are they in {unit}? Divide both rows by the size of a pixel ({2 * cx / width:.2g})"
        )
    return Odd(text, f"give fx, fy, cx, cy in pixels of an image of {size}")


def _size(camera: Camera) -> Odd | None:
    px, py = _place(camera)
    if max(abs(px), abs(py)) < BORDER:
        hint = "is it measured from the image's centre? Add half its width and height"
        return Odd(f"intrinsics do not fit the image: {_point(camera)}", hint)
    if min(px, py) * 2 > OTHER_SIZE or (min(px, py) > 0 and max(px, py) * 2 < 1 / OTHER_SIZE):
        return _scaled(camera)
    if BORDER < px < 1 - BORDER and BORDER < py < 1 - BORDER:
        return None
    return Odd(f"intrinsics do not fit the image: {_point(camera)}", _exchanged(camera) or _CROPPED)


def _principal_point(camera: Camera) -> Odd | None:
    px, py = _place(camera)
    if (min(px, py) * 2 > PERHAPS_OTHER or max(px, py) * 2 < 1 / PERHAPS_OTHER) and abs(px / py - 1) < 0.08:
        return _scaled(camera)
    cropped = ACROSS[0] < px < ACROSS[1] and DOWN[0] < py < DOWN[1]
    if cropped and not (min(abs(px - 0.5), abs(py - 0.5)) > 0.1 and _is_exchanged(camera, 0.06)):
        return None
    return Odd(f"intrinsics: {_point(camera)}, far from the centre", _exchanged(camera) or _CROPPED)


def _field(camera: Camera) -> Odd | None:
    across, up = field_of_view(camera)
    if across > LEAST_FIELD and max(across, up) < MOST_FIELD:
        return None
    K, size = camera.intrinsics, f"{camera.width} x {camera.height}"
    return Odd(
        f"intrinsics: with f = {K[0, 0]:.4g}, {K[1, 1]:.4g} px an image of {size} spans "
        f"{across:.1f} x {up:.1f} degrees",
        "are fx and fy those of this image?",
    )


def _focal_lengths(camera: Camera) -> Odd | None:
    fx, skew, fy = camera.intrinsics[0, 0], camera.intrinsics[0, 1], camera.intrinsics[1, 1]
    if not 1 / MOST_RATIO < fx / fy < MOST_RATIO:
        hint = "correct only if both the image and K were squeezed"
        return Odd(f"intrinsics: fx = {fx:.5g} px and fy = {fy:.5g} px are far apart", hint)
    if abs(skew) > MOST_SKEW * fx:
        hint = "they are given as fx s cx, 0 fy cy, 0 0 1"
        return Odd(f"intrinsics: a skew of {skew:.4g} px, with fx = {fx:.5g} px", hint)
    return None


def _place(camera: Camera) -> tuple[float, float]:
    """The principal point as a share of width and height."""
    K = camera.intrinsics
    return (K[0, 2] + 0.5) / camera.width, (K[1, 2] + 0.5) / camera.height


def _point(camera: Camera) -> str:
    K = camera.intrinsics
    return f"principal point at {K[0, 2]:.1f} of {camera.width} px, {K[1, 2]:.1f} of {camera.height} px"


def _scaled(camera: Camera) -> Odd:
    """Intrinsics of an image of another size, with the factor."""
    (px, py), K = _place(camera), camera.intrinsics
    near = min(USUAL, key=lambda one: abs(2 * px / one - 1))
    factor = near if abs(2 * px / near - 1) < 0.06 else 2 * px
    text = (
        f"intrinsics do not fit the image: {_point(camera)}; they fit an image of about "
        f"{2 * K[0, 2] + 1:.0f} x {2 * K[1, 2] + 1:.0f}"
    )
    if exchanged := _exchanged(camera):
        return Odd(text, exchanged)
    if max(px, py) / min(px, py) > 1.45:
        return Odd(
            text, "scale both rows of K as the image was scaled, or use the images that they belong to"
        )
    hint = f"divide fx, fy, cx and cy by {factor:.3g}, or use the images that they belong to"
    return Odd(f"{text}: factor {factor:.3g}", hint)


def _exchanged(camera: Camera) -> str:
    """Which numbers are exchanged; empty if none."""
    K = camera.intrinsics
    if _is_exchanged(camera, 0.1):
        return "are cx and cy swapped, or the image's width and height?"
    focal = max(abs(K[0, 0] / camera.width - 0.5), abs(K[1, 1] / camera.height - 0.5))
    if focal < 0.1 and max(_place(camera)) > 0.9:
        return "are fx, fy where cx, cy belong? The order is fx s cx, 0 fy cy, 0 0 1"
    return ""


def _is_exchanged(camera: Camera, within: float) -> bool:
    """Whether cx and cy, one for the other, are in the middle of the image."""
    px, py = _place(camera)
    ratio = camera.height / camera.width
    return abs(py * ratio - 0.5) < within and abs(px / ratio - 0.5) < within
