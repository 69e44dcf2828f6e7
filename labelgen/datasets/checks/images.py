"""Are the images what the cameras saw?"""

from __future__ import annotations

from collections.abc import Iterator

from labelgen.core.errors import FrameError
from labelgen.datasets.checks.inputs import PlanInput
from labelgen.datasets.checks.registry import Odd, check
from labelgen.datasets.images import TURNS, Picture

#: Values up to which a pixel is black, the share of such pixels that is odd, and the sample's shorter side.
BLACK, SHARE, SAMPLE = 3, 0.999, 64


@check("image-readable", "plan", refuse=True)
def readable(plan: PlanInput) -> Iterator[Odd]:
    """None of the images of several frames that were tried can be used."""
    errors = [one for one in plan.pictures if isinstance(one, FrameError)]
    if len(errors) == len(plan.pictures) and len({error.frame_id for error in errors}) > 1:
        yield Odd(f"{errors[0]}; {len(errors)} images were tried")


@check("image-unusable", "plan")
def unusable(plan: PlanInput) -> Iterator[Odd]:
    """Some images that were tried cannot be used: their frames do without them, or fail."""
    for look in plan.pictures:
        if isinstance(look, FrameError) and (plan.root / look.path).is_file():
            yield Odd(str(look), about="images")


@check("image-orientation", "image")
def orientation(picture: Picture) -> Iterator[Odd]:
    """EXIF says that the image should be shown turned, which is not applied."""
    if picture.orientation != 1:
        yield _odd(
            picture,
            f"EXIF orientation {picture.orientation} ({TURNS[picture.orientation]}) is not applied",
            "the calibration must describe the pixels as they are stored",
        )


@check("image-blank", "image")
def blank(picture: Picture) -> Iterator[Odd]:
    """All pixels are equal, or nearly all are black."""
    step = max(1, min(picture.pixels.shape[:2]) // SAMPLE)
    sample = picture.pixels[::step, ::step]
    if (sample == sample[0, 0]).all():
        yield _odd(picture, "all pixels are equal", "is this what the camera saw?")
    elif (sample <= BLACK).mean() >= SHARE:
        yield _odd(picture, "nearly all pixels are black", "is this what the camera saw?")


def _odd(picture: Picture, text: str, hint: str) -> Odd:
    return Odd(f"{picture.camera.image_path}: {text}", hint, picture.camera.name)
