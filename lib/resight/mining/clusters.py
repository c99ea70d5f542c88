"""Clusters of a graph, and which of them validate: no thing should be seen in training and in validation.

A large collection is nearly one component, so components do not part it. Nodes are joined bottom up, always
to what they are most similar to, until clusters reach a size; what must stay together is one from the start.
"""

from typing import TYPE_CHECKING

import numpy as np

from resight.mining.entries import ranks
from resight.mining.manifold import cut_entries

if TYPE_CHECKING:
    import scipy.sparse as sp


def bind_nodes(n: int, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Find the units (n,) int64, numbered from 0, that links ``a``, ``b`` (m,) between n nodes make."""
    import scipy.sparse as sp
    from scipy.sparse.csgraph import connected_components

    links = sp.coo_array((np.ones(len(a), np.int8), (a, b)), shape=(n, n))
    return connected_components(links, directed=False)[1].astype(np.int64)


def cluster_nodes(A: "sp.csr_array", unit: np.ndarray, *, max_size: int) -> np.ndarray:
    """Join nodes to clusters of at most ``max_size`` nodes.

    Two clusters are as similar as the affinity between them over the root of the product of their degrees.
    In every round each cluster moves to its most similar one if that is the heavier of the two and moves
    nowhere itself, until no two that are linked fit into one.

    Parameters
    ----------
    A : csr_array, (n, n)
        Affinities.
    unit : ndarray, (n,) int64
        Numbers of what stays together, from 0; a unit that is larger than ``max_size`` is a cluster alone.

    Returns
    -------
    ndarray, (n,) int64
        Cluster of every node, from 0 in the order of the first node of each.
    """
    label, degrees = unit, np.asarray(A.sum(axis=1), np.float64).ravel()
    while True:
        B, sizes, volumes = contract_nodes(A, label), np.bincount(label), np.bincount(label, degrees)
        target = choose_targets(B, sizes, volumes, max_size)
        if (target == np.arange(len(target))).all():
            break
        label = np.unique(target, return_inverse=True)[1][label]
    _, first = np.unique(label, return_index=True)
    return np.argsort(np.argsort(first))[label]


def contract_nodes(A: "sp.csr_array", label: np.ndarray) -> "sp.csr_array":
    """Sum the affinities (c, c) between the nodes of different labels (n,), from 0 to c - 1."""
    import scipy.sparse as sp

    n, c = len(label), int(label.max(initial=-1)) + 1
    if c == n and not A.diagonal().any() and (label == np.arange(n)).all():
        return A
    member = sp.csr_array((np.ones(n), (np.arange(n), label)), shape=(n, c))
    B = sp.coo_array(member.T @ A @ member)
    apart = B.row != B.col
    B = sp.csr_array((B.data[apart], (B.row[apart], B.col[apart])), shape=(c, c))
    B.sort_indices()
    return B


def choose_targets(B: "sp.csr_array", sizes: np.ndarray, volumes: np.ndarray, max_size: int) -> np.ndarray:
    """Choose the cluster (c,) that each cluster moves to, itself where it stays.

    ``sizes`` (c,) are the numbers of nodes, ``volumes`` (c,) the sums of their degrees. A cluster takes in
    the most similar ones first, and no more than fit.
    """
    n = len(sizes)
    src, dst, strength = find_best(B, sizes, volumes, max_size)
    heavier = (volumes[dst] > volumes[src]) | ((volumes[dst] == volumes[src]) & (dst < src))
    moves = np.flatnonzero(heavier)
    staying = np.ones(n, bool)
    staying[src[moves]] = False
    moves = moves[staying[dst[moves]]]
    moves = moves[np.lexsort((src[moves], -strength[moves], dst[moves]))]
    taken = running_sums(sizes[src[moves]], dst[moves])
    moves = moves[taken + sizes[dst[moves]] <= max_size]
    target = np.arange(n)
    target[src[moves]] = dst[moves]
    return target


def find_best(
    B: "sp.csr_array", sizes: np.ndarray, volumes: np.ndarray, max_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the most similar cluster that fits, of every cluster that has any: both (m,), and how similar."""
    nobody = np.zeros(0, np.int64)
    parts = [(nobody, nobody, np.zeros(0))]
    for src, run in cut_entries(B.indptr):
        dst, values = np.asarray(B.indices[run], np.int64), B.data[run]
        fits = (sizes[src] + sizes[dst] <= max_size) & (values > 0)
        src, dst = src[fits], dst[fits]
        strength = values[fits] / np.sqrt(volumes[src] * volumes[dst])
        order = np.lexsort((dst, -volumes[dst], -strength, src))
        best = order[ranks(src[order]) == 0]
        parts.append((src[best], dst[best], strength[best]))
    src, dst, strength = (np.concatenate(column) for column in zip(*parts, strict=True))
    return src, dst, strength


def running_sums(x: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Sum ``x`` (m,) from the first entry of its row on; ``row`` (m,) is ascending.

    >>> running_sums(np.array([1, 2, 3, 4]), np.array([0, 0, 5, 5])).tolist()
    [1, 3, 3, 7]
    """
    sums = np.cumsum(x)
    starts = np.arange(len(x)) - ranks(row)
    return sums - (sums - x)[starts]


def choose_validation(weights: np.ndarray, *, share: float, seed: int = 0) -> np.ndarray:
    """Choose which clusters (c,) bool validate: drawn one after the other as long as they fit the share.

    ``weights`` (c,) int are what they count, such as nodes; clusters of weight 0 are not drawn.
    """
    room = share * int(weights.sum())
    chosen = np.zeros(len(weights), bool)
    for cluster in np.random.default_rng(seed).permutation(np.flatnonzero(weights)).tolist():
        if weights[cluster] <= room:
            chosen[cluster] = True
            room -= weights[cluster]
        if room < 1:
            break
    return chosen
