import numpy as np
import pytest

from resight.config import SettingError
from resight.demo.photos import DISTRACTORS, OBJECTS, load_photo, read_file


def test_every_photo_is_colour_of_a_moderate_size():
    for photo in [*OBJECTS, *DISTRACTORS]:
        pixels = load_photo(photo)
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
        assert 400 <= max(pixels.shape[:2]) <= 640


def test_loading_leaves_the_file_in_memory_as_it_was():
    photo = next(photo for photo in OBJECTS if photo.name == "wall")
    first = load_photo(photo)
    first[:] = 0
    assert load_photo(photo).max() > 0


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_package/photo.png", "pip install"),
        ("skimage/data/no_such_photo.png", "has no file data/no_such_photo.png"),
    ],
)
def test_missing_package_or_file_is_named(path, message):
    with pytest.raises(SettingError, match=message):
        read_file(path)
