"""What EXIF 2.32 (CIPA DC-008-2019) says about a photograph: which way is up, when it was taken."""

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import cv2
import numpy as np
from PIL.ImageFile import ImageFile

ORIENTATION, EXIF_IFD = 0x0112, 0x8769
FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}  # orientation -> code of `cv2.flip`
TIME = re.compile(r"\s*(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)")
OFFSET = re.compile(r"^\s*([+-]\d\d:\d\d)")
FIRST_PHOTOGRAPH = 1826  # an earlier year is a clock that was never set


@dataclass(frozen=True)
class Tags:
    """What EXIF says about an image; 1 and None where it says nothing that makes sense."""

    orientation: int = 1
    taken_at: datetime | None = None


def read_tags(image: ImageFile) -> Tags:
    """Read orientation and time; damaged tags say nothing, the pixels are worth having."""
    orientation, taken_at = 1, None
    with suppress(Exception):
        exif = image.getexif()
        orientation = exif.get(ORIENTATION, 1)
        taken_at = find_time(dict(exif) | exif.get_ifd(EXIF_IFD))
    return Tags(orientation if orientation in range(1, 9) else 1, taken_at)


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn pixels (h, w, 3) the way that tag 0x0112 says; 5 to 8 exchange height and width."""
    if orientation >= 5:
        pixels = cv2.transpose(pixels)
    return cv2.flip(pixels, FLIPS[orientation]) if orientation in FLIPS else pixels


def find_time(exif: dict[int, Any]) -> datetime | None:
    """Find the time of the shot, else of its digitisation, else of the file."""
    for time_tag, offset_tag in ((0x9003, 0x9011), (0x9004, 0x9012), (0x0132, 0x9010)):
        time = parse_time(str(exif.get(time_tag, "")), str(exif.get(offset_tag, "")))
        if time is not None and time.year >= FIRST_PHOTOGRAPH:
            return time
    return None


def parse_time(time: str, offset: str) -> datetime | None:
    """Read a time such as "2024:05:17 14:03:59" with an offset such as "+02:00", else in UTC."""
    parts = TIME.match(time)
    if parts is None:
        return None
    stamp = "{}-{}-{}T{}".format(*parts.groups())
    for zone in [*OFFSET.findall(offset)[:1], "+00:00"]:
        with suppress(ValueError, OverflowError):
            return datetime.fromisoformat(stamp + zone).astimezone(UTC)
    return None
