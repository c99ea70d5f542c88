"""The affine map that explains most matches of two photos.

Every match of keypoints with scale and angle gives a similarity (Philbin et al., CVPR 2007, section 4.1);
matches of keypoints without angles give one per pair of matches. The best are refined to affine maps by least
squares over their inliers, with a shrinking tolerance (locally optimised RANSAC: Chum et al., DAGM 2003).
Nothing is drawn at random; sums are taken in the order of the matches, in float64.

Coordinates are pixels of photos scaled to a longer side of `REFERENCE`, so that tolerances mean the same for
small and large ones. An inlier is within the tolerance in both photos: no map wins by shrinking. A map is a
vector (6,): x' = m0 x + m1 y + m4, y' = m2 x + m3 y + m5.
"""

from typing import NamedTuple

import numba
import numpy as np

REFERENCE = 512.0
CELL = 2.0  # pixels of the grid on which inliers count once
START = 2.0  # times the tolerance: what a similarity from one match may be off
STEPS = 6  # of refinement; the tolerance shrinks over the first half
REFINED = 4  # hypotheses that are refined
MAX_MATCHES = 2000  # that enter, those of the strongest keypoints
LAGS = (1, 2, 3, 5, 8, 13, 21, 34)  # between the two matches of a pair
MAX_ZOOM, MAX_STRETCH = 16.0, 6.0  # of a map; others show no view of the same thing


class Estimate(NamedTuple):
    """A map (3, 3) float64 from a to b, which matches (m,) bool it explains, and how many distinct ones."""

    transform: np.ndarray
    inliers: np.ndarray
    n_distinct: int


def estimate_affine(points_a: np.ndarray, points_b: np.ndarray, *, tolerance: float) -> Estimate | None:
    """Find the affine map with the most distinct inliers.

    Parameters
    ----------
    points_a, points_b : ndarray, (m, 4) float64
        Matched keypoints: x y scale angle (degrees, from the x axis to the y axis).
    tolerance : float
        Pixels that an inlier may be off, in either photo.

    Returns
    -------
    Estimate or None
        None where no map explains three distinct matches.
    """
    a, b = points_a[:MAX_MATCHES], points_b[:MAX_MATCHES]
    xy = np.concatenate([a[:, :2], b[:, :2]], axis=1)  # (m, 4)
    models, origins = propose_similarities(a, b)
    counts = np.zeros(len(models), np.int64)
    count_inliers(models, xy, (START * tolerance) ** 2, counts)
    best: tuple[int, np.ndarray, np.ndarray] | None = None
    for _ in range(REFINED if len(models) else 0):
        i = int(np.argmax(counts))
        if counts[i] < 3:
            break
        model, inliers = models[i].copy(), np.zeros(len(xy), np.bool_)
        refine_map(xy, tolerance, model, inliers)
        n = count_distinct(xy, inliers)
        if n >= 3 and (best is None or n > best[0]):
            best = n, model, inliers
        counts[inliers[origins]] = 0  # would lead to the same map
        counts[i] = 0
    if best is None:
        return None
    inliers = np.zeros(len(points_a), np.bool_)
    inliers[: len(a)] = best[2]
    (m0, m1, m2, m3, tx, ty) = best[1]
    return Estimate(np.array([[m0, m1, tx], [m2, m3, ty], [0.0, 0.0, 1.0]]), inliers, best[0])


def propose_similarities(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give similarities (h, 6) by single matches, or by pairs of matches, and a match (h,) of each."""
    m = len(a)
    if np.any(a[:, 3] != 0) or np.any(b[:, 3] != 0):
        angle, zoom = np.deg2rad(b[:, 3] - a[:, 3]), b[:, 2] / a[:, 2]
        linear, origins = zoom * np.exp(1j * angle), np.arange(m)
    else:
        z, w = (p[:, 0] + 1j * p[:, 1] for p in (a, b))
        first = np.concatenate([np.zeros(0, np.int64), *(np.arange(m - lag) for lag in LAGS if lag < m)])
        second = np.concatenate([first[:0], *(np.arange(lag, m) for lag in LAGS if lag < m)])
        apart = np.minimum(abs(z[second] - z[first]), abs(w[second] - w[first])) > 4 * CELL
        origins, second = first[apart], second[apart]
        linear = (w[second] - w[origins]) / (z[second] - z[origins])
    zoom = abs(linear)
    usable = np.isfinite(zoom) & (zoom < MAX_ZOOM) & (zoom > 1 / MAX_ZOOM)
    linear, origins = linear[usable], origins[usable]
    c, s = linear.real, linear.imag
    (x, y), (u, v) = a[origins, :2].T, b[origins, :2].T
    return np.stack([c, -s, s, c, u - c * x + s * y, v - s * x - c * y], axis=1), origins


def count_distinct(xy: np.ndarray, inliers: np.ndarray) -> int:
    """Count inliers that lie in cells of their own in both photos; ``xy`` (m, 4)."""
    cells = np.floor(xy[inliers] / CELL).astype(np.int64)
    keys = cells[:, ::2] * (1 << 32) + cells[:, 1::2]  # (k, 2): of a and of b
    return min((len(np.unique(column)) for column in keys.T), default=0)


# ruff: noqa: ANN001, ANN201
def count_loop(models, xy, tolerance2, counts):  # type: ignore[no-untyped-def]
    """Count the matches that each similarity explains in both photos."""
    for h in range(models.shape[0]):
        m0, m1, m2, m3, tx, ty = models[h]
        limit = tolerance2 * min(1.0, m0 * m3 - m1 * m2)  # what is off by r in b is off by r / zoom in a
        n = 0
        for j in range(xy.shape[0]):
            dx = m0 * xy[j, 0] + m1 * xy[j, 1] + tx - xy[j, 2]
            dy = m2 * xy[j, 0] + m3 * xy[j, 1] + ty - xy[j, 3]
            n += dx * dx + dy * dy < limit
        counts[h] = n


count_inliers = numba.njit(cache=True, nogil=True)(count_loop)


def mark_loop(model, xy, tolerance2, inliers):  # type: ignore[no-untyped-def]
    """Mark the matches that an affine map explains in both photos; gives their number."""
    m0, m1, m2, m3, tx, ty = model
    det = m0 * m3 - m1 * m2
    n = 0
    for j in range(xy.shape[0]):
        dx = m0 * xy[j, 0] + m1 * xy[j, 1] + tx - xy[j, 2]
        dy = m2 * xy[j, 0] + m3 * xy[j, 1] + ty - xy[j, 3]
        back_x, back_y = (m3 * dx - m1 * dy) / det, (m0 * dy - m2 * dx) / det
        off = max(dx * dx + dy * dy, back_x * back_x + back_y * back_y)
        inliers[j] = off < tolerance2
        n += inliers[j]
    return n


mark_inliers = numba.njit(cache=True, nogil=True)(mark_loop)


def fit_loop(xy, inliers, model):  # type: ignore[no-untyped-def]
    """Fit an affine map to the inliers by least squares; False, and no change, where it is no sound view."""
    n, mean = 0, np.zeros(4)
    for j in range(xy.shape[0]):
        if inliers[j]:
            mean += xy[j]
            n += 1
    if n < 3:
        return False
    mean /= n
    pxx, pxy, pyy = 0.0, 0.0, 0.0
    q = np.zeros(4)  # sums of x u, y u, x v, y v
    for j in range(xy.shape[0]):
        if inliers[j]:
            x, y, u, v = xy[j] - mean
            pxx, pxy, pyy = pxx + x * x, pxy + x * y, pyy + y * y
            q += np.array([x * u, y * u, x * v, y * v])
    area = pxx * pyy - pxy * pxy
    if area <= 1e-4 * (pxx + pyy) ** 2:  # all on a line
        return False
    m0, m1 = (q[0] * pyy - q[1] * pxy) / area, (q[1] * pxx - q[0] * pxy) / area
    m2, m3 = (q[2] * pyy - q[3] * pxy) / area, (q[3] * pxx - q[2] * pxy) / area
    det, energy = m0 * m3 - m1 * m2, m0 * m0 + m1 * m1 + m2 * m2 + m3 * m3
    if not MAX_ZOOM**-2 < det < MAX_ZOOM**2 or energy > det * (MAX_STRETCH + 1 / MAX_STRETCH):
        return False
    tx, ty = mean[2] - m0 * mean[0] - m1 * mean[1], mean[3] - m2 * mean[0] - m3 * mean[1]
    model[:] = np.array([m0, m1, m2, m3, tx, ty])
    return True


fit_affine = numba.njit(cache=True, nogil=True)(fit_loop)


def refine_loop(xy, tolerance, model, inliers):  # type: ignore[no-untyped-def]
    """Fit ``model`` to its inliers again and again, the tolerance shrinking; ends with those of the last."""
    for step in range(STEPS):
        shrink = START - (START - 1.0) * min(2.0 * step / STEPS, 1.0)
        mark_inliers(model, xy, (shrink * tolerance) ** 2, inliers)
        if not fit_affine(xy, inliers, model):
            break
    mark_inliers(model, xy, tolerance**2, inliers)


refine_map = numba.njit(cache=True, nogil=True)(refine_loop)
