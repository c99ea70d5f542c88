"""The largest difference of a small place between two aligned photos: one word or number of a page.

Brightness and contrast are matched over the whole overlap. A place is a window of some pixels; a pixel of
misalignment is forgiven, as each window takes the best of nine shifts. What remains is divided by the noise
between these two photos, which recompression raises everywhere and another digit in one place only.
"""

import cv2
import numpy as np

from resight.dedup.relating.views import View
from resight.verification.agreement import align_pixels
from resight.verification.overlap import FROM_CENTRE, TO_CENTRE

__all__ = ["measure_difference"]

SIDE = 1024  # longer side of the canvas
WINDOW = 7  # side of a place in pixels
FLOOR = 2.0  # levels of grey: the noise of two photos without any
PATTERN = 8.0  # standard deviation in levels of grey from which a window has a pattern
NOISE = 0.9  # quantile of the places with a pattern that is taken for noise
EDGE = 4  # pixels of the border of the overlap that are not looked at


def measure_difference(a: View, b: View, H: np.ndarray) -> float:
    """Measure the largest difference under ``H`` (3, 3), in units of noise; NaN without an overlap."""
    aligned = align_pixels(a.luma, b.luma, FROM_CENTRE @ H @ TO_CENTRE, side=SIDE)
    if aligned is None:
        return float("nan")
    inside = cv2.erode(aligned.inside.astype(np.uint8), np.ones((2 * EDGE + 1, 2 * EDGE + 1)), borderValue=0)
    seen = inside.astype(bool)
    if not seen.any():
        return float("nan")
    x, y = match_brightness(aligned.a, aligned.b, seen)
    least = np.full(x.shape, np.inf, np.float32)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            moved = np.roll(x, (dy, dx), axis=(0, 1))
            least = np.minimum(least, cv2.blur((moved - y) ** 2, (WINDOW, WINDOW)))
    left = np.sqrt(least)
    mean, square = (cv2.blur(p, (WINDOW, WINDOW)) for p in (x, x * x))
    pattern = seen & (square - mean * mean > PATTERN**2)
    noise = float(np.quantile(left[pattern], NOISE)) if pattern.any() else 0.0
    return float(left[seen].max()) / (noise + FLOOR)


def match_brightness(a: np.ndarray, b: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give ``a`` the brightness and contrast that ``b`` has, by least squares over what is seen."""
    p, q = (pixels[seen].astype(np.float64) for pixels in (a, b))
    spread = p.var()
    gain = float(((p - p.mean()) * (q - q.mean())).mean() / spread) if spread > 1e-6 else 1.0
    return ((a - p.mean()) * gain + q.mean()).astype(np.float32), b.astype(np.float32)
