"""Orientation and time, in every format that carries them."""

import io
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from resight.images.decode import decode_image
from tests.images.encodings import encode, exif_of, photo, upright


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_every_orientation_is_turned_upright(name, orientation):
    content = encode(photo((60, 40)), name, exif=exif_of({0x0112: orientation}))
    decoded = decode_image(content)
    np.testing.assert_array_equal(decoded.pixels, upright(content))
    assert (decoded.height, decoded.width, 3) == decoded.pixels.shape
    assert (decoded.width, decoded.height) == ((60, 40) if orientation < 5 else (40, 60))


@pytest.mark.parametrize(
    ("tags", "details", "expected"),
    [
        ({}, {0x9003: "2024:05:17 14:03:59", 0x9011: "+02:00"}, "2024-05-17T12:03:59"),
        ({0x0132: "2025:01:01 00:00:00"}, {0x9003: "2024:05:17 14:03:59"}, "2024-05-17T14:03:59"),
        ({0x0132: "2025:01:01 00:00:00"}, {0x9003: "    :  :     :  :  "}, "2025-01-01T00:00:00"),
        ({}, {0x9003: "2024:05:17 14:03:59", 0x9011: "+99:00"}, "2024-05-17T14:03:59"),
        ({}, {0x9004: "2024:05:17 14:03:59\0"}, "2024-05-17T14:03:59"),
        ({}, {0x9003: "0000:00:00 00:00:00"}, None),
        ({}, {0x9003: "0001:01:01 00:00:00", 0x9011: "+02:00"}, None),
        ({}, {0x9003: "2024:13:41 14:03:59"}, None),
        ({}, {}, None),
    ],
)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_the_time_is_read_from_exif(name, tags, details, expected):
    decoded = decode_image(encode(photo(), name, exif=exif_of(tags, details)))
    time = None if expected is None else datetime.fromisoformat(expected).replace(tzinfo=UTC)
    assert decoded.taken_at == time


def test_damaged_exif_leaves_the_pixels():
    content = encode(photo(), "JPEG", exif=exif_of({0x0112: 6, 0x0132: "2024:05:17 14:03:59"}))
    damaged = content.replace(b"II*\0\x08\0\0\0", b"II*\0\xff\xff\xff\x7f")
    damaged = damaged.replace(b"MM\0*\0\0\0\x08", b"MM\0*\x7f\xff\xff\xff")
    assert damaged != content
    with pytest.warns(UserWarning, match="EXIF"):
        Image.open(io.BytesIO(damaged)).getexif()
    decoded = decode_image(damaged)  # warnings are errors here, so none escapes
    assert (decoded.width, decoded.height, decoded.taken_at) == (60, 40, None)
