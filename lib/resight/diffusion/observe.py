"""What a query observes: its nearest nodes, weighted by powered similarity (Iscen et al., CVPR 2017).

A query is never part of the graph; it enters as the right-hand side y. Several vectors of one query, its
regions, give one y. It is not normalised.
"""

from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse as sp

from resight.graph.affinity import power_similarity
from resight.knn.copies import to_offsets

YPool = Literal["sum_of_powers", "power_of_sum"]


class Observations(NamedTuple):
    """Observations of s queries: CSR lists in the order of the tie rule.

    ``offsets`` (s + 1,) int64, ``ordinals`` (m,) int64 of nodes, ``weights`` (m,) float64, all positive;
    ``no_support`` (s,) bool: the query has no positive neighbour, so that its diffusion is zero everywhere.
    """

    offsets: np.ndarray
    ordinals: np.ndarray
    weights: np.ndarray
    no_support: np.ndarray

    def to_matrix(self, n: int) -> sp.csc_array:
        """Give the right-hand sides Y as (n, s), one column per query."""
        shape = (n, len(self.offsets) - 1)
        Y = sp.csc_array((self.weights, self.ordinals, self.offsets), shape=shape)
        Y.sort_indices()
        return Y


class QueryLists(NamedTuple):
    """Nearest nodes of v query vectors, best first, as CSR lists.

    ``offsets`` (v + 1,) int64, ``ordinals`` (m,) int64, ``similarity`` (m,) float. ``query`` (v,) int64, from
    0: the query that each vector is of; by default every vector is a query. ``own`` (v,) int64: the node of
    the graph that a vector is, -1 where it is none.
    """

    offsets: np.ndarray
    ordinals: np.ndarray
    similarity: np.ndarray
    query: np.ndarray | None = None
    own: np.ndarray | None = None


def observe_queries(
    lists: QueryLists,
    *,
    k_q: int = 10,
    gamma: float = 3.0,
    y_pool: YPool = "sum_of_powers",
    n_queries: int | None = None,
) -> Observations:
    """Turn nearest nodes of query vectors into observation vectors.

    Every vector contributes its first ``k_q`` different nodes, a node of the graph itself first among them
    with similarity 1; every query keeps its ``k_q`` largest entries, ties by ordinal.

    Parameters
    ----------
    lists : QueryLists
        Nodes in rank order. Repeats in a list are ignored, so that copies of a vector may be replaced by
        their representative beforehand.
    gamma : float
        Exponent of the similarity, after clamping it at zero.
    y_pool : str
        How the vectors of a query meet in a node: ``sum_of_powers`` adds powered similarities (the paper),
        ``power_of_sum`` adds raw ones and raises the sum (the authors' code). The same for one vector.
    n_queries : int, optional
        Number of queries s; by default one more than the largest in ``lists.query``.

    Raises
    ------
    ValueError
        ``k_q`` is below 1, ``y_pool`` is unknown, or lengths do not fit.
    """
    if k_q < 1 or y_pool not in ("sum_of_powers", "power_of_sum"):
        raise ValueError(f"k_q is {k_q} and y_pool is {y_pool!r}: want at least 1, and one of the two pools")
    v = len(lists.offsets) - 1
    query = np.arange(v) if lists.query is None else lists.query
    if len(query) != v or len(lists.ordinals) != lists.offsets[-1]:
        raise ValueError(f"{len(query)} queries and {len(lists.ordinals)} entries for {v} lists")
    vector, ordinals, similarity = first_entries(lists, k_q)
    s = int(query.max(initial=-1)) + 1 if n_queries is None else n_queries
    weights = power_similarity(similarity, gamma) if y_pool == "sum_of_powers" else similarity
    n = int(ordinals.max(initial=-1)) + 1
    keys, inverse = np.unique(query[vector] * n + ordinals, return_inverse=True)
    pooled = np.bincount(inverse, weights=weights, minlength=len(keys))
    rows, nodes = np.divmod(keys, max(n, 1))
    best = largest_entries(rows, nodes, pooled, k_q)
    rows, nodes, pooled = rows[best], nodes[best], pooled[best]
    if y_pool == "power_of_sum":
        pooled = power_similarity(pooled, gamma)
    positive = pooled > 0
    counts = np.bincount(rows[positive], minlength=s)
    return Observations(to_offsets(counts), nodes[positive], pooled[positive], counts == 0)


def first_entries(lists: QueryLists, k_q: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Take the first ``k_q`` different nodes of every list: vector, ordinal and similarity, (m,)."""
    v = len(lists.offsets) - 1
    vector = np.repeat(np.arange(v), np.diff(lists.offsets))
    ordinals, similarity = lists.ordinals.astype(np.int64), lists.similarity.astype(np.float64)
    if lists.own is not None:
        there = np.flatnonzero(lists.own >= 0)
        vector = np.concatenate([there, vector])
        ordinals = np.concatenate([lists.own[there], ordinals])
        similarity = np.concatenate([np.ones(len(there)), similarity])
    n = int(ordinals.max(initial=-1)) + 1
    first = np.sort(np.unique(vector * n + ordinals, return_index=True)[1])
    first = first[np.argsort(vector[first], kind="stable")]  # lists in order, own node before its neighbours
    starts = np.searchsorted(vector[first], np.arange(v))
    kept = first[np.arange(len(first)) - starts[vector[first]] < k_q]
    return vector[kept], ordinals[kept], similarity[kept]


def largest_entries(rows: np.ndarray, nodes: np.ndarray, values: np.ndarray, k: int) -> np.ndarray:
    """Choose the positions of the ``k`` largest ``values`` of every row, in the order of the tie rule."""
    order = np.lexsort((nodes, -values, rows))
    starts = np.searchsorted(rows[order], rows[order])
    return order[np.arange(len(order)) - starts < k]
