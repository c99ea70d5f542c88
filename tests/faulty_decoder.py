"""Decoders that fail: by a segmentation fault on red, by exhausting memory on green pictures, for a time."""

import os
import signal
from pathlib import Path

from resight.images.decode import DecodeError, decode_image

MARK = b"unreadable while there is "


def decode(content, *, max_pixels, longer_side=None):
    decoded = decode_image(content, max_pixels=max_pixels, longer_side=longer_side)
    red, green, _ = decoded.pixels.reshape(-1, 3).mean(0)
    if red > 200 and green < 50:
        os.kill(os.getpid(), signal.SIGSEGV)
    if green > 200 and red < 50:
        hoard = []
        while True:
            hoard.append(bytearray(1 << 26))
    return decoded


def decode_in_time(content, *, max_pixels, longer_side=None):
    """Fail while the file exists whose path stands at the end of the content."""
    _, found, path = content.rpartition(MARK)
    if found and Path(os.fsdecode(path)).exists():
        raise DecodeError("unreadable", "the disk is away")
    return decode_image(content, max_pixels=max_pixels, longer_side=longer_side)


def decode_reversed(content, *, max_pixels, longer_side=None):
    """Read a format of our own: the bytes of a known one, last byte first."""
    if content == b"error":
        raise KeyError("no such codec")
    if content == b"memory":
        raise MemoryError
    return decode_image(content[::-1], max_pixels=max_pixels, longer_side=longer_side)
