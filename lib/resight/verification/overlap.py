"""What a transform says about two frames: how much of the smaller photo the other shows.

Transforms are between places in pixels, the centre of the first pixel at (0, 0); a photo reaches half a pixel
beyond the centres of its outer pixels.
"""

import cv2
import numpy as np

Size = tuple[int, int]  # width, height
FROM_CENTRE = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # to places with the photo's corner at (0, 0)
TO_CENTRE = np.linalg.inv(FROM_CENTRE)


def corners_of(size: Size) -> np.ndarray:
    """Corners (4, 2) float64 of a photo, from the origin along the x axis."""
    w, h = size
    return np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float64)


def map_points(H: np.ndarray, points: np.ndarray) -> np.ndarray | None:
    """Map points (m, 2) by ``H`` (3, 3); None where one of them lies at or behind the horizon."""
    mapped = points @ H[:, :2].T + H[:, 2]
    if mapped[:, 2].min(initial=np.inf) <= 1e-9:
        return None
    return mapped[:, :2] / mapped[:, 2:]


def measure_overlap(H: np.ndarray, size_a: Size, size_b: Size) -> float:
    """Share of the smaller photo that lies inside the other; NaN where the map sends a corner to infinity.

    Parameters
    ----------
    H : ndarray, (3, 3) float64
        Pixels of a -> pixels of b, invertible.
    size_a, size_b : tuple of int
        Width and height; a is the smaller one where both have as many pixels.
    """
    forth = FROM_CENTRE @ H @ TO_CENTRE
    own, other, to_own = size_a, size_b, np.linalg.inv(forth)
    if size_b[0] * size_b[1] < size_a[0] * size_a[1]:
        own, other, to_own = size_b, size_a, forth
    outline = map_points(to_own / to_own[2, 2], corners_of(other)) if to_own[2, 2] else None
    if outline is None:
        return float("nan")
    return min(1.0, area_of(clip_polygon(outline, own)) / (own[0] * own[1]))


def measure_spread(points_a: np.ndarray, points_b: np.ndarray, size_a: Size, size_b: Size) -> float:
    """Share of the smaller photo that the hull of the inliers (m, 2) covers there."""
    points, size = (points_a, size_a)
    if size_b[0] * size_b[1] < size_a[0] * size_a[1]:
        points, size = (points_b, size_b)
    if len(points) < 3:
        return 0.0
    hull = cv2.convexHull(points.astype(np.float32))[:, 0].astype(np.float64)
    return min(1.0, area_of(hull) / (size[0] * size[1]))


def clip_polygon(polygon: np.ndarray, size: Size) -> np.ndarray:
    """Cut a convex polygon (m, 2) to the frame of a photo (Sutherland and Hodgman, CACM 1974)."""
    for axis, sign, limit in ((0, 1, 0.0), (0, -1, -size[0]), (1, 1, 0.0), (1, -1, -size[1])):
        if not len(polygon):
            break
        depth = sign * polygon[:, axis] - limit  # (m,) from 0 on inside
        following, after = np.roll(polygon, -1, axis=0), np.roll(depth, -1)
        crosses = (depth < 0) != (after < 0)
        share = np.divide(depth, depth - after, out=np.zeros_like(depth), where=crosses)
        met = polygon + share[:, None] * (following - polygon)
        pieces = np.stack([polygon, met], axis=1)  # (m, 2, 2): the corner, then where its side crosses
        polygon = pieces[np.stack([depth >= 0, crosses], axis=1)]
    return polygon


def area_of(polygon: np.ndarray) -> float:
    """Area of a polygon (m, 2) without crossings."""
    x, y = polygon.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)
