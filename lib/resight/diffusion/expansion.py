"""Ranking without a graph: average and alpha query expansion, and matching of regions.

``q' = q + sum_i max(s_i, 0)^alpha x_i`` over the n best of a first search, normalised (Radenovic, Tolias,
Chum, TPAMI 2018); alpha = 0 is average query expansion (Chum et al., ICCV 2007). Region matching adds, over
the regions of the query, the best similarity in each image (Razavian et al., 2014).
"""

from collections.abc import Callable

import numpy as np

from resight.graph.affinity import power_similarity
from resight.knn.copies import pick_runs, to_offsets

Gather = Callable[[np.ndarray], np.ndarray]
Lists = tuple[np.ndarray, np.ndarray, np.ndarray]


def expand_queries(
    Q: np.ndarray,
    lists: Lists,
    gather: Gather,
    *,
    n: int = 50,
    alpha: float = 3.0,
    include_query: bool = True,
) -> np.ndarray:
    """Replace each query by a weighted mean of itself and the best of its first search.

    Parameters
    ----------
    Q : ndarray, (s, d) float32
        Unit queries.
    lists : offsets (s + 1,), ordinals (m,), similarities (m,)
        The first search, best first; a list may be shorter than ``n``.
    gather : function, ordinals (m,) -> vectors (m, d) float32
        Vectors of the collection.
    alpha : float
        Exponent of the weights; 0 gives every vector, whatever its similarity, the weight 1.
    include_query : bool
        Whether the query is part of the mean, with weight 1.

    Returns
    -------
    ndarray, (s, d) float32
        Unit vectors to search with again. A query whose weights are all zero, or whose sum is, stays as it
        is.
    """
    offsets, ordinals, similarities = lists
    if n < 1 or alpha < 0 or len(offsets) != len(Q) + 1:
        raise ValueError(f"n is {n}, alpha is {alpha}, {len(offsets)} offsets for {len(Q)} queries")
    counts = np.minimum(np.diff(offsets), n)
    weights = power_similarity(similarities, alpha)
    sums = Q.astype(np.float64) if include_query else np.zeros(Q.shape)
    for i, (start, count) in enumerate(zip(offsets[:-1], counts, strict=True)):
        best = slice(start, start + count)
        sums[i] += weights[best] @ gather(ordinals[best]).astype(np.float64)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.where(norms > 1e-12, sums / np.maximum(norms, 1e-12), Q).astype(np.float32)


def average_queries(Q: np.ndarray, lists: Lists, gather: Gather, *, n: int = 10) -> np.ndarray:
    """Replace each query by the mean of itself and the ``n`` best, see `expand_queries`."""
    return expand_queries(Q, lists, gather, n=n, alpha=0.0)


def match_regions(Q: np.ndarray, X: np.ndarray, offsets: np.ndarray, *, block: int = 4096) -> np.ndarray:
    """Score images by the sum over query regions of the best similarity in the image.

    Parameters
    ----------
    Q : ndarray, (m, d) float32
        Regions of one query.
    X : ndarray, (n, d) float32
        Regions of the collection, those of one image together.
    offsets : ndarray, (n_images + 1,) int64
        Where the regions of each image begin. An image without regions scores ``-inf``.
    block : int
        Images compared at once.

    Returns
    -------
    ndarray, (n_images,) float64
    """
    n_images = len(offsets) - 1
    scores = np.full(n_images, -np.inf)
    for start in range(0, n_images, block):
        images = np.arange(start, min(start + block, n_images))
        images = images[np.diff(offsets)[images] > 0]
        if len(images):
            rows, _ = pick_runs(offsets, images)
            S = X[rows].astype(np.float64) @ Q.astype(np.float64).T  # (rows, m)
            begins = to_offsets(np.diff(offsets)[images])[:-1]
            scores[images] = np.maximum.reduceat(S, begins).sum(axis=1)
    return scores
