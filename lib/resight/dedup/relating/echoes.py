"""Whether one photo shows through all of another, as in a blend of two.

Fine structure of the one is then found in the other in every part of the frame at exactly its place, and not
a few pixels beside it. Photos of one thing from elsewhere are nowhere aligned that well all over.
"""

import cv2
import numpy as np

from resight.dedup.relating.views import View
from resight.verification.agreement import align_pixels
from resight.verification.overlap import FROM_CENTRE, TO_CENTRE

__all__ = ["measure_echo"]

SIDE = 192  # longer side of the canvas
PART = 32  # side of a part
FINE = 3.0  # sigma in pixels of what is taken off: coarser structure is alike by chance
LEAST = 0.2  # correlation of the fine structure of a part that echoes
PATTERN = 2.0  # standard deviation of fine structure, in levels of grey, that a part must have
SHIFTS = tuple((3 * x, 3 * y) for x in (-2, -1, 0, 1, 2) for y in (-2, -1, 0, 1, 2))
LEAST_PARTS = 6


def measure_echo(a: View, b: View, H: np.ndarray) -> float:
    """Share of the parts in which a is found in b at its place, under ``H`` (3, 3); NaN where few tell."""
    aligned = align_pixels(a.luma, b.luma, FROM_CENTRE @ H @ TO_CENTRE, side=SIDE)
    if aligned is None or min(aligned.a.shape) < 2 * PART:
        return float("nan")
    x, y = (keep_fine(pixels, aligned.inside) for pixels in (aligned.a, aligned.b))
    energy = [sum_parts(p * p) for p in (x, y)]
    tells = np.minimum(*energy) >= (PATTERN * PART) ** 2
    if tells.sum() < LEAST_PARTS:
        return float("nan")
    norms = np.sqrt(energy[0] * energy[1])[tells]
    found = {s: sum_parts(np.roll(x, s, axis=(0, 1)) * y)[tells] / norms for s in SHIFTS}
    beside = np.max([found[s] for s in SHIFTS if s != (0, 0)], axis=0)
    return float(((found[0, 0] >= LEAST) & (found[0, 0] > beside)).mean())


def keep_fine(pixels: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Take coarse structure off; zero outside of the overlap."""
    smooth = cv2.GaussianBlur(pixels, (0, 0), 0.8)
    fine: np.ndarray = (smooth - cv2.GaussianBlur(pixels, (0, 0), FINE)) * inside
    return np.clip(fine, -20, 20)  # a few strong edges must not speak for a whole part


def sum_parts(values: np.ndarray) -> np.ndarray:
    """Sum over the parts of a canvas (h, w): (m,) float64."""
    rows, columns = (n // PART for n in values.shape)
    grid = values[: rows * PART, : columns * PART].reshape(rows, PART, columns, PART)
    summed: np.ndarray = grid.sum(axis=(1, 3), dtype=np.float64)
    return summed.ravel()
