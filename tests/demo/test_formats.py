import io

import numpy as np
import pytest
from PIL import Image

from resight.demo.formats import UNUSUAL, decode, jpeg, png, with_comment, with_exif
from resight.demo.photos import OBJECTS, load_photo
from resight.images.decode import decode_image


@pytest.fixture(scope="module")
def pixels():
    return load_photo(next(photo for photo in OBJECTS if photo.name == "lake"))


@pytest.mark.parametrize("name", ["exif 3", "exif 5", "exif 6", "exif 8", "png called jpg", "colour 16 bit"])
def test_unusual_file_decodes_to_the_upright_picture(pixels, name):
    seen = decode_image(UNUSUAL[name][1](pixels)).pixels
    assert seen.shape == pixels.shape
    assert np.abs(seen.astype(int) - pixels).mean() < 6


@pytest.mark.parametrize(
    ("name", "mode"),
    [("cmyk", "CMYK"), ("grey 16 bit", "I;16"), ("palette", "P"), ("grey alpha", "LA"), ("bilevel", "1")],
)
def test_unusual_file_is_what_it_is_called(pixels, name, mode):
    with Image.open(io.BytesIO(UNUSUAL[name][1](pixels))) as picture:
        assert picture.mode == mode


def test_animation_starts_with_the_picture(pixels):
    content = UNUSUAL["animation"][1](pixels)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.n_frames == 2
    assert np.abs(decode_image(content).pixels.astype(int) - pixels).mean() < 12


def test_comment_and_date_change_the_bytes_and_not_the_pixels(pixels):
    plain = jpeg(pixels, 90)
    for content in (with_comment(plain, "found in the attic"), with_exif(plain, "2023:07:01 10:30:00")):
        assert content != plain
        np.testing.assert_array_equal(decode(content), decode(plain))
    assert decode_image(with_exif(plain, "2023:07:01 10:30:00")).taken_at is not None


def test_png_stores_the_pixels_at_any_level(pixels):
    grey = np.repeat(pixels[:, :, :1], 3, axis=2)
    for picture in (pixels, grey):
        assert png(picture, 1) != png(picture, 9)
        np.testing.assert_array_equal(decode(png(picture, 9)), picture)
