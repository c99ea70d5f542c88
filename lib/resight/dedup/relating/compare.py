"""The aligned pixels of two photos, compared block by block over their overlap.

Brightness and contrast are taken off in every block, so that a filter changes little. Of a copy nearly every
block with a pattern agrees; where something was drawn over it a few do not; of a view from elsewhere some
agree and some do not. Blocks count by their contrast: in a nearly flat one recompression speaks.
"""

from typing import NamedTuple

import cv2
import numpy as np

from resight.dedup.relating.views import View
from resight.verification.agreement import Aligned, align_pixels
from resight.verification.overlap import (
    FROM_CENTRE,
    TO_CENTRE,
    Size,
    area_of,
    clip_polygon,
    corners_of,
    map_points,
)

__all__ = ["Compared", "compare_views", "measure_overlaps"]

SIDE = 192  # longer side of the canvas
BLOCK = 12  # side of a block
SMOOTH = 0.8  # sigma in pixels of the canvas: below, resampling and recompression speak
PATTERN = 4.0  # standard deviation in levels of grey from which a block has a pattern
AGREES = 0.75  # correlation of a block that agrees
STRONG = 24.0  # and from which its weight grows no more
NAN = float("nan")


class Compared(NamedTuple):
    """What the aligned pixels say.

    Attributes
    ----------
    overlap_a, overlap_b : float
        Share of each photo that the other shows.
    agreement : float
        Correlation over the overlap; NaN where there is no pattern.
    share : float
        Share of the blocks with a pattern that agree, weighted by contrast.
    median : float
        Correlation of the middle block.
    gain : float
        Contrast of b over that of a in the middle one of the blocks that agree; NaN without any.
    n_blocks : int
        With a pattern.
    """

    overlap_a: float = 0.0
    overlap_b: float = 0.0
    agreement: float = NAN
    share: float = NAN
    median: float = NAN
    gain: float = NAN
    n_blocks: int = 0


def compare_views(a: View, b: View, H: np.ndarray) -> Compared:
    """Compare two photos under ``H`` (3, 3), pixels of a -> pixels of b of the views."""
    shares = measure_overlaps(H, a.frame, b.frame)
    if min(shares) <= 0:  # also where the map has no inverse
        return Compared(*shares)
    aligned = align_pixels(a.luma, b.luma, FROM_CENTRE @ H @ TO_CENTRE, side=SIDE)
    if aligned is None:
        return Compared(*shares)
    return compare_aligned(aligned)._replace(overlap_a=shares[0], overlap_b=shares[1])


def measure_overlaps(H: np.ndarray, size_a: Size, size_b: Size) -> tuple[float, float]:
    """Share of a that lies inside b, and of b that lies inside a; zeros where ``H`` is no view."""
    forth = FROM_CENTRE @ H @ TO_CENTRE
    if abs(np.linalg.det(forth)) < 1e-12:
        return 0.0, 0.0
    shares = []
    for own, other, to_own in ((size_a, size_b, np.linalg.inv(forth)), (size_b, size_a, forth)):
        outline = map_points(to_own / to_own[2, 2], corners_of(other)) if to_own[2, 2] else None
        inside = np.zeros((0, 2)) if outline is None else clip_polygon(outline, own)
        shares.append(min(1.0, area_of(inside) / (own[0] * own[1])) if len(inside) > 2 else 0.0)
    return shares[0], shares[1]


def compare_aligned(aligned: Aligned) -> Compared:
    """Compare the blocks of a canvas."""
    a, b = (cv2.GaussianBlur(pixels, (0, 0), SMOOTH) for pixels in (aligned.a, aligned.b))
    inside = aligned.inside
    everything = slice(None) if inside.all() else inside.ravel()
    whole = compare_rows(*(p.reshape(1, -1)[:, everything] for p in (a, b)))
    blocks = compare_rows(cut_blocks(a), cut_blocks(b))
    full = cut_blocks(inside).all(axis=1)
    spread_a, spread_b = blocks.spread_a, blocks.spread_b
    contrast = spread_b[full].mean() / max(spread_a[full].mean(), 1e-6) if full.any() else 1.0
    strength = np.maximum(spread_a, spread_b / max(contrast, 1e-6))
    pattern = full & (strength >= PATTERN)
    if not pattern.any():
        return Compared(agreement=float(whole.correlation[0]))
    weight = np.minimum(strength[pattern], STRONG)
    found = np.nan_to_num(blocks.correlation[pattern], nan=0.0)
    agrees = found >= AGREES
    ratio = spread_b[pattern][agrees] / np.maximum(spread_a[pattern][agrees], 1e-6)
    return Compared(
        agreement=float(whole.correlation[0]),
        share=float((weight * agrees).sum() / weight.sum()),
        median=float(np.median(found)),
        gain=float(np.median(ratio)) if len(ratio) else NAN,
        n_blocks=int(pattern.sum()),
    )


def cut_blocks(canvas: np.ndarray) -> np.ndarray:
    """Cut a canvas (h, w) into blocks (m, BLOCK * BLOCK), what is left at the right and below left out."""
    side = min(BLOCK, *canvas.shape)
    rows, columns = canvas.shape[0] // side, canvas.shape[1] // side
    grid = canvas[: rows * side, : columns * side].reshape(rows, side, columns, side)
    return grid.transpose(0, 2, 1, 3).reshape(rows * columns, side * side)


class Rows(NamedTuple):
    """Standard deviations and correlation (m,) float64 of rows; NaN where one of two is flat."""

    spread_a: np.ndarray
    spread_b: np.ndarray
    correlation: np.ndarray


def compare_rows(a: np.ndarray, b: np.ndarray) -> Rows:
    """Correlate the rows of two arrays (m, p)."""
    x, y = (p.astype(np.float64) for p in (a, b))
    for rows in (x, y):
        rows -= rows.mean(axis=1, keepdims=True)
    xx, yy, xy = (np.einsum("mp,mp->m", *two) for two in ((x, x), (y, y), (x, y)))
    norms = np.sqrt(xx * yy)
    flat = norms < 0.25 * a.shape[1]  # deviations below half a level of grey
    found = np.where(flat, np.nan, xy / np.where(flat, 1, norms))
    return Rows(np.sqrt(xx / a.shape[1]), np.sqrt(yy / a.shape[1]), found)
