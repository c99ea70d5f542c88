"""Image files as cameras, browsers and accidents leave them: usual, unusual and broken.

Every function gives the bytes of a file, and the same ones each time: no clock, no random metadata.
Pixels are (h, w, 3) uint8 RGB.
"""

import io
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from PIL import Image

__all__ = ["BROKEN", "UNUSUAL", "decode", "jpeg", "png", "with_comment", "with_exif"]

ORIENTATION, TAKEN, MAKER, EXIF_FOLDER = 0x0112, 0x9003, 0x010F, 0x8769
CLAIMED = 65_000  # pixels a side that a bomb's header claims


def save(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """Encode with Pillow."""
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def jpeg(pixels: np.ndarray, quality: int, **options: Any) -> bytes:
    """Encode as JPEG."""
    return save(Image.fromarray(pixels), "JPEG", quality=quality, **options)


def png(pixels: np.ndarray, level: int = 6) -> bytes:
    """Encode as PNG, grey where the three channels agree; ``level`` changes the bytes only."""
    is_grey = (pixels == pixels[:, :, :1]).all()
    picture = Image.fromarray(pixels[:, :, 0] if is_grey else pixels)
    return save(picture, "PNG", compress_level=level)


def exif(*, orientation: int = 1, taken: str = "") -> bytes:
    """Exif data of a made-up camera; ``taken`` reads ``YYYY:MM:DD HH:MM:SS``."""
    tags = Image.Exif()
    tags[MAKER] = "resight demo"
    tags[ORIENTATION] = orientation
    if taken:
        tags.get_ifd(EXIF_FOLDER)[TAKEN] = taken
    return tags.tobytes()


def with_exif(content: bytes, taken: str) -> bytes:
    """Put Exif data with a date into the bytes of a JPEG file; its pixels stay."""
    return with_segment(content, 0xE1, exif(taken=taken))


def with_comment(content: bytes, comment: str) -> bytes:
    """Put a comment into the bytes of a JPEG file; its pixels stay."""
    return with_segment(content, 0xFE, comment.encode())


def with_segment(content: bytes, marker: int, data: bytes) -> bytes:
    """Insert a marker segment after a JPEG's start of image."""
    return content[:2] + struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data + content[2:]


def decode(content: bytes) -> np.ndarray:
    """Read back the pixels of a plain file (no orientation, no alpha)."""
    with Image.open(io.BytesIO(content)) as picture:
        return np.array(picture.convert("RGB"))


def rotated(orientation: int, turn: Callable[[np.ndarray], np.ndarray]) -> Callable:
    """Make an encoder that stores ``turn(pixels)`` and says with Exif how to undo it."""

    def encode(pixels: np.ndarray) -> bytes:
        stored = np.ascontiguousarray(turn(pixels))
        return jpeg(stored, 85, exif=exif(orientation=orientation, taken="2024:03:05 12:00:00"))

    return encode


def grey_levels(pixels: np.ndarray) -> np.ndarray:
    """Luma (h, w) uint8."""
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def opaque_disc(pixels: np.ndarray) -> np.ndarray:
    """Alpha (h, w) uint8: opaque up to near the corners, then transparent."""
    h, w = pixels.shape[:2]
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    return np.where(x**8 + y**8 < 1, 255, 0).astype(np.uint8)


def cmyk(pixels: np.ndarray) -> bytes:
    """Encode as a JPEG for printers."""
    return save(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=88)


def deep_grey(pixels: np.ndarray) -> bytes:
    """Encode as a grey PNG of 16 bits."""
    return cv2_png(grey_levels(pixels).astype(np.uint16) * 257)


def deep_colour(pixels: np.ndarray) -> bytes:
    """Encode as a colour PNG of 16 bits a channel."""
    return cv2_png(pixels[:, :, ::-1].astype(np.uint16) * 257)


def cv2_png(values: np.ndarray) -> bytes:
    """Encode 16-bit values, which Pillow cannot write in colour."""
    return cv2.imencode(".png", values)[1].tobytes()


def palette(pixels: np.ndarray) -> bytes:
    """Encode as a GIF of 128 colours."""
    return save(Image.fromarray(pixels).quantize(128), "GIF")


def animation(pixels: np.ndarray) -> bytes:
    """Encode as an animated GIF whose first frame is the picture and whose second is its negative."""
    frames = [Image.fromarray(frame).quantize(128) for frame in (pixels, 255 - pixels)]
    return save(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=500)


def grey_alpha(pixels: np.ndarray) -> bytes:
    """Encode as a grey PNG with transparent corners."""
    bands = [Image.fromarray(band) for band in (grey_levels(pixels), opaque_disc(pixels))]
    return save(Image.merge("LA", bands), "PNG")


def colour_alpha(pixels: np.ndarray) -> bytes:
    """Encode as a colour PNG with transparent corners."""
    return save(Image.fromarray(np.dstack([pixels, opaque_disc(pixels)])), "PNG")


def bilevel(pixels: np.ndarray) -> bytes:
    """Encode as a black and white PNG, dithered."""
    return save(Image.fromarray(pixels).convert("1"), "PNG")


def tiff(pixels: np.ndarray) -> bytes:
    """Encode as a compressed TIFF."""
    return save(Image.fromarray(pixels), "TIFF", compression="tiff_adobe_deflate")


def bmp(pixels: np.ndarray) -> bytes:
    """Encode as a BMP of 320 pixels."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((320, 320))
    return save(picture, "BMP")


def progressive(pixels: np.ndarray) -> bytes:
    """Encode as a progressive JPEG with full colour resolution."""
    return jpeg(pixels, 80, progressive=True, subsampling=0)


def webp(pixels: np.ndarray) -> bytes:
    """Encode as WebP."""
    return save(Image.fromarray(pixels), "WEBP", quality=75)


UNUSUAL: Mapping[str, tuple[str, Callable[[np.ndarray], bytes]]] = {
    "exif 3": (".jpg", rotated(3, lambda pixels: pixels[::-1, ::-1])),
    "exif 5": (".jpg", rotated(5, lambda pixels: pixels.swapaxes(0, 1))),
    "exif 6": (".JPG", rotated(6, lambda pixels: np.rot90(pixels, 1))),
    "exif 8": (".jpeg", rotated(8, lambda pixels: np.rot90(pixels, -1))),
    "cmyk": (".jpg", cmyk),
    "grey 16 bit": (".png", deep_grey),
    "colour 16 bit": (".png", deep_colour),
    "palette": (".gif", palette),
    "animation": (".gif", animation),
    "grey alpha": (".png", grey_alpha),
    "colour alpha": (".PNG", colour_alpha),
    "bilevel": (".png", bilevel),
    "tiff": (".tif", tiff),
    "bmp": (".bmp", bmp),
    "progressive": (".jpg", progressive),
    "webp": (".webp", webp),
    "png called jpg": (".jpg", png),
}


def png_claiming(width: int, height: int, data: bytes) -> bytes:
    """Make a PNG whose header claims a size that its ``data`` does not fill."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, body) for kind, body in chunks)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Frame a chunk with its length and check sum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def jpeg_claiming(content: bytes, width: int, height: int) -> bytes:
    """Overwrite the size in a baseline JPEG's frame header."""
    start = content.index(b"\xff\xc0") + 5
    return content[:start] + struct.pack(">HH", height, width) + content[start + 4 :]


def some_rows(rows: int) -> bytes:
    """Compressed rows of a grey ramp, 800 pixels wide, 8 bits a channel."""
    row = b"\0" + bytes(i % 256 for i in range(2400))
    return zlib.compress(row * rows, 6)


BROKEN: Mapping[str, tuple[str, Callable[[np.ndarray], bytes]]] = {
    "empty.jpg": ("empty", lambda pixels: b""),
    "half.jpg": ("undecodable", lambda pixels: jpeg(pixels, 90)[: pixels.size // 24]),
    "stump.jpg": ("undecodable", lambda pixels: jpeg(pixels, 90)[:160]),
    "half.png": ("undecodable", lambda pixels: png(pixels)[:20_000]),
    "cut.gif": ("undecodable", lambda pixels: palette(pixels)[:500]),
    "cut.webp": ("undecodable", lambda pixels: webp(pixels)[:3_000]),
    "notes.jpg": ("undecodable", lambda pixels: b"Ask Ana for the photos of the lake.\n" * 40),
    "login.png": ("undecodable", lambda pixels: b"<!DOCTYPE html><title>Sign in</title>\n" * 9),
    "zeros.jpeg": ("undecodable", lambda pixels: bytes(4096)),
    "archive.png": ("undecodable", lambda pixels: b"PK\x03\x04" + bytes(range(256)) * 8),
    "claims more.png": ("undecodable", lambda pixels: png_claiming(800, 600, some_rows(40)[:-16])),
    "bomb.png": ("too_large", lambda pixels: png_claiming(CLAIMED, CLAIMED, some_rows(9))),
    "bomb.jpg": (
        "too_large",
        lambda pixels: jpeg_claiming(jpeg(pixels, 60), CLAIMED, CLAIMED),
    ),
}
