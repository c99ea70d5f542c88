"""Approximate neighbours by inverted lists: vectors near a centroid form a list, a query visits few lists.

Centroids come from spherical k-means on a sample (Sivic and Zisserman, ICCV 2003). Which lists hold the true
neighbours of sampled queries says, before anything is searched, what recall a number of probes will reach, so
that number is chosen, not guessed. Visited vectors are compared in full and ranked exactly.
"""

from collections.abc import Callable, Iterable

import faiss
import numpy as np

from resight.knn.blocks import TILE_ROWS, Block, Comparison, Lists, finish
from resight.knn.candidates import Gather

SAMPLE_PER_LIST = 40  # training vectors
ITERATIONS = 8


def count_lists(n: int) -> int:
    """Choose the number of lists for ``n`` vectors: the power of two next to 2 sqrt(n)."""
    return int(2 ** max(0, round(np.log2(2 * np.sqrt(max(n, 1))))))


def fit_centroids(X: np.ndarray, n_lists: int, *, seed: int) -> np.ndarray:
    """Fit ``n_lists`` unit centroids (n_lists, d) float32 to the sample ``X`` (n, d) float32."""
    n_lists = min(n_lists, len(X))
    kmeans = faiss.Kmeans(
        X.shape[1], n_lists, niter=ITERATIONS, spherical=True, seed=seed, min_points_per_centroid=1
    )
    kmeans.train(np.ascontiguousarray(X))
    return np.ascontiguousarray(kmeans.centroids)


def assign_lists(X: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Find the nearest centroid (n,) int32 of each row of ``X`` (n, d)."""
    lists = [np.argmax(X[i : i + TILE_ROWS] @ centroids.T, axis=1) for i in range(0, len(X), TILE_ROWS)]
    return np.concatenate([*lists, np.zeros(0, np.int64)]).astype(np.int32)


def rank_lists(Q: np.ndarray, centroids: np.ndarray, n_probes: int) -> np.ndarray:
    """List the ``n_probes`` nearest centroids (n, n_probes) int64 of each query, the nearest one first."""
    S = Q @ centroids.T
    nearest = S.argmax(axis=1)[:, None]
    np.put_along_axis(S, nearest, np.inf, axis=1)
    n_probes = min(n_probes, S.shape[1])
    others = np.argpartition(-S, n_probes - 1, axis=1)[:, :n_probes]
    others = others[others != nearest].reshape(len(Q), -1)
    return np.concatenate([nearest, others], axis=1)


def tune_probes(
    Q: np.ndarray, exact: Lists, gather: Gather, centroids: np.ndarray, *, recall: float
) -> tuple[int, float]:
    """Choose how many lists to visit.

    Parameters
    ----------
    Q : ndarray, (s, d) float32
        Sampled queries.
    exact : offsets, columns, similarities
        Their exact neighbours.
    recall : float
        What to reach; one standard error of the sample is added.

    Returns
    -------
    n_probes, recall : int, float
        The smallest number of probes that reaches it on the sample, and the recall there.
    """
    offsets, columns, _ = exact
    home = assign_lists(gather(columns), centroids)
    order = np.argsort(-(Q @ centroids.T), axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.arange(order.shape[1])[None], axis=1)
    row = np.repeat(np.arange(len(Q)), np.diff(offsets))
    needed = place[row, home]  # how many lists come before that of a neighbour
    n_each = np.maximum(np.diff(offsets), 1)
    for n_probes in range(1, len(centroids) + 1):
        shares = np.bincount(row[needed < n_probes], minlength=len(Q)) / n_each
        if shares.mean() - shares.std() / np.sqrt(len(Q)) >= min(recall, 1.0):
            return n_probes, float(shares.mean())
    return len(centroids), 1.0


def search_lists(
    queries: Block,
    probes: np.ndarray,
    read_list: Callable[[int], Block],
    everything: Iterable[Block],
    gather: Gather,
    *,
    k: int,
) -> Lists:
    """Search queries in the lists that each of them probes; the k best visited, ranked exactly.

    Parameters
    ----------
    queries : ordinals (n,) int64, vectors (n, d) float32
        A query's own ordinal is left out.
    probes : ndarray, (n, p) int
        Lists to visit, the nearest one first.
    read_list : function, number -> block
        Ordinals and vectors of a list.
    everything, gather
        As in `resight.knn.blocks.search_blocks`.
    """
    found = Comparison(queries[1], k=k + 1, always=False)
    for some in (probes[:, :1], probes[:, 1:]):  # the nearest list first: it gives the best thresholds
        numbers = some.ravel().astype(np.uint16 if some.max(initial=0) < 1 << 16 else np.int64)
        order = np.argsort(numbers, kind="stable")  # short integers are sorted by radix
        visited, starts = np.unique(numbers[order], return_index=True)
        parts = np.split(order // max(some.shape[1], 1), starts[1:])
        for number, rows in zip(visited, parts, strict=False):
            found.visit(rows, read_list(int(number)))
    return finish(found.best, queries, everything, gather, k=k)
