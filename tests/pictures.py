"""A handful of real photos that PyPI packages ship, written into a folder."""

from pathlib import Path

import skimage
import sklearn.datasets
from PIL import Image

SKIMAGE = Path(skimage.__file__).parent / "data"
SKLEARN = Path(sklearn.datasets.__file__).parent / "images"
PHOTOS = {
    "astronaut": SKIMAGE / "astronaut.png",
    "chelsea": SKIMAGE / "chelsea.png",
    "coffee": SKIMAGE / "coffee.png",
    "rocket": SKIMAGE / "rocket.jpg",
    "china": SKLEARN / "china.jpg",
    "flower": SKLEARN / "flower.jpg",
}


def save_photo(name, file, *, side=160, quality=90):
    """Write a reduced photo; the suffix of ``file`` decides the format."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(PHOTOS[name]) as photo:
        small = photo.convert("RGB")
        small.thumbnail((side, side))
        small.save(file, quality=quality)
    return file


def save_collection(folder, names=tuple(PHOTOS)):
    """Write some photos as JPEG files."""
    for name in names:
        save_photo(name, folder / f"{name}.jpg")
    return folder
