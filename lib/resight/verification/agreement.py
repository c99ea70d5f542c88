"""Whether the pixels agree where a transform lays one photo over the other.

Photos of one object from nearby have many inliers, yet their aligned pixels differ; those of a copy, a crop
or an edited copy agree.
"""

from typing import NamedTuple

import cv2
import numpy as np

from resight.verification.overlap import (
    FROM_CENTRE,
    TO_CENTRE,
    Size,
    area_of,
    clip_polygon,
    corners_of,
    map_points,
)

SIDE = 128  # longer side, in pixels, of the canvas on which the overlap is compared
LEAST_PIXELS = 64


class Aligned(NamedTuple):
    """Two photos on one canvas, (h, w) or (h, w, c) float32, and where both are, (h, w) bool."""

    a: np.ndarray
    b: np.ndarray
    inside: np.ndarray


def measure_agreement(
    pixels_a: np.ndarray,
    pixels_b: np.ndarray,
    transform: np.ndarray,
    *,
    size_a: Size | None = None,
    size_b: Size | None = None,
    side: int = SIDE,
) -> float:
    """Correlate the aligned pixels over the overlap, the mean of each channel taken off.

    Parameters
    ----------
    pixels_a, pixels_b : ndarray, (h, w, 3) uint8
        The photos, or smaller copies of them.
    transform : ndarray, (3, 3) float64
        Pixels of a -> pixels of b, in photos of ``size_a`` and ``size_b`` (width, height); by default those
        of the given pixels.
    side : int
        Longer side of the overlap when it is compared; neither photo is enlarged.

    Returns
    -------
    float
        From -1 to 1; NaN where the overlap is too small, or one photo has a single colour there.
    """
    forth = FROM_CENTRE @ transform @ TO_CENTRE
    H = resize_matrix(pixels_b, size_b) @ forth @ np.linalg.inv(resize_matrix(pixels_a, size_a))
    aligned = align_pixels(pixels_a, pixels_b, H, side=side)
    if aligned is None:
        return float("nan")
    return correlate(aligned.a[aligned.inside], aligned.b[aligned.inside])


def align_pixels(pixels_a: np.ndarray, pixels_b: np.ndarray, H: np.ndarray, *, side: int) -> Aligned | None:
    """Draw the overlap of two photos on one canvas, whose longer side is at most ``side``.

    Parameters
    ----------
    pixels_a, pixels_b : ndarray, (h, w) or (h, w, c)
        Neither is enlarged.
    H : ndarray, (3, 3) float64
        Places in a -> places in b, the photo's corner at (0, 0).

    Returns
    -------
    Aligned or None
        None where the overlap is too small.
    """
    frame_a, frame_b = (pixels.shape[1::-1] for pixels in (pixels_a, pixels_b))
    outline = map_points(np.linalg.inv(H / H[2, 2]), corners_of(frame_b))
    overlap = np.zeros((0, 2)) if outline is None else clip_polygon(outline, frame_a)
    if len(overlap) < 3 or area_of(overlap) < LEAST_PIXELS:
        return None
    low, high = overlap.min(0), overlap.max(0)
    seen = map_points(H, overlap)
    zoom = np.sqrt(area_of(seen) / area_of(overlap)) if seen is not None else 1.0  # pixels of b per one of a
    shrink = min(1.0, zoom, side / (high - low).max())  # pixels of the canvas per one of a
    canvas = np.maximum(np.rint((high - low) * shrink), 1).astype(int)
    to_a = np.array([[1 / shrink, 0, low[0]], [0, 1 / shrink, low[1]], [0, 0, 1]])
    warped_a, inside_a = warp(pixels_a, to_a, shrink, canvas)
    warped_b, inside_b = warp(pixels_b, H @ to_a, shrink / zoom, canvas)
    return Aligned(warped_a, warped_b, inside_a & inside_b)


def resize_matrix(pixels: np.ndarray, size: Size | None) -> np.ndarray:
    """Matrix (3, 3) from the pixels of a photo of ``size`` to those given."""
    if size is None:
        return np.eye(3)
    return np.diag([pixels.shape[1] / size[0], pixels.shape[0] / size[1], 1.0])


def warp(
    pixels: np.ndarray, matrix: np.ndarray, shrink: float, canvas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a photo on a canvas (width, height): float32 (h, w, 3), and where it is inside, (h, w) bool.

    ``matrix`` maps the canvas to the photo, which is averaged down by ``shrink`` first.
    """
    h, w = pixels.shape[:2]
    if shrink < 0.8:
        smaller = max(1, round(w * shrink)), max(1, round(h * shrink))
        pixels = cv2.resize(pixels, smaller, interpolation=cv2.INTER_AREA)
        matrix = np.diag([smaller[0] / w, smaller[1] / h, 1.0]) @ matrix
    size = int(canvas[0]), int(canvas[1])
    draw = cv2.warpPerspective if matrix[2, :2].any() else cv2.warpAffine
    to_photo = TO_CENTRE @ matrix @ FROM_CENTRE
    drawn = draw(
        np.asarray(pixels, np.float32),
        to_photo if matrix[2, :2].any() else to_photo[:2] / to_photo[2, 2],
        size,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return drawn, mark_inside(matrix, size, (pixels.shape[1], pixels.shape[0]))


def mark_inside(matrix: np.ndarray, canvas: Size, size: Size) -> np.ndarray:
    """Mark (h, w) the pixels of a canvas (width, height) that ``matrix`` maps into a photo of ``size``."""
    x, y = np.arange(canvas[0]) + 0.5, np.arange(canvas[1])[:, None] + 0.5
    inside = np.ones((canvas[1], canvas[0]), bool)
    t = matrix[2, 2] + matrix[2, 0] * x + matrix[2, 1] * y if matrix[2, :2].any() else matrix[2, 2]
    inside &= t > 1e-9
    for row, side in zip(matrix[:2], size, strict=True):
        place = row[2] + sum(k * p for k, p in zip(row[:2], (x, y), strict=True) if k)
        inside &= (place >= 0) & (place <= side * t)
    return inside


def correlate(a: np.ndarray, b: np.ndarray) -> float:
    """Normalised correlation of the pixels (n, 3) of two photos; NaN where there are few or one is flat."""
    if len(a) < LEAST_PIXELS:
        return float("nan")
    a, b = (p.astype(np.float64) - p.mean(0, dtype=np.float64) for p in (a, b))
    norms = np.sqrt((a * a).sum() * (b * b).sum())
    if norms < 1.0 * len(a):  # deviations below a level of grey: no pattern
        return float("nan")
    return float(np.clip((a * b).sum() / norms, -1, 1))
