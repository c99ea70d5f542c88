"""Which keypoints of two photos correspond: mutual nearest neighbours that pass Lowe's ratio test both ways.

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
    """Match keypoints that are each other's nearest, and nearer than ``ratio`` times the second of either.

    So the matches of b with a are those of a with b, the other way round. Distances tie by the order of the
    keypoints. With words, both neighbours are sought among the keypoints of the same word, and a keypoint
    that is alone in its word passes the ratio test.

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
    sides = new_side(len(a.vectors)), new_side(len(b.vectors))
    find_nearest(dots, (a.squares, b.squares), (a.words, b.words), sides)
    nearest, back = (keep_distinct(side, ratio) for side in sides)
    there = np.flatnonzero(nearest >= 0)
    mutual = there[back[nearest[there]] == there]
    return np.stack([mutual, nearest[mutual]], axis=1)


class Side(NamedTuple):
    """Of the keypoints (n,) of a photo: the nearest of the other photo, or -1, and two squared distances."""

    nearest: np.ndarray
    first: np.ndarray
    second: np.ndarray


def new_side(n: int) -> Side:
    """Begin with nothing near."""
    return Side(np.full(n, -1, np.int64), np.full(n, FAR), np.full(n, FAR))


def keep_distinct(side: Side, ratio: float) -> np.ndarray:
    """Give the nearest keypoints (n,) that pass the ratio test, else -1; a ratio of 1 passes all."""
    first, second = side.first.astype(np.float64), side.second.astype(np.float64)
    passes = first < np.float64(ratio) ** 2 * second
    return side.nearest if ratio == 1 else np.where(passes, side.nearest, -1)


# ruff: noqa: ANN001, ANN201
@numba.njit(cache=True, nogil=True)
def find_nearest(dots, squares, words, sides):  # type: ignore[no-untyped-def]
    """Write the nearest keypoint of each on either side, and the distances to this one and the second."""
    nearest, nearer, near = sides[0]
    has_words = words[0].size > 0
    for i in range(nearest.size):
        first, second, place = FAR, FAR, -1
        for j in range(dots.shape[1]):
            if has_words and words[0][i] != words[1][j]:
                continue
            d = squares[0][i] + squares[1][j] - np.float32(2.0) * dots[i, j]
            if d < second:
                if d < first:
                    first, second, place = d, first, j
                else:
                    second = d
            if d < sides[1][2][j]:
                enter_distance(d, i, sides[1], j)
        nearest[i], nearer[i], near[i] = place, first, second


@numba.njit(cache=True, nogil=True)
def enter_distance(d, i, side, j):  # type: ignore[no-untyped-def]
    """Enter the distance to ``i``, below the second of keypoint ``j``."""
    nearest, first, second = side
    if d < first[j]:
        nearest[j], first[j], second[j] = i, d, first[j]
    else:
        second[j] = d
