"""Anchors, hard positives and hard negatives from the neighbour graph.

Iscen, Tolias, Avrithis, Chum, "Mining on manifolds: metric learning without labels", CVPR 2018, section 3.
Similarity on the manifold is the solution f_r of ``(I - alpha S) f = (1 - alpha) e_r``.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from resight.mining.entries import Entries, is_among

if TYPE_CHECKING:
    import scipy.sparse as sp

ENTRIES = 1 << 22  # of a graph that are looked at together
REACHED = 1e-12  # manifold similarity up to which an image counts as not reached
MAX_NEGATIVES = 50


class Pools(NamedTuple):
    """What some anchors are trained with.

    ``positive``: items with their manifold similarity, descending. ``negative``: items with their similarity,
    descending. A row without entries has an empty pool.
    """

    positive: Entries
    negative: Entries


def mine_pools(
    anchors: np.ndarray,
    euclidean: Entries,
    manifold: Entries,
    *,
    k_positive: int = 50,
    k_negative: int = 100,
    max_negatives: int = MAX_NEGATIVES,
) -> Pools:
    """Find where the nearest by similarity and the nearest on the manifold disagree (eq. 4 and 5).

    ``P+ = NN^m_k+ minus NN^e_k+`` and ``P- = NN^e_k- minus NN^m_k-``, each k on both sides of its own
    difference.

    Parameters
    ----------
    anchors : ndarray, (s,) int64
        Item that each row belongs to; it is in no list.
    euclidean, manifold : Entries
        The nearest of every row, in rank order. Lists may be shorter than k: then P+ and P- of a full
        ``manifold`` list are the beginning of what longer lists by similarity would give.
    k_positive, k_negative : int
        Length of the lists that are compared; ``k_negative`` exceeds the number of images of one thing.
    max_negatives : int
        Most negatives of an anchor, the nearest first.

    Returns
    -------
    Pools
        What the manifold does not reach (similarity up to 1e-12) is no positive, however short the list.
    """
    euclidean = euclidean.keep(euclidean.item != anchors[euclidean.row])
    manifold = manifold.keep((manifold.item != anchors[manifold.row]) & (manifold.value > REACHED))
    reached = manifold.first(k_positive)
    positive = reached.keep(~is_among(reached, euclidean.first(k_positive)))
    near = euclidean.first(k_negative)
    negative = near.keep(~is_among(near, manifold.first(k_negative)))
    return Pools(positive, negative.first(max_negatives))


def find_stationary(A: "sp.csr_array") -> np.ndarray:
    """Compute the stationary distribution (n,) float64 of the random walk ``D^-1 A``, started uniformly.

    On an undirected graph it is known: within a component ``pi_i = |C| / n * d_i / sum of d over C``, an
    isolated node keeps ``1 / n``. That is what power iteration of the lazy walk converges to.
    """
    from scipy.sparse.csgraph import connected_components

    n = A.shape[0]
    degrees = np.asarray(A.sum(axis=1), np.float64).ravel()
    _, label = connected_components(A, directed=False)
    sizes, sums = np.bincount(label), np.bincount(label, weights=degrees)
    inside = np.divide(degrees, sums[label], out=np.ones(n), where=sums[label] > 0)
    return sizes[label] / max(n, 1) * inside


def find_modes(A: "sp.csr_array", ids: np.ndarray) -> np.ndarray:
    """Mark (n,) bool the local maxima of the stationary distribution on the graph.

    A node with neighbours is one when each of them has a smaller degree, or an equal one and a larger id of
    ``ids`` (n,): of equals the smallest id. Every component of two or more nodes has one, and no two of them
    are neighbours.
    """
    degrees, beaten = np.asarray(A.sum(axis=1), np.float64).ravel(), np.zeros(A.shape[0], bool)
    for src, entries in cut_entries(A.indptr):
        beaten[src[is_denser(degrees, ids, A.indices[entries], src)]] = True
    return (degrees > 0) & ~beaten


def choose_anchors(pi: np.ndarray, is_mode: np.ndarray, ids: np.ndarray, *, n: int = 0) -> np.ndarray:
    """List the modes (m,) int64 by descending ``pi`` (n,), then id; the first ``n``, 0: all."""
    modes = np.flatnonzero(is_mode)
    ordered = modes[np.lexsort((ids[modes], -pi[modes]))]
    return ordered[:n] if n else ordered


def cut_entries(indptr: np.ndarray, *, size: int = ENTRIES) -> Iterator[tuple[np.ndarray, slice]]:
    """Cut the entries of a CSR matrix into runs of whole rows: the row of each entry, and the run.

    A run has some ``size`` entries, a row that has more is a run of its own.

    >>> [(rows.tolist(), run) for rows, run in cut_entries(np.array([0, 2, 3, 3, 6]), size=3)]
    [([0, 0, 1], slice(0, 3, None)), ([3, 3, 3], slice(3, 6, None))]
    """
    n, first = len(indptr) - 1, 0
    while first < n:
        last = max(int(np.searchsorted(indptr, indptr[first] + size, side="right")) - 1, first + 1)
        run = slice(int(indptr[first]), int(indptr[last]))
        if run.stop > run.start:
            yield np.repeat(np.arange(first, last), np.diff(indptr[first : last + 1])), run
        first = last


def is_denser(degrees: np.ndarray, ids: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether nodes ``a`` (m,) come before ``b`` (m,): higher degree, of equal ones the smaller id."""
    higher = degrees[a] > degrees[b]
    return higher | ((degrees[a] == degrees[b]) & (ids[a] < ids[b]))
