"""Whether two photos are one but for a rectangle that was drawn over one of them: a banner, a bar, a box.

What lies in front of one ground in two photos differs too, but not within straight lines along the frame; two
pictures on one page do, but neither is plain. What is around a drawn rectangle agrees as only copies do.
"""

import cv2
import numpy as np

from resight.dedup.relating.compare import PATTERN, SIDE, SMOOTH, Rows, compare_rows, cut_blocks
from resight.dedup.relating.views import View
from resight.verification.agreement import Aligned, align_pixels
from resight.verification.overlap import FROM_CENTRE, TO_CENTRE

__all__ = ["find_cover"]

SAME = 0.9  # correlation of a block that shows the same
LEAST_BLOCKS = 8  # of these
WEAK = 1.5  # standard deviation in levels of grey of a block that shows the same: noise would not agree
LEVELS = 4.0  # that a pixel differs at least
NOISES = 6.0  # and times the noise where the photos show the same
FILL, SPECK = 7, 9  # pixels of the canvas: gaps that are filled, specks and lines that are dropped
LARGEST = 0.6  # share of the overlap that may be covered
PLAIN, TONES = 0.6, 12.0  # share of a rectangle that is of one brightness where it was drawn, in levels
STRAIGHT = 0.6  # of a side that differs on one side of a line and not on the other
BORDER = 4  # pixels of the canvas within which a side is that of the frame
AROUND = 0.95  # correlation around the rectangle, and share of the blocks that show the same


def find_cover(a: View, b: View, H: np.ndarray) -> str | None:
    """Say what differs under ``H`` (3, 3) within a rectangle along the frame of either photo.

    It was ``drawn`` over a photo whose rest agrees, or the photos are one page with two ``pictures``; None
    where what differs is no rectangle.
    """
    forth = FROM_CENTRE @ H @ TO_CENTRE
    for one, other, matrix in ((a, b, forth), (b, a, np.linalg.inv(forth))):
        aligned = align_pixels(one.luma, other.luma, matrix, side=SIDE)
        if aligned is not None and min(aligned.inside.shape) > 4 * FILL:
            found = judge_box(aligned)
            if found is not None:
                return found
    return None


def judge_box(aligned: Aligned) -> str | None:
    """Say what differs on a canvas, see `find_cover`."""
    x, y = (cv2.GaussianBlur(pixels, (0, 0), SMOOTH) for pixels in (aligned.a, aligned.b))
    box = find_box(mark_different(x, y, aligned.inside))
    if box is None:
        return None
    left, top, right, bottom = box
    if (right - left) * (bottom - top) > LARGEST * aligned.inside.sum():
        return None
    if not any(is_plain(p[top:bottom, left:right]) for p in (x, y)):
        return "pictures"
    around = aligned.inside.copy()
    around[max(0, top - BORDER) : bottom + BORDER, max(0, left - BORDER) : right + BORDER] = False
    return "drawn" if agrees_around(x, y, around) else None


def mark_different(x: np.ndarray, y: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Mark (h, w) uint8 where two photos differ, their brightness matched where they show the same."""
    rows_x, rows_y = cut_blocks(x), cut_blocks(y)
    same = shows_same(compare_rows(rows_x, rows_y)) & cut_blocks(inside).all(axis=1)
    if same.sum() < LEAST_BLOCKS:
        return np.zeros(x.shape, np.uint8)
    p, q = rows_x[same].astype(np.float64), rows_y[same].astype(np.float64)
    gain = float(((p - p.mean()) * (q - q.mean())).mean() / p.var())
    off = np.abs((x - p.mean()) * gain + q.mean() - y)
    noise = float(np.median(np.abs((p - p.mean()) * gain + q.mean() - q)))
    return ((off > max(LEVELS, NOISES * noise)) & inside).astype(np.uint8)


def is_plain(pixels: np.ndarray) -> bool:
    """Whether most of a place is of one brightness."""
    return bool((np.abs(pixels - np.median(pixels)) <= TONES).mean() >= PLAIN)


def shows_same(rows: Rows) -> np.ndarray:
    """Mark blocks that agree surely."""
    return (rows.correlation >= SAME) & (np.minimum(rows.spread_a, rows.spread_b) >= WEAK)


def find_box(differs: np.ndarray) -> tuple[int, int, int, int] | None:
    """Give the rectangle (left, top, right, bottom) around the largest place that differs (h, w).

    None where a side of it that is not the frame's is no straight line.
    """
    filled = cv2.morphologyEx(differs, cv2.MORPH_CLOSE, np.ones((FILL, FILL), np.uint8))
    filled = cv2.morphologyEx(filled, cv2.MORPH_OPEN, np.ones((SPECK, SPECK), np.uint8))
    n, _, stats, _ = cv2.connectedComponentsWithStats(filled)
    if n < 2:
        return None
    left, top, width, height, _ = stats[1:][stats[1:, cv2.CC_STAT_AREA].argmax()].tolist()
    down = find_sides(differs[:, left : left + width].mean(axis=1), top, top + height)
    across = find_sides(differs[top : top + height].mean(axis=0), left, left + width)
    return None if down is None or across is None else (across[0], down[0], across[1], down[1])


def find_sides(profile: np.ndarray, start: int, end: int) -> tuple[int, int] | None:
    """Find the lines between which a profile (n,) is high, near ``start`` and ``end``; None if unclear."""
    steps = profile_steps(profile)
    third = max(2, (end - start) // 3)
    low = slice(max(0, start - BORDER), start + third)
    high = slice(max(0, end - third), end + BORDER)
    first = 0 if start <= BORDER else low.start + int(steps[low].argmax())
    last = len(profile) if end >= len(profile) - BORDER else high.start + int(steps[high].argmin())
    clear = (start <= BORDER or steps[first] >= STRAIGHT) and (
        last == len(profile) or -steps[last] >= STRAIGHT
    )
    return (first, last) if clear else None


def profile_steps(profile: np.ndarray) -> np.ndarray:
    """Mean of the three values from a place on, one left out, less that of the three before it: (n,)."""
    n = len(profile)
    padded = np.pad(profile, 4, mode="edge")
    after = np.stack([padded[4 + k : 4 + k + n] for k in (1, 2, 3)])
    before = np.stack([padded[4 - k : 4 - k + n] for k in (2, 3, 4)])
    steps: np.ndarray = after.mean(axis=0) - before.mean(axis=0)
    return steps


def agrees_around(x: np.ndarray, y: np.ndarray, around: np.ndarray) -> bool:
    """Whether the photos agree, as only copies do, where nothing was drawn."""
    blocks, full = compare_rows(cut_blocks(x), cut_blocks(y)), cut_blocks(around).all(axis=1)
    strength = np.maximum(blocks.spread_a, blocks.spread_b)
    weak = full & (strength >= WEAK)
    if weak.sum() < LEAST_BLOCKS:
        return False
    told = weak & (strength >= PATTERN) if (weak & (strength >= PATTERN)).any() else weak
    whole = compare_rows(x[around][None], y[around][None]).correlation[0]
    agrees = np.nan_to_num(blocks.correlation, nan=0.0) >= SAME
    return bool(whole >= AROUND and agrees[told].mean() >= AROUND and agrees[weak].mean() >= AROUND)
