"""Reads images; what a file declares is looked at first, and what 8-bit RGB cannot hold is refused."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from labelgen.core.errors import FrameError
from labelgen.core.frame import Camera
from labelgen.io.magic import kind_of
from labelgen.io.paths import digest, read_file

#: Largest file that is read, in bytes.
IMAGE_LIMIT = 1 << 28
#: Largest image that is decoded; Pillow's own limit is a process-wide switch that other packages turn off.
PIXEL_LIMIT = 100_000_000
#: What is read, by what `kind_of` calls it.
IMAGE_FORMATS = {"a JPEG image": "JPEG", "a PNG image": "PNG", "a WebP image": "WEBP", "a BMP image": "BMP"}
#: Pillow modes that have a meaning as 8-bit RGB.
IMAGE_MODES = frozenset({"RGB", "L", "RGBA", "RGBX", "LA", "P", "PA", "1", "CMYK", "YCbCr"})
#: Share of a WebP image that may be zeros at its end; one of a single colour may have a quarter.
_MOST_ZEROS = 0.4
#: EXIF's tag, and what its values tell a viewer to do.
_ORIENTATION = 0x0112
TURNS = {
    2: "mirrored",
    3: "turned by 180 degrees",
    4: "mirrored and turned by 180 degrees",
    5: "mirrored and turned by 90 degrees",
    6: "turned by 90 degrees",
    7: "mirrored and turned by 270 degrees",
    8: "turned by 270 degrees",
}


@dataclass(frozen=True)
class Picture:
    """A decoded image, and what its file says of it.

    Attributes:
        frame_id: of the frame.
        camera: that took it.
        pixels: (H, W, 3) uint8 RGB, as stored: not turned, since the calibration is about the stored pixels.
        orientation: EXIF's, 1 to 8; 1: as stored.
    """

    frame_id: str
    camera: Camera
    pixels: NDArray[np.uint8]
    orientation: int = 1


def read_image(root: Path, camera: Camera, frame_id: str) -> tuple[bytes, str]:
    """Read one camera's image file, without decoding it.

    Returns:
        The file's bytes, and their hash.

    Raises:
        FrameError: missing, unreadable or empty file.
    """
    data = read_file(root, camera.image_path, frame_id, IMAGE_LIMIT)
    if not data:
        raise FrameError(
            "the file is empty; copy it again from the data set", frame_id=frame_id, path=camera.image_path
        )
    return data, digest(data)


def open_picture(data: bytes, camera: Camera, frame_id: str) -> Picture:
    """Decode one camera's image; greyscale, palette, CMYK and images with transparency are converted.

    Args:
        data: the file's bytes.
        camera: its width and height are what the image must have.
        frame_id: for the error.

    Raises:
        FrameError: another kind of file, corrupt or truncated data, another size than the calibration's,
            more than 8 bits per channel, or several pictures. The caller may go on without this camera.
    """

    def refuse(problem: str) -> FrameError:
        return FrameError(problem, frame_id=frame_id, path=camera.image_path)

    if camera.width * camera.height > PIXEL_LIMIT:
        raise refuse(
            f"{camera.width} x {camera.height} is more than {PIXEL_LIMIT} pixels; make the images smaller"
        )
    kind = kind_of(data)
    if kind not in IMAGE_FORMATS:
        raise refuse(_unread(kind))
    if (bits := _bits(data)) > 8:
        raise refuse(
            f"it is {kind} of {bits} bits per channel, which 8 cannot hold; write it with 8 bits, divided by "
            "the scale that its values have (by 16 if they are of 12 bits)"
        )
    if kind == "a JPEG image" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise refuse("the JPEG image has no end: truncated; copy it again")
    if kind == "a WebP image" and _zeros_at_end(data) > _MOST_ZEROS:
        raise refuse("the WebP image ends in zeros: it was not written whole; copy it again")
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(data), formats=[IMAGE_FORMATS[kind]]) as image,
        ):
            turn = _orientation(image)
            if image.size != (camera.width, camera.height):
                raise refuse(_other_size(image.size, camera, turn))
            if (pictures := getattr(image, "n_frames", 1)) > 1 and kind != "a JPEG image":
                raise refuse(
                    f"an animation of {pictures} pictures; save the one that was taken as a single image"
                )
            if image.mode not in IMAGE_MODES:
                raise refuse(f"pixels of kind {image.mode!r} have no meaning as 8-bit RGB; convert the image")
            pixels = np.array(image if image.mode == "RGB" else image.convert("RGB"))
    except FrameError:
        raise
    except Exception as error:  # on broken bytes Pillow's decoders raise whatever they come upon
        reason = " ".join(str(error).split())[:200]
        raise refuse(f"cannot be decoded ({type(error).__name__}: {reason}); copy it again") from None
    return Picture(frame_id, camera, pixels, turn)


def load_image(root: Path, camera: Camera, frame_id: str) -> tuple[NDArray[np.uint8], str]:
    """`read_image`, then `open_picture`: (H, W, 3) uint8 RGB and the hash of the file's bytes.

    Raises:
        FrameError: as those two.
    """
    data, hashed = read_image(root, camera, frame_id)
    return open_picture(data, camera, frame_id).pixels, hashed


def _unread(kind: str) -> str:
    """Why a file that is no image of ours is refused."""
    if "image" in kind or "video" in kind:
        return f"it is {kind}; JPEG, PNG, WebP and BMP are read: convert it (8 bits per channel)"
    return f"not an image: it is {kind or 'none of JPEG, PNG, WebP and BMP'}; copy it again"


def _bits(data: bytes) -> int:
    """Bits per channel that a file declares; what Pillow opens as ``RGB`` may have had 16."""
    if data.startswith(b"\x89PNG"):
        return data[24] if len(data) > 24 else 8
    at = 2 if data.startswith(b"\xff\xd8") else len(data)
    while at + 4 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame header
            return data[at + 4]
        if marker == 0xFF:  # may be repeated before a marker
            at += 1
        else:
            at += 2 if marker == 0x01 or 0xD0 <= marker <= 0xD8 else 2 + int.from_bytes(data[at + 2 : at + 4])
    return 8


def _zeros_at_end(data: bytes) -> float:
    """Share of a RIFF file's bytes, as many as it declares, that are zeros at its end."""
    whole = data[: 8 + int.from_bytes(data[4:8], "little")]
    return 1 - len(whole.rstrip(b"\0")) / len(whole)


def _orientation(image: Image.Image) -> int:
    """EXIF's, 1 to 8; 1 where there is none. Looks at the header alone."""
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif") or b"")
        turn = exif.get(_ORIENTATION)
    except Exception:  # what nobody can read says nothing; the pixels may be sound
        return 1
    return turn if turn in TURNS else 1


def _other_size(size: tuple[int, int], camera: Camera, turn: int) -> str:
    text = f"the image is {size[0]} x {size[1]}, the calibration is for {camera.width} x {camera.height}; "
    if turn >= 5 and size == (camera.height, camera.width):
        return text + (
            f"EXIF orientation {turn} says that it should be shown {TURNS[turn]}, which is not applied: "
            f"save the images as they are shown, or give the calibration of the stored pixels"
        )
    factor = size[0] / camera.width
    if abs(size[1] / camera.height / factor - 1) < 0.01:
        return f"{text}factor {factor:.3g}: scale the calibration, or use the original images"
    return text + "correct the size, or use the original images"
