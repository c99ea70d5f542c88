"""Measured recall of a graph: lists of sampled images against an exact search."""

from statistics import NormalDist

import numpy as np

TOLERANCE = 1e-6  # of similarity: neighbours that are this close may stand for one another


def recall_of_lists(
    offsets: np.ndarray, similarities: np.ndarray, exact_offsets: np.ndarray, exact: np.ndarray
) -> np.ndarray:
    """Recall (s,) float64 of s lists: the share of the exact list that was reached.

    An entry counts when its similarity reaches that of the last exact one, up to `TOLERANCE`, so an exchange
    of ties costs nothing. An empty exact list has recall 1.

    Parameters
    ----------
    offsets, exact_offsets : ndarray, (s + 1,) int64
    similarities, exact : ndarray, (m,) and (m',) float32
        In rank order within a list.
    """
    recall = np.ones(len(offsets) - 1)
    for i in range(len(recall)):
        best = exact[exact_offsets[i] : exact_offsets[i + 1]]
        if len(best):
            found = similarities[offsets[i] : offsets[i + 1]] >= best[-1] - TOLERANCE
            recall[i] = min(int(found.sum()), len(best)) / len(best)
    return recall


def wilson_interval(mean: float, n: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a mean of ``n`` values in [0, 1] (Wilson 1927).

    Exact shares vary at most as much as a coin of the same mean, so the interval is wide enough for them.
    """
    if n < 1:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))
