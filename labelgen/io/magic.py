"""What a file really is, told by its first bytes, for messages about files that are not what they claim."""

from __future__ import annotations

import re
import struct

#: Bytes of a file that `kind_of` looks at, at most.
HEAD = 512

_ZEROS = "nothing but zero bytes, as an interrupted download leaves behind"
ZIP = "a ZIP archive, as .npz and .pt are"
#: How files of each kind begin; so much of it that no raw numbers begin so by chance.
_KINDS: tuple[tuple[str, bytes], ...] = (
    ("a JPEG image", rb"\xff\xd8\xff[\xc0-\xfe]"),
    ("a PNG image", rb"\x89PNG\r\n\x1a\n"),
    ("a WebP image", rb"RIFF....WEBP"),
    ("a BMP image", rb"BM.{4}.{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    ("a GIF image", rb"GIF8[79]a"),
    ("a TIFF image", rb"II[*+]\0|MM\0[*+]"),
    ("a JPEG 2000 image", rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    ("a JPEG XL image", rb"\0\0\0\x0cJXL "),
    ("an AVIF image", rb".{4}ftypavi[fs]"),
    ("an HEIC image", rb".{4}ftyp(?:hei[cmsx]|hev[cx]|mif1|msf1)"),
    ("an MP4 or QuickTime video", rb".{4}ftyp"),
    ("a Photoshop image", rb"8BPS"),
    ("an OpenEXR image", rb"\x76\x2f\x31\x01"),
    ("a Radiance HDR image", rb"#\?RADIANCE"),
    ("a PNM image", rb"P[1-7]\s(?:#|\d+\s)"),
    ("a numpy file (.npy)", rb"\x93NUMPY[\x01-\x03]\0"),
    ("a PCD point cloud", rb"# \.PCD|(?:#[^\n]*\n)*\s*(?:VERSION\s+0?\.\d|FIELDS\s+\w)"),
    ("a PLY point cloud", rb"ply\r?\nformat "),
    ("a LAS or LAZ point cloud", rb"LASF"),
    ("an E57 point cloud", rb"ASTM-E57"),
    ("a point cloud compressed by Draco", rb"DRACO[\x01-\x03]"),
    ("an MCAP log", rb"\x89MCAP0\r\n"),
    ("a ROS bag", rb"#ROSBAG"),
    ("an SQLite file, as a ROS 2 bag is", rb"SQLite format 3\0"),
    ("a network capture (pcap)", rb"\xd4\xc3\xb2\xa1|\xa1\xb2\xc3\xd4|\x4d\x3c\xb2\xa1|\x0a\x0d\x0d\x0a"),
    ("compressed by gzip", rb"\x1f\x8b\x08[\0-\x1f]"),
    ("compressed by bzip2", rb"BZh[1-9]1AY&SY"),
    ("compressed by xz", rb"\xfd7zXZ\0"),
    ("compressed by zstd", rb"\x28\xb5\x2f\xfd"),
    ("compressed by lz4", rb"\x04\x22\x4d\x18"),
    (ZIP, rb"PK\x03\x04|PK\x05\x06"),
    ("a 7z archive", rb"7z\xbc\xaf\x27\x1c"),
    ("a tar archive", rb".{257}ustar"),
    ("an HDF5 file", rb"\x89HDF\r\n\x1a\n"),
    ("a Parquet file", rb"PAR1"),
    ("an Arrow file", rb"ARROW1\0\0"),
    ("a Python pickle", rb"\x80[\x04\x05]\x95.{6}\0\0"),
    ("a MATLAB file", rb"MATLAB 5\.0 MAT"),
    ("a PDF document", rb"%PDF-"),
    ("the metadata that macOS keeps beside a file (AppleDouble)", rb"\0\x05\x16[\0\x07]"),
    ("a git-LFS pointer, not the file itself (fetch it: `git lfs pull`)", rb"version https://git-lfs"),
    ("a git-annex pointer, not the file itself (fetch it: `git annex get`)", rb"/annex/objects/"),
    ("a web page, such as a server's error or login page", rb"\s*(?:<!--.*?-->\s*)?<(?i:!doctype html|html)"),
    ("an XML document, such as a server's error", rb"\s*<\?xml"),
    ("a JSON document, such as a server's error", rb"\s*\{\s*\"[\w ]+\"\s*:"),
    (_ZEROS, rb"\0{64,}\Z"),
    ("a text file", rb"(?:\xef\xbb\xbf)?[\t\r\n -~]{32,}\Z"),
)
_KNOWN = tuple((name, re.compile(pattern, re.DOTALL)) for name, pattern in _KINDS)


def kind_of(data: bytes) -> str:
    """What a file is, such as ``a PNG image``, to stand after "it is"; empty if its beginning says nothing.

    Args:
        data: its content, or the first `HEAD` bytes of it.
    """
    head = data[:HEAD]
    found = next((name for name, pattern in _KNOWN if pattern.match(head)), "")
    return "" if found == _ZEROS and data.strip(b"\0") else found


def cloud_kind(data: bytes) -> str:
    """`kind_of` a file that should hold packed points, whose numbers may begin with almost any bytes.

    Args:
        data: its content.
    """
    kind = kind_of(data)
    if kind == "a JPEG image" and 1 < abs(struct.unpack("<f", data[:4])[0]) < 1000:
        return ""  # the first coordinate happens to look like one, such as -7.9952
    return kind
