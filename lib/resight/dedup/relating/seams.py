"""Whether the outline of a part is an edge of the whole.

What was cut out of a photo goes on beyond its outline; what was pasted, or stands on a page, ends there. The
step across the outline is compared with the steps across lines beside it.
"""

import cv2
import numpy as np

from resight.dedup.relating.views import View
from resight.verification.overlap import FROM_CENTRE, TO_CENTRE, corners_of, map_points

__all__ = ["is_framed", "measure_seam"]

POINTS = 96  # on each side of the outline
TRIM = 0.06  # share of a side that is left out at both corners
MARGIN = 3.0  # pixels from the border of the whole, within which a side is not looked at
REACH = 8  # pixels to either side of the outline
CLOSE = (-1, 0, 1)  # where the outline may really lie
BESIDE = (-6, -5, -4, 4, 5, 6)
FLOOR = 2.0  # levels of grey that noise steps
PLAIN = 6.0  # standard deviation in levels of grey, below which what is around a part is a plain border


def measure_seam(part: View, whole: View, H: np.ndarray) -> float:
    """Divide the mean step across a side of ``part`` by that beside it: the middle one of the sides.

    ``H`` (3, 3) maps pixels of the part to pixels of the whole. NaN where no side lies inside the whole.
    """
    outline = outline_of(part, H)
    if outline is None:
        return float("nan")
    sides = [read_profiles(whole, outline[i], outline[(i + 1) % 4]) for i in range(4)]
    ratios = [compare_steps(side) for side in sides if len(side) >= POINTS // 4]
    return float(np.median(ratios)) if ratios else float("nan")


def compare_steps(profiles: np.ndarray) -> float:
    """Divide the step across a side by that beside it."""
    across = max(mean_step(profiles, k) for k in CLOSE)
    beside = np.mean([mean_step(profiles, k) for k in BESIDE])
    return float((across + FLOOR) / (beside + FLOOR))


def mean_step(profiles: np.ndarray, k: int) -> float:
    """Mean step of brightness over three pixels, ``k`` pixels from the outline."""
    return float(np.abs(profiles[:, REACH + k + 2] - profiles[:, REACH + k - 1]).mean())


def outline_of(part: View, H: np.ndarray) -> np.ndarray | None:
    """Give the corners (4, 2) of a part in pixels of the whole."""
    corners = map_points(FROM_CENTRE @ H @ TO_CENTRE, corners_of(part.frame))
    return None if corners is None else corners - 0.5


def read_profiles(whole: View, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Read the brightness (p, 2 REACH + 2) across a side, at half pixels from it, where all lies inside."""
    along = end - start
    length = float(np.hypot(*along))
    if length < 4 * REACH:
        return np.zeros((0, 2 * REACH + 2), np.float32)
    normal = np.array([along[1], -along[0]]) / length
    places = start + np.linspace(TRIM, 1 - TRIM, POINTS)[:, None] * along  # (p, 2)
    offsets = np.arange(-REACH, REACH + 2) - 0.5
    grid = places[:, None] + offsets[:, None] * normal  # (p, offsets, 2)
    w, h = whole.frame
    ends = grid[:, [0, -1]]
    inside = ((ends >= 0) & (ends <= np.array([w - 1, h - 1]))).all(axis=(1, 2))
    near = np.stack([places[:, 0], places[:, 1], w - 1 - places[:, 0], h - 1 - places[:, 1]]).min(axis=0)
    grid = grid[inside & (near >= MARGIN)].astype(np.float32)
    if not len(grid):
        return np.zeros((0, 2 * REACH + 2), np.float32)
    return cv2.remap(whole.luma, grid[..., 0].copy(), grid[..., 1].copy(), cv2.INTER_LINEAR)


def is_framed(part: View, whole: View, H: np.ndarray) -> bool:
    """Whether the whole is the part with a plain border around it: nothing else shows there."""
    outline = outline_of(part, H)
    if outline is None:
        return False
    centre = outline.mean(axis=0)
    grown = centre + (outline - centre) * 1.02
    around = np.ones(whole.luma.shape, np.uint8)
    cv2.fillConvexPoly(around, np.rint(grown).astype(np.int32), 0)
    pixels = whole.luma[around.astype(bool)]
    return len(pixels) > 0 and float(pixels.std()) < PLAIN
