"""From the bytes of a photo to the pixels in which keypoints are found, and back to its own pixels."""

from typing import NamedTuple

import numpy as np

from resight.features.local.settings import LocalSettings
from resight.features.photos import Box, Failure, clip_box, decode_photo
from resight.images.resize import fit_longer_side

__all__ = ["ScaledPhoto", "load_photo", "move_points"]

DECODED_SIDE = 2  # a JPEG is decoded at twice the size that is needed or more, then averaged down


class ScaledPhoto(NamedTuple):
    """A photo, or the box of one, at the size in which keypoints are found.

    Parameters
    ----------
    pixels : ndarray, (h, w, 3) uint8
        RGB, upright.
    step : (float, float)
        Pixels of the upright original per pixel, along x and y.
    origin : (int, int)
        Its first pixel, x and y, in the original.
    box : (y0, x0, y1, x1), optional
        Only keypoints strictly inside are wanted; in pixels of the original.
    """

    pixels: np.ndarray
    step: tuple[float, float]
    origin: tuple[int, int] = (0, 0)
    box: Box | None = None


def load_photo(content: bytes | None, box: Box | None, settings: LocalSettings) -> ScaledPhoto | Failure:
    """Decode a file and scale it; a box is cut out first where the settings say so."""
    crops = box is not None and settings.box_mode == "crop"
    longest = None if crops else DECODED_SIDE * settings.max_side
    decoded = decode_photo(
        content, max_pixels=settings.max_pixels, longer_side=longest, decoder=settings.decoder
    )
    if isinstance(decoded, Failure):
        return decoded
    pixels, origin = decoded.pixels, (0, 0)
    if box is not None:
        part = clip_box(box, decoded.height, decoded.width)
        if isinstance(part, Failure):
            return part
        if crops:
            y0, x0, y1, x1 = part
            pixels, origin, box = pixels[y0:y1, x0:x1], (x0, y0), None
    scaled = scale_pixels(pixels, settings)
    shrunk = round(
        max(decoded.width, decoded.height) / max(decoded.pixels.shape[:2])
    )  # what the JPEG's decoder left out
    (h, w), (H, W) = scaled.shape[:2], pixels.shape[:2]
    return ScaledPhoto(scaled, (shrunk * W / w, shrunk * H / h), origin, box)


def scale_pixels(pixels: np.ndarray, settings: LocalSettings) -> np.ndarray:
    """Bring the longer side between ``min_side`` and ``max_side``."""
    if max(pixels.shape[:2]) < settings.min_side:
        return fit_longer_side(pixels, settings.min_side, enlarge=True)
    return fit_longer_side(pixels, settings.max_side)


def move_points(points: np.ndarray, photo: ScaledPhoto) -> np.ndarray:
    """Give points (n, 5) of a scaled photo in pixels of the upright original, float32."""
    moved = points.astype(np.float64)
    step, origin = np.array(photo.step), np.array(photo.origin)
    moved[:, :2] = (moved[:, :2] + 0.5) * step - 0.5 + origin
    moved[:, 2] *= np.sqrt(step.prod())
    return moved.astype(np.float32)
