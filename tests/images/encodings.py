"""Files made by Pillow for the tests of decoding."""

import io
from functools import cache

import numpy as np
from PIL import Image, ImageOps

from tests.mutations import package_photos


def encode(image, name="PNG", **options):
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


@cache
def photo(size=(60, 40), mode="RGB"):
    return Image.open(io.BytesIO(package_photos()[0])).resize(size).convert(mode)


def noise(shape, dtype=np.uint8):
    info = np.iinfo(dtype)
    return np.random.default_rng(0).integers(info.min, info.max, shape, dtype, endpoint=True)


def exif_of(tags, details=()):
    exif = Image.Exif()
    exif.update({0x010F: "maker"} | tags)
    exif.get_ifd(0x8769).update(details)
    return exif


def upright(content):
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))
