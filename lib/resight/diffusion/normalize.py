"""Symmetric normalisation of an affinity matrix (Iscen et al., CVPR 2017, eq. 4)."""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp


class Normalized(NamedTuple):
    """A normalised graph of n nodes.

    ``S`` (n, n) csr_array float64: ``D^-1/2 A D^-1/2``, symmetric to the last bit, every entry in (0, 1].
    ``degrees`` (n,) float64: row sums of A, 0 for an isolated node. ``scale`` (n,) float64: their power
    -1/2, 0 for an isolated node.
    """

    S: sp.csr_array
    degrees: np.ndarray
    scale: np.ndarray


def normalize_affinity(A: sp.sparray | sp.spmatrix) -> Normalized:
    """Divide every affinity by the root of the degrees of its two ends.

    Parameters
    ----------
    A : sparse array or matrix, (n, n)
        Symmetric, non-negative affinity with zero diagonal. Explicit zeros and repeated entries are fine:
        the former are dropped, the latter summed. It is not changed.

    Returns
    -------
    Normalized
        S, degrees, scale. Rows and columns of isolated nodes are empty.

    Raises
    ------
    ValueError
        Not square, an entry negative or not finite, a diagonal entry, rows and columns with other sums.
    """
    A = clean_affinity(A)
    degrees = np.asarray(A.sum(axis=1), np.float64).ravel()
    columns = np.bincount(A.indices, weights=A.data, minlength=len(degrees))
    if not np.allclose(columns, degrees, rtol=1e-9, atol=0):
        i = int(np.argmax(np.abs(columns - degrees)))
        sums = f"{degrees[i]:g}, its column to {columns[i]:g}"
        raise ValueError(f"affinity is not symmetric: row {i} sums to {sums}")
    roots = np.sqrt(degrees)
    src = np.repeat(np.arange(len(degrees), dtype=A.indices.dtype), np.diff(A.indptr))
    A.data = np.minimum(A.data / (roots[src] * roots[A.indices]), 1.0)
    scale = np.divide(1.0, roots, out=np.zeros_like(roots), where=roots > 0)
    return Normalized(A, degrees, scale)


def clean_affinity(A: sp.sparray | sp.spmatrix) -> sp.csr_array:
    """Copy an affinity to canonical rows, float64 (n, n), and reject what no graph of similarities holds."""
    if A.shape[0] != A.shape[1]:
        raise ValueError(f"affinity must be square, got {A.shape}")
    A = sp.csr_array(A, dtype=np.float64, copy=True)
    A.sum_duplicates()
    if not np.isfinite(A.data).all() or A.data.min(initial=0.0) < 0:
        raise ValueError("affinities must be finite and not negative")
    A.eliminate_zeros()
    if A.diagonal().any():
        raise ValueError("a node must not be its own neighbour: the diagonal of the affinity must be zero")
    return A
