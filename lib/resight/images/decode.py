"""Decode the bytes of a photograph to upright RGB pixels: the one decoder of the system.

A file is what its first bytes say, never what its name says. Pillow's readers are used directly, not
through ``PIL.Image.open``, whose limit on pixels is a global of the process: ours is an argument and
is checked before any pixel is decoded. Colour profiles are not applied.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, cast

import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from resight.images.exif import read_tags, turn_upright
from resight.images.modes import rgb_pixels

MAX_PIXELS = 100_000_000

READERS: dict[bytes, type[ImageFile]] = {  # how a file of each format begins
    rb"\xff\xd8\xff": JpegImageFile,
    rb"\x89PNG\r\n\x1a\n": PngImageFile,
    rb"GIF8[79]a": GifImageFile,
    rb"RIFF....WEBP": WebPImageFile,
    rb"(II[*+]\0|MM\0[*+])(?!....CR)": TiffImageFile,  # CR: Canon's raw files
    rb"....ftyp(avif|avis|mif1|msf1)": AvifImageFile,
    rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51": Jpeg2KImageFile,
    rb"BM": BmpImageFile,
    rb"P[1-6fFy]\s": PpmImageFile,
}
QUIET = ("ignore", None, Warning, re.compile("PIL"), 0)  # an entry of `warnings.filters`

NEW_SUBFILE_TYPE = 0x00FE  # tag of TIFF 6.0: 1 is a smaller copy of another image of the file
DecodeStatus = Literal["undecodable", "too_large", "empty"]


class DecodeError(ValueError):
    """A file that gives no pixels: ``status`` is the word for its row, ``reason`` a sentence."""

    def __init__(self, status: DecodeStatus, reason: str) -> None:
        super().__init__(status, reason)
        self.status, self.reason = status, reason

    def __str__(self) -> str:
        return f"{self.status}: {self.reason}"


@dataclass(frozen=True)
class Decoded:
    """A decoded photograph.

    Parameters
    ----------
    pixels : ndarray, (h, w, 3) uint8
        Upright, RGB, writable; smaller than ``height, width`` where a smaller size was asked for.
    width, height : int
        Size of the whole image, upright.
    format : str
        What the bytes are, such as "jpeg".
    taken_at : datetime or None
        When EXIF says that it was taken, in UTC; a time without an offset is read as UTC.
    """

    pixels: np.ndarray
    width: int
    height: int
    format: str
    taken_at: datetime | None = None


def decode_image(content: bytes, *, max_pixels: int = MAX_PIXELS, longer_side: int | None = None) -> Decoded:
    """Decode the first frame of an image file.

    Parameters
    ----------
    content : bytes
        The file.
    max_pixels : int
        An image with more is ``too_large``; its header decides, before anything is decoded.
    longer_side : int, optional
        The caller scales to this size anyway: a JPEG is then decoded at 1/2, 1/4 or 1/8 of its size,
        never below it. Other formats, and None, give all pixels.

    Returns
    -------
    Decoded
        Transparent pixels are shown on white; 16-bit samples keep their high byte; 32-bit and float
        samples are scaled as `scale_samples` says.

    Raises
    ------
    DecodeError
        For any content that gives no pixels, whatever the reason.
    """
    if not content:
        raise DecodeError("empty", "the file has no bytes")
    try:
        with quiet_pillow():
            return read_image(open_image(content, max_pixels), longer_side)
    except DecodeError:
        raise
    except Image.DecompressionBombError as error:
        raise DecodeError("too_large", describe_error(error)) from error
    except MemoryError as error:
        raise DecodeError("too_large", "not enough memory for its pixels") from error
    except Exception as error:
        raise DecodeError("undecodable", describe_error(error)) from error


def describe_error(error: BaseException) -> str:
    """Tell an exception in one short printable line, the same in every process."""
    text = re.sub(r" at 0x[0-9a-f]+", "", " ".join(str(error).split()))
    return "".join(c if c.isprintable() else "?" for c in f"{type(error).__name__}: {text}")[:200]


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Keep Pillow's warnings in; other modules' warnings, in any thread, are untouched.

    ``warnings.catch_warnings`` swaps the filters of the whole process, which goes wrong when several
    threads decode; one entry, put in and taken out of the same list, does not.
    """
    filters = cast("list[Any]", warnings.filters)
    filters.insert(0, QUIET)
    try:
        yield
    finally:
        with suppress(ValueError):  # someone else has reset the filters
            filters.remove(QUIET)


def open_image(content: bytes, max_pixels: int) -> ImageFile:
    """Read the header of a file; refuse an image of more than ``max_pixels``."""
    readers = (r for p, r in READERS.items() if re.match(p, content, re.DOTALL))
    reader = next(readers, None)
    if reader is None:
        raise DecodeError("undecodable", describe_unknown(content))
    if reader is WebPImageFile:  # it allocates its canvas when it is opened
        check_size(webp_size(content), max_pixels)
    image = reader(io.BytesIO(content))
    check_size(image.size, max_pixels)
    if isinstance(image, TiffImageFile) and int(image.tag_v2.get(NEW_SUBFILE_TYPE, 0)) & 1:
        raise DecodeError("undecodable", "holds a thumbnail first, as camera raw files do")
    return image


def describe_unknown(content: bytes) -> str:
    """Say why no reader wants a file."""
    if re.match(rb"....ftyp(he|mi|ms)", content, re.DOTALL):
        return "HEIC is not decoded here: pass a decoder that reads it"
    return f"no known image format, the file begins with {content[:8].hex(' ')}"


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Refuse (width, height) above the limit."""
    width, height = size
    if width * height > max_pixels:
        reason = f"{width} x {height} pixels, the limit is {max_pixels}"
        raise DecodeError("too_large", reason)


def webp_size(content: bytes) -> tuple[int, int]:
    """Read (width, height) from a WebP header (RFC 9649); (0, 0) where it has none."""
    if content[12:16] == b"VP8X":  # 24 bits each, less one
        return little(content[24:27]) + 1, little(content[27:30]) + 1
    if content[12:16] == b"VP8L":  # 14 bits each, less one, after a signature byte
        bits = little(content[21:25])
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return little(content[26:28]) & 0x3FFF, little(content[28:30]) & 0x3FFF


def little(content: bytes) -> int:
    """Read an unsigned little-endian integer."""
    return int.from_bytes(content, "little")


def read_image(image: ImageFile, longer_side: int | None) -> Decoded:
    """Decode an opened file to upright RGB."""
    width, height = image.size
    if longer_side is not None and isinstance(image, JpegImageFile):
        image.draft(None, draft_size(image.size, longer_side))
    if isinstance(image, TiffImageFile):  # loading it turns it and drops its tags
        tags = replace(read_tags(image), orientation=1)
        pixels = rgb_pixels(image)
    else:
        pixels = rgb_pixels(image)
        tags = read_tags(image)  # a PNG may hold them after its pixels
    if tags.orientation >= 5:
        width, height = height, width
    pixels = turn_upright(pixels, tags.orientation)
    return Decoded(pixels, width, height, str(image.format).lower(), tags.taken_at)


def draft_size(size: tuple[int, int], longer_side: int) -> tuple[int, int]:
    """Size to ask of a scaled JPEG; the shorter side is rounded down, so that the longer decides.

    An image a few pixels thin is scaled less than it could be, or not at all.
    """
    longest = max(size)
    return size[0] * longer_side // longest or 1, size[1] * longer_side // longest or 1
