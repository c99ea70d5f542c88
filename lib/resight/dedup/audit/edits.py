"""Copies of a photo as people make them: recompressed, cropped, turned, covered, shown on a page, pasted.

Every edit takes the pixels (h, w, 3) uint8, its strength, another photo, and random numbers for what is free,
such as the place of a crop; it gives new pixels and the place of the original in them. Strengths of an edit
are ordered from mild to strong.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from resight.demo.formats import decode, jpeg
from resight.verification.overlap import FROM_CENTRE, TO_CENTRE, Size, area_of, clip_polygon, corners_of

__all__ = ["EDITS", "Copied", "Edit", "edit_photo", "measure_remaining"]

Rng = np.random.Generator
LEAST = 8  # pixels of a side that are left of a photo
INK, PAPER, ACCENT = (60, 60, 66), (250, 250, 248), (196, 30, 58)
GREY = np.array([0.299, 0.587, 0.114])


class Copied(NamedTuple):
    """Pixels (h, w, 3) uint8 of a copy, and the map (3, 3) float64 of pixels of the original to it.

    Places count from the centre of the first pixel, as in `resight.verification`.
    """

    pixels: np.ndarray
    transform: np.ndarray


@dataclass(frozen=True)
class Edit:
    """A way to copy: ``mixes`` says that the copy also shows the other photo."""

    name: str
    strengths: tuple[float, ...]
    make: Callable[[np.ndarray, float, np.ndarray, Rng], Copied]
    mixes: bool = False


def edit_photo(pixels: np.ndarray, name: str, strength: float, other: np.ndarray, rng: Rng) -> Copied:
    """Copy a photo by the edit called ``name``; ``other`` is shown by the edits that mix."""
    return EDITS[name].make(pixels, strength, other, rng)


def measure_remaining(transform: np.ndarray, size: Size, copied: Size) -> float:
    """Share of a photo of ``size`` (width, height) that lies in the frame of its copy.

    >>> measure_remaining(np.eye(3), (100, 50), (50, 50))
    0.5
    """
    back = np.linalg.inv(FROM_CENTRE @ transform @ TO_CENTRE)
    frame = corners_of(copied) @ back[:2, :2].T + back[:2, 2]
    return min(1.0, area_of(clip_polygon(frame, size)) / (size[0] * size[1]))


def place(x: float, y: float, scale_x: float = 1.0, scale_y: float | None = None) -> np.ndarray:
    """Map a photo that is scaled and laid with its corner at (x, y)."""
    M = np.array([[scale_x, 0, x], [0, scale_x if scale_y is None else scale_y, y], [0, 0, 1.0]])
    return TO_CENTRE @ M @ FROM_CENTRE


def scale_to(pixels: np.ndarray, width: float, height: float) -> np.ndarray:
    """Scale to a size, averaging where it shrinks."""
    size = max(LEAST, round(width)), max(LEAST, round(height))
    shrinks = size[0] < pixels.shape[1] or size[1] < pixels.shape[0]
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def scaled(pixels: np.ndarray, width: float, height: float) -> Copied:
    """Scale a photo to a size."""
    small, (h, w) = scale_to(pixels, width, height), pixels.shape[:2]
    return Copied(small, place(0, 0, small.shape[1] / w, small.shape[0] / h))


def recompress(pixels: np.ndarray, quality: float, other: np.ndarray, rng: Rng) -> Copied:
    """Save as JPEG of a quality."""
    return Copied(decode(jpeg(pixels, round(quality))), np.eye(3))


def resize(pixels: np.ndarray, factor: float, other: np.ndarray, rng: Rng) -> Copied:
    """Scale both sides."""
    return scaled(pixels, factor * pixels.shape[1], factor * pixels.shape[0])


def square(pixels: np.ndarray, factor: float, other: np.ndarray, rng: Rng) -> Copied:
    """Press into a square of ``factor`` times the longer side."""
    side = factor * max(pixels.shape[:2])
    return scaled(pixels, side, side)


def crop(pixels: np.ndarray, share: float, other: np.ndarray, rng: Rng) -> Copied:
    """Keep ``share`` of the area, somewhere, in the shape of the photo."""
    h, w = pixels.shape[:2]
    width, height = (min(n, max(LEAST, round(n * share**0.5))) for n in (w, h))
    x, y = int(rng.integers(w - width + 1)), int(rng.integers(h - height + 1))
    return Copied(pixels[y : y + height, x : x + width].copy(), place(-x, -y))


def turn(pixels: np.ndarray, degrees: float, other: np.ndarray, rng: Rng) -> Copied:
    """Turn by quarters, clockwise."""
    h, w = pixels.shape[:2]
    quarters = round(degrees / 90) % 4
    M = np.eye(3)
    for number in range(quarters):
        height = (h, w)[number % 2]
        M = np.array([[0, -1.0, height - 1], [1, 0, 0], [0, 0, 1]]) @ M  # (x, y) -> (height - 1 - y, x)
    return Copied(np.ascontiguousarray(np.rot90(pixels, -quarters)), M)


def mirror(pixels: np.ndarray, way: float, other: np.ndarray, rng: Rng) -> Copied:
    """Swap left and right (0), or top and bottom (1)."""
    h, w = pixels.shape[:2]
    if way:
        return Copied(pixels[::-1].copy(), np.array([[1.0, 0, 0], [0, -1, h - 1], [0, 0, 1]]))
    return Copied(pixels[:, ::-1].copy(), np.array([[-1.0, 0, w - 1], [0, 1, 0], [0, 0, 1]]))


def rotate(pixels: np.ndarray, degrees: float, other: np.ndarray, rng: Rng) -> Copied:
    """Turn by some degrees to either side in the frame of the photo; what comes in is black."""
    h, w = pixels.shape[:2]
    angle = float(degrees * rng.choice([-1, 1]))
    M = np.vstack([cv2.getRotationMatrix2D(((w - 1) / 2, (h - 1) / 2), angle, 1), [0, 0, 1]])
    return Copied(cv2.warpAffine(pixels, M[:2], (w, h), flags=cv2.INTER_CUBIC), M)


def cover_with_banner(pixels: np.ndarray, share: float, other: np.ndarray, rng: Rng) -> Copied:
    """Lay a banner with words over ``share`` of the height, somewhere."""
    covered, (h, w) = pixels.copy(), pixels.shape[:2]
    height = max(2, round(share * h))
    y = int(rng.integers(h - height + 1))
    covered[y : y + height] = rng.integers(0, 256, 3)
    bright = covered[y, 0].mean() > 128
    cv2.putText(
        covered,
        "SALE  -  TODAY ONLY",
        (w // 20, y + round(0.7 * height)),
        cv2.FONT_HERSHEY_SIMPLEX,
        max(0.3, min(height / 45, w / 380)),
        INK if bright else PAPER,
        max(1, height // 20),
        cv2.LINE_AA,
    )
    return Copied(covered, np.eye(3))


def stamp(pixels: np.ndarray, share: float, other: np.ndarray, rng: Rng) -> Copied:
    """Put a mark of ``share`` of the shorter side into a corner, three quarters opaque."""
    h, w = pixels.shape[:2]
    radius = max(2, round(share * min(h, w) / 2))
    margin = radius + max(1, min(h, w) // 40)
    x, y = (int(rng.choice([margin, n - 1 - margin])) for n in (w, h))
    mark = pixels.copy()
    cv2.circle(mark, (x, y), radius, ACCENT, -1, cv2.LINE_AA)
    cv2.circle(mark, (x, y), max(1, radius // 2), PAPER, max(1, radius // 5), cv2.LINE_AA)
    return Copied(cv2.addWeighted(mark, 0.75, pixels, 0.25, 0), np.eye(3))


def filter_photo(pixels: np.ndarray, strength: float, other: np.ndarray, rng: Rng) -> Copied:
    """Blur, raise the contrast and take the colour away, as filters of photo programs do together."""
    soft = cv2.GaussianBlur(pixels, (0, 0), max(0.3, strength * max(pixels.shape[:2]) / 400))
    grey = np.repeat((soft @ GREY)[:, :, None], 3, axis=2)
    mixed = soft + min(1.0, strength) * (grey - soft)
    raised = (mixed - mixed.mean()) * (1 + 0.4 * strength) + mixed.mean()
    return Copied(np.clip(np.round(raised), 0, 255).astype(np.uint8), np.eye(3))


def show_on_page(pixels: np.ndarray, share: float, other: np.ndarray, rng: Rng) -> Copied:
    """Show as a picture of ``share`` of the width on a page of text with the bar of a browser."""
    h, w = pixels.shape[:2]
    side = max(h, w)
    page = np.full((side, side, 3), PAPER, np.uint8)
    bar = max(2, side // 14)
    page[:bar] = (222, 224, 230)
    cv2.rectangle(page, (bar, bar // 4), (side - bar, bar - bar // 4), PAPER, -1)
    step = max(3, side // 40)
    for y in range(bar + step, side - step, step):
        length = int(side * rng.uniform(0.55, 0.95))
        page[y : y + max(1, step // 3), side // 20 : length] = INK
    small = scale_to(pixels, share * side * w / side, share * side * h / side)
    height, width = small.shape[:2]
    x, y = int(rng.integers(side - width + 1)), bar + int(rng.integers(max(1, side - bar - height)))
    y = min(y, side - height)
    page[y : y + height, x : x + width] = small
    return Copied(page, place(x, y, width / w, height / h))


def blend(pixels: np.ndarray, weight: float, other: np.ndarray, rng: Rng) -> Copied:
    """Mix with another photo; ``weight`` is that of this one."""
    h, w = pixels.shape[:2]
    return Copied(cv2.addWeighted(pixels, weight, scale_to(other, w, h), 1 - weight, 0), np.eye(3))


def paste(pixels: np.ndarray, share: float, other: np.ndarray, rng: Rng) -> Copied:
    """Paste onto another photo, ``share`` of its sides at most."""
    h, w = pixels.shape[:2]
    ground = scale_to(other, *(other.shape[i] * max(h, w) / max(other.shape[:2]) for i in (1, 0)))
    gh, gw = ground.shape[:2]
    scale = share * min(gw / w, gh / h)
    small = scale_to(pixels, scale * w, scale * h)[:gh, :gw]
    height, width = small.shape[:2]
    x, y = int(rng.integers(gw - width + 1)), int(rng.integers(gh - height + 1))
    ground[y : y + height, x : x + width] = small
    return Copied(ground, place(x, y, width / w, height / h))


EDITS: dict[str, Edit] = {
    edit.name: edit
    for edit in (
        Edit("recompressed", (75, 40, 15), recompress),
        Edit("resized", (0.7, 0.5, 0.3), resize),
        Edit("squared", (1.0, 0.6), square),
        Edit("cropped", (0.9, 0.7, 0.5, 0.3), crop),
        Edit("turned", (90, 180, 270), turn),
        Edit("mirrored", (0, 1), mirror),
        Edit("rotated", (3, 10, 25), rotate),
        Edit("bannered", (0.1, 0.2, 0.3), cover_with_banner),
        Edit("stamped", (0.15, 0.3), stamp),
        Edit("filtered", (0.5, 1.0, 1.5), filter_photo),
        Edit("screenshot", (0.8, 0.6, 0.4), show_on_page),
        Edit("blended", (0.7, 0.6, 0.5), blend, mixes=True),
        Edit("pasted", (0.6, 0.45, 0.3), paste, mixes=True),
    )
}
