"""Which keypoints of two photos correspond: mutual nearest neighbours that pass Lowe's ratio test.

Vectors are scaled to unit length and rounded to integers of at most `LEVELS`. Dot products of such integers
stay below 2^24, where float32 is exact: no library, number of threads or order of summation changes a match.

Sources: Lowe, IJCV 2004, section 7.1 (ratio of the two smallest distances); mutual neighbours and the test by
visual words are common practice (Philbin et al., CVPR 2007).
"""

from typing import NamedTuple

import numba
import numpy as np

from resight.features.local.points import LocalFeatures
from resight.knn.matrix import normalize_rows

LEVELS = 2047
FAR = np.float32(np.inf)


class Prepared(NamedTuple):
    """Keypoints of a photo, ready to be matched with those of many others.

    ``points`` (n, 5) float64: x y scale angle strength; ``vectors`` (n, d) float32 that hold integers;
    ``squares`` (n,) float32: their squared norms; ``words`` (n,) int32: visual words, or empty.
    """

    points: np.ndarray
    vectors: np.ndarray
    squares: np.ndarray
    words: np.ndarray


def prepare_features(
    features: LocalFeatures, *, max_keypoints: int = 1000, words: np.ndarray | None = None
) -> Prepared:
    """Round the vectors of the ``max_keypoints`` strongest keypoints; those without direction are left out.

    Parameters
    ----------
    features : LocalFeatures
        Points (n, 5), strongest first, and vectors (n, d).
    words : ndarray, (n,) int, optional
        Visual word of each keypoint; only keypoints of the same word are then matched.
    """
    unit, status = normalize_rows(features.vectors[:max_keypoints])
    ok = status == "ok"
    vectors = np.rint(unit[ok] * LEVELS)
    squares = np.einsum("nd,nd->n", vectors, vectors)
    named = np.zeros(0, np.int32) if words is None else words[:max_keypoints][ok].astype(np.int32)
    return Prepared(features.points[:max_keypoints][ok].astype(np.float64), vectors, squares, named)


def match_features(a: Prepared, b: Prepared, *, ratio: float = 0.85) -> np.ndarray:
    """Match keypoints that are each other's nearest, and nearer than ``ratio`` times the second nearest.

    Distances tie by the order of the keypoints. With words, both neighbours are sought among the keypoints of
    the same word, and a keypoint that is alone in its word passes the ratio test.

    Returns
    -------
    ndarray, (m, 2) int64
        Places in ``a`` (ascending) and ``b``.

    Raises
    ------
    ValueError
        The vectors differ in length, or only one side has words.
    """
    if not len(a.vectors) or not len(b.vectors):
        return np.zeros((0, 2), np.int64)
    if a.vectors.shape[1] != b.vectors.shape[1] or bool(len(a.words)) != bool(len(b.words)):
        raise ValueError(
            f"cannot match vectors {a.vectors.shape} with {b.vectors.shape}, "
            f"{len(a.words)} with {len(b.words)} words"
        )
    dots = a.vectors @ b.vectors.T  # (n_a, n_b), exact
    nearest = np.full(len(a.vectors), -1, np.int64)
    back = np.full(len(b.vectors), -1, np.int64)
    find_nearest(dots, (a.squares, b.squares), (a.words, b.words), np.float64(ratio) ** 2, (nearest, back))
    there = np.flatnonzero(nearest >= 0)
    mutual = there[back[nearest[there]] == there]
    return np.stack([mutual, nearest[mutual]], axis=1)


# ruff: noqa: ANN001, ANN201
def find_nearest_loop(dots, squares, words, ratio2, out):  # type: ignore[no-untyped-def]
    """Write the nearest b of each a that passes the ratio test, and the nearest a of each b; else -1."""
    nearest, back = out
    least = np.full(back.size, FAR)
    for i in range(nearest.size):
        first, second, place = FAR, FAR, -1
        for j in range(back.size):
            if words[0].size > 0 and words[0][i] != words[1][j]:
                continue
            d = squares[0][i] + squares[1][j] - np.float32(2.0) * dots[i, j]
            if d < second:
                if d < first:
                    first, second, place = d, first, j
                else:
                    second = d
            if d < least[j]:
                least[j], back[j] = d, i
        if place >= 0 and (np.float64(first) < ratio2 * np.float64(second) or ratio2 == 1.0):
            nearest[i] = place


find_nearest = numba.njit(cache=True, nogil=True)(find_nearest_loop)
