"""Mutual-neighbour affinity (Iscen et al., CVPR 2017, eq. 1-2)."""

import numpy as np
import scipy.sparse as sp


def power_similarity(similarity: np.ndarray, gamma: float) -> np.ndarray:
    """Raise similarities to ``gamma`` after clamping them at zero: ``max(s, 0)^gamma``, float64."""
    return np.maximum(similarity.astype(np.float64), 0.0) ** gamma


def mutual_affinity(
    offsets: np.ndarray, dst: np.ndarray, similarity: np.ndarray, *, gamma: float = 3.0
) -> sp.csr_array:
    """Join rows that are in each other's lists; one-way neighbours are dropped.

    Parameters
    ----------
    offsets : ndarray, (n + 1,) int64
        CSR offsets of the neighbour lists of n nodes.
    dst : ndarray, (m,) int64
        Ordinals of the neighbours; a node itself and repeats are ignored.
    similarity : ndarray, (m,) float32
        Similarity of each neighbour.
    gamma : float
        Exponent of the similarity.

    Returns
    -------
    A : csr_array, (n, n) float64
        Symmetric, non-negative, zero diagonal, no explicit zeros: ``min(s(i, j), s(j, i))``.
    """
    n = len(offsets) - 1
    src = np.repeat(np.arange(n), np.diff(offsets))
    key = src * n + dst
    first = np.unique(key, return_index=True)[1]
    first = first[src[first] != dst[first]]
    weights = power_similarity(similarity, gamma)[first]
    directed = sp.csr_array((weights, (src[first], dst[first])), shape=(n, n))
    A = directed.minimum(directed.T)
    A.eliminate_zeros()
    A.sort_indices()
    return A
