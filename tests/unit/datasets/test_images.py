"""Images: exact when whole and of 8 bits, a `FrameError` that says what else they are when not."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelgen.core.errors import FrameError
from labelgen.datasets.checks import image_notes
from labelgen.datasets.images import load_image, open_picture

from .frames import make_camera, refused

WIDTH, HEIGHT = 64, 48


@pytest.fixture
def camera():
    return replace(make_camera(np.random.default_rng(0)), image_path="image", width=WIDTH, height=HEIGHT)


def picture(mode: str = "RGB") -> Image.Image:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    pixels = np.stack([rows * 5, columns * 4, (rows + columns) * 2], axis=-1).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def notes(data: bytes, camera) -> list[str]:
    return list(image_notes(open_picture(data, camera, "f")))


class TestImage:
    @pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
    def test_lossless_pixels_are_exact(self, tmp_path, camera, kind):
        data = encoded(picture(), kind, **({"lossless": True} if kind == "WEBP" else {}))
        (tmp_path / "image").write_bytes(data)
        pixels, digest = load_image(tmp_path, camera, "frame-0")
        np.testing.assert_array_equal(pixels, np.asarray(picture()))
        assert pixels.dtype == np.uint8
        assert pixels.flags["C_CONTIGUOUS"]
        assert digest == hashlib.blake2b(data, digest_size=16).hexdigest()

    @pytest.mark.parametrize(
        ("mode", "kind"),
        [
            ("RGB", "JPEG"),
            ("L", "JPEG"),
            ("CMYK", "JPEG"),
            ("L", "PNG"),
            ("P", "PNG"),
            ("RGBA", "PNG"),
            ("LA", "PNG"),
        ],
    )
    def test_other_pixels_are_converted(self, tmp_path, camera, mode, kind):
        image = picture().quantize(256) if mode == "P" else picture(mode)
        data = encoded(image, kind, **({"quality": 95} if kind == "JPEG" else {}))
        (tmp_path / "image").write_bytes(data)
        pixels, _ = load_image(tmp_path, camera, "frame-0")
        want = np.asarray(picture("L").convert("RGB") if mode in ("L", "LA") else picture()).astype(int)
        assert np.abs(pixels - want).mean() < 4

    def test_another_size_is_refused(self, tmp_path, camera):
        (tmp_path / "image").write_bytes(encoded(picture().resize((32, 24)), "JPEG"))
        assert "32 x 24, the calibration is for 64 x 48" in refused(load_image, tmp_path, camera, "frame-0")

    @pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"no image at all" * 9])
    def test_no_image(self, tmp_path, camera, content):
        (tmp_path / "image").write_bytes(content)
        message = refused(load_image, tmp_path, camera, "frame-0")
        assert "empty" in message or "not an image" in message
        assert "0x" not in message

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
    @pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
    def test_truncated(self, tmp_path, camera, kind, share):
        noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        data = encoded(Image.fromarray(noise), kind)
        (tmp_path / "image").write_bytes(data[: int(len(data) * share)])
        refused(load_image, tmp_path, camera, "frame-0")

    @settings(max_examples=150, deadline=None)
    @given(data=st.data())
    def test_damaged_bytes_are_refused_or_read(self, tmp_path_factory, data):
        camera = replace(
            make_camera(np.random.default_rng(0)), image_path="image", width=WIDTH, height=HEIGHT
        )
        content = bytearray(encoded(picture(), data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP"]))))
        for _ in range(data.draw(st.integers(1, 5))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        folder = tmp_path_factory.mktemp("damage")
        (folder / "image").write_bytes(content)
        try:
            pixels, _ = load_image(folder, camera, "frame-0")
        except FrameError:
            return
        assert pixels.shape == (HEIGHT, WIDTH, 3)

    def test_a_bomb_is_refused_before_it_is_decoded(self, tmp_path, camera, monkeypatch):
        # nuscenes-devkit turns Pillow's own limit off when it is imported
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
        chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
        (tmp_path / "image").write_bytes(
            encoded(picture(), "PNG")[:8] + chunk + encoded(picture(), "PNG")[33:]
        )
        assert "60000 x 60000" in refused(load_image, tmp_path, camera, "frame-0")
        told = replace(camera, width=60_000, height=60_000)
        assert "make the images smaller" in refused(load_image, tmp_path, told, "frame-0")

    def test_missing_or_outside(self, tmp_path, camera):
        assert "no such file" in refused(load_image, tmp_path, camera, "frame-0")
        outside = replace(camera, image_path="../image")
        assert "leaves the data root" in refused(load_image, tmp_path, outside, "frame-0")


def png(depth: int, color: int, rows: np.ndarray) -> bytes:
    """A PNG from its rows of bytes, as Pillow cannot write it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, color, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def frames_of(kind: str) -> bytes:
    return encoded(picture(), kind, save_all=True, append_images=[picture("L").convert("RGB")])


class TestDeepPixels:
    """More than 8 bits per channel; Pillow opens most of it as 8-bit RGB without their lower half."""

    @pytest.mark.parametrize(("color", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
    def test_png_of_16_bits(self, camera, color, channels):
        values = np.random.default_rng(0).integers(0, 4096, (HEIGHT, WIDTH, channels)).astype(">u2")
        data = png(16, color, values)
        if color == 2:
            assert np.asarray(Image.open(io.BytesIO(data))).max() < 16  # what would be labelled
        assert "PNG image of 16 bits per channel" in refused(open_picture, data, camera, "f")

    def test_jpeg_of_12_bits(self, camera):
        data = bytearray(encoded(picture(), "JPEG"))
        at = data.index(b"\xff\xc0")
        data[at + 4] = 12
        assert "JPEG image of 12 bits per channel" in refused(open_picture, bytes(data), camera, "f")

    def test_fewer_bits_are_read(self, camera):
        rows = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH // 8), np.uint8)
        pixels = open_picture(png(1, 0, rows), camera, "f").pixels
        np.testing.assert_array_equal(pixels[..., 0], np.unpackbits(rows, axis=1) * 255)


class TestOrientation:
    @staticmethod
    def turned(turn: int, kind: str = "JPEG", size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
        exif = Image.Exif()
        exif[0x0112] = turn
        return encoded(picture().resize(size), kind, exif=exif)

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
    def test_the_stored_pixels_count_and_it_is_said(self, camera, kind):
        picture = open_picture(self.turned(6, kind), camera, "f")
        plain = open_picture(self.turned(1, kind), camera, "f")
        np.testing.assert_array_equal(picture.pixels, plain.pixels)
        (note,) = image_notes(picture)
        assert "image: EXIF orientation 6 (turned by 90 degrees) is not applied" in note

    @pytest.mark.parametrize("turn", [0, 1, 9, 700])
    def test_no_turn_is_nothing_to_say(self, camera, turn):
        assert not notes(self.turned(turn), camera)

    def test_a_calibration_of_the_turned_image(self, camera):
        message = refused(open_picture, self.turned(8, size=(HEIGHT, WIDTH)), camera, "f")
        assert "EXIF orientation 8 says that it should be shown turned by 270 degrees" in message

    def test_broken_exif_is_no_reason_to_lose_an_image(self, camera):
        data = encoded(picture(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
        assert not notes(data, camera)


class TestOtherFiles:
    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (encoded(picture(), "TIFF"), "it is a TIFF image; JPEG, PNG, WebP and BMP are read: convert it"),
            (encoded(picture(), "GIF"), "it is a GIF image"),
            (encoded(picture(), "JPEG2000"), "it is a JPEG 2000 image"),
            (encoded(picture(), "PPM"), "it is a PNM image"),
            (b"\0\0\0\x1cftypheic" + bytes(99), "it is an HEIC image"),
            (b"\0\0\0\x1cftypavif" + bytes(99), "it is an AVIF image"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
            (b"\n<!DOCTYPE html><html>login</html>", "a web page"),
            (gzip.compress(encoded(picture(), "PNG")), "compressed by gzip; copy it again"),
            (b"\0\5\26\7" + bytes(4092), "AppleDouble"),
            (bytes(5000), "nothing but zero bytes"),
        ],
    )
    def test_what_it_is_is_said(self, camera, data, words):
        assert words in refused(open_picture, data, camera, "f")

    @pytest.mark.parametrize("kind", ["PNG", "WEBP"])
    def test_an_animation_is_no_image(self, camera, kind):
        assert "an animation of 2 pictures" in refused(open_picture, frames_of(kind), camera, "f")

    def test_of_a_jpeg_with_a_second_picture_the_first_counts(self, camera):
        """As phones store depth or brightness beside the picture."""
        pixels = open_picture(frames_of("MPO"), camera, "f").pixels
        expected = open_picture(encoded(picture(), "JPEG"), camera, "f").pixels
        np.testing.assert_array_equal(pixels, expected)

    @pytest.mark.parametrize("progressive", [False, True])
    def test_a_download_into_a_file_of_zeros(self, camera, progressive):
        noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        data = encoded(Image.fromarray(noise), "JPEG", progressive=progressive)
        half = len(data) // 2
        refused(open_picture, data[:half] + bytes(half), camera, "f")
        open_picture(data + bytes(4096), camera, "f")  # as cameras' buffers end

    @pytest.mark.parametrize("lossless", [False, True])
    def test_half_a_webp(self, camera, lossless):
        noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        data = encoded(Image.fromarray(noise), "WEBP", lossless=lossless)
        half = len(data) // 2
        refused(open_picture, data[:half] + bytes(len(data) - half), camera, "f")
        open_picture(data + bytes(3 * len(data)), camera, "f")

    @pytest.mark.parametrize("colour", [0, 255])
    def test_a_webp_of_one_colour_is_whole(self, camera, colour):
        blank = Image.new("RGB", (WIDTH, HEIGHT), (colour, colour, colour))
        open_picture(encoded(blank, "WEBP", quality=100, method=0), camera, "f")


class TestOdd:
    def test_a_picture_is_nothing_to_say(self, camera):
        assert not notes(encoded(picture(), "PNG"), camera)

    def test_a_street_at_night_is_nothing_to_say(self, camera):
        night = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        night[20:28, 30:40] = 90
        assert not notes(encoded(Image.fromarray(night), "PNG"), camera)

    def test_a_covered_lens(self, camera):
        dark = np.random.default_rng(0).integers(0, 4, (HEIGHT, WIDTH, 3), np.uint8)
        (note,) = notes(encoded(Image.fromarray(dark), "PNG"), camera)
        assert "image: nearly all pixels are black" in note

    @pytest.mark.parametrize("colour", [0, 128, 255])
    def test_one_colour(self, camera, colour):
        blank = Image.new("RGB", (WIDTH, HEIGHT), (colour, colour, 7))
        (note,) = notes(encoded(blank, "PNG"), camera)
        assert "image: all pixels are equal" in note
