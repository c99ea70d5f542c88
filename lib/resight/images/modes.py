"""Bring every kind of sample that a file can hold to 8-bit RGB."""

from typing import cast

import cv2
import numpy as np
import pyarrow as pa
from PIL import Image, ImageCms
from PIL.ImageFile import ImageFile

BAND = 1 << 16  # pixels that stay in the cache


def rgb_pixels(image: ImageFile) -> np.ndarray:
    """Load an image of any of Pillow's modes as RGB pixels (h, w, 3) uint8, writable."""
    image.load()
    rgb = to_rgb(image)
    shared = share_pixels(rgb)
    if shared is not None:
        return cv2.cvtColor(shared, cv2.COLOR_RGBA2RGB)
    rows = BAND // rgb.width or 1
    pixels = np.empty((rgb.height, rgb.width, 3), np.uint8)
    for top in range(0, rgb.height, rows):  # 4 times faster than the whole at once
        bottom = min(top + rows, rgb.height)
        pixels[top:bottom] = np.asarray(rgb.crop((0, top, rgb.width, bottom)))
    return pixels


def share_pixels(rgb: Image.Image) -> np.ndarray | None:
    """View the memory of an RGB image, (h, w, 4) uint8, its last channel unused; None where it is in parts.

    Pillow holds images of more than 16 MiB in several blocks.
    """
    try:
        values = pa.array(rgb).flatten()
    except ValueError:
        return None
    return values.to_numpy().reshape(rgb.height, rgb.width, 4)


def to_rgb(image: ImageFile) -> Image.Image:
    """Bring a loaded image to RGB, on white where it is transparent."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return numbers_to_rgb(image)
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return cast(Image.Image, ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB"))
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    rgba = image.convert("RGBA")
    on_white = Image.new("RGB", image.size, "white")
    on_white.paste(rgba, mask=rgba.getchannel("A"))
    return on_white


def numbers_to_rgb(image: ImageFile) -> Image.Image:
    """Bring samples of 16 bits, 32 bits or float to RGB; the transparent value of a PNG is white."""
    samples = np.asarray(image)
    is_16_bit = image.mode != "F" and (image.mode != "I" or image.format in ("PNG", "PPM"))
    gray = (samples >> 8).astype(np.uint8) if is_16_bit else scale_samples(samples)
    if (clear := image.info.get("transparency")) is not None:
        gray[samples == clear] = 255
    return Image.fromarray(gray).convert("RGB")


def scale_samples(samples: np.ndarray) -> np.ndarray:
    """Bring samples (h, w) int32 or float32 of unstated range to uint8.

    Floats within [0, 1] are multiplied by 255; values within [0, 255] stay; values within
    [0, 65535] are divided by 257; any other range is stretched from its least to its greatest. What
    is not a number is black.
    """
    finite = np.isfinite(samples)
    values = np.where(finite, samples, 0).astype(np.float64)
    low, high = values.min(where=finite, initial=np.inf), values.max(where=finite, initial=-np.inf)
    if low < 0 or high > 65535:
        values, gain = np.where(finite, values - low, 0), 255 / (high - low or 1)
    elif high > 255:
        gain = 1 / 257
    else:
        gain = 255 if high <= 1 and samples.dtype.kind == "f" else 1
    return np.rint(values * gain).astype(np.uint8)
