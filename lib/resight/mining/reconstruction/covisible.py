"""Queries and their positives in one 3D model: who sees the same points, from where.

Radenovic, Tolias, Chum, ECCV 2016 and TPAMI 2018. P(i) are the points that image i sees, ``n(i, q) = |P(i)
and P(q)|`` and ``o(i | q) = n(i, q) / |P(q)|``: the denominator is the query's.
"""

from typing import NamedTuple

import numpy as np

from resight.mining.sampling import mix_ids


class Covisible(NamedTuple):
    """Pairs (m,) of a query and an image of its model, both by their row.

    Ordered by query, then by distance of the centres, then by id. ``n_common`` int64, ``overlap`` float64,
    ``scale`` float64 at least 1, NaN where nothing common has a size.
    """

    query: np.ndarray
    item: np.ndarray
    n_common: np.ndarray
    overlap: np.ndarray
    scale: np.ndarray


def draw_queries(ids: np.ndarray, *, share: float = 0.1, most: int = 30, seed: int = 0) -> np.ndarray:
    """Draw the rows (q,) of the queries among images ``ids`` (n,): a tenth, at least 1, at most 30.

    >>> [len(draw_queries(np.arange(n))) for n in (4, 25, 300, 11042)]
    [1, 3, 30, 30]
    """
    n = min(most, max(1, int(share * len(ids) + 0.5)), len(ids))
    return draw_some(ids, n, seed=seed)


def draw_some(ids: np.ndarray, n: int, *, seed: int) -> np.ndarray:
    """Draw ``n`` rows of ``ids`` (m,) uniformly, the same whatever their order; rows ascend."""
    return np.sort(np.lexsort((ids, mix_ids(seed, ids)))[:n])


def pair_images(
    queries: np.ndarray,
    ids: np.ndarray,
    centres: np.ndarray,
    offsets: np.ndarray,
    points: np.ndarray,
    sizes: np.ndarray,
    *,
    k: int = 100,
) -> Covisible:
    """Pair every query with the ``k`` images of its model that were taken nearest to it.

    Parameters
    ----------
    queries : ndarray, (q,) int64
        Rows of images.
    ids : ndarray, (n,) int64
        Decide among equal distances.
    centres, offsets, points, sizes
        As of `resight.mining.reconstruction.colmap.Model`. An image without a centre is in no pool.

    Returns
    -------
    Covisible
        A query that sees nothing has the overlap 0 with everything.
    """
    parts = []
    for query in queries.tolist():
        near = find_near(query, ids, centres, k)
        own = slice(offsets[query], offsets[query + 1])
        common, scales = np.zeros(len(near), np.int64), np.full(len(near), np.nan)
        for at, image in enumerate(near.tolist()):
            other = slice(offsets[image], offsets[image + 1])
            _, a, b = np.intersect1d(points[own], points[other], assume_unique=True, return_indices=True)
            common[at] = len(a)
            scales[at] = median_scale(sizes[other][b] / sizes[own][a])
        overlap = common / max(own.stop - own.start, 1)
        parts.append((np.full(len(near), query), near, common, overlap, scales))
    if not parts:
        return Covisible(*(np.zeros(0, kind) for kind in (np.int64, np.int64, np.int64, float, float)))
    return Covisible(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def find_near(query: int, ids: np.ndarray, centres: np.ndarray, k: int) -> np.ndarray:
    """List the rows of the ``k`` images with the nearest centres, the query left out."""
    distance = np.linalg.norm(centres - centres[query], axis=1)
    known = np.flatnonzero(np.isfinite(distance) & (np.arange(len(ids)) != query))
    return known[np.lexsort((ids[known], distance[known]))[:k]]


def median_scale(ratios: np.ndarray) -> float:
    """Give how much larger things look in one of two images, at least 1; NaN where nothing is known."""
    ratios = ratios[np.isfinite(ratios)]
    if not len(ratios):
        return float("nan")
    middle = float(np.median(ratios))
    return max(middle, 1 / middle)


def are_eligible(pairs: Covisible, *, min_overlap: float = 0.2, max_scale: float = 1.5) -> np.ndarray:
    """Mark (m,) bool the pairs that share enough and see it at a like scale."""
    known = np.nan_to_num(pairs.scale, nan=np.inf)
    return (pairs.overlap >= min_overlap) & (known <= max_scale)
