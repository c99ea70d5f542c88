"""From stored neighbour lists to pairs above a threshold: a join on the graph, never all pairs."""

import numpy as np

COPIES = ("exact", "same_pixels")  # strongest first; equal descriptors by construction
GROUPING = (*COPIES, "near", "turned", "mirrored", "crop", "contains")  # relations that join groups


def select_pairs(
    src: np.ndarray,
    offsets: np.ndarray,
    dst: np.ndarray,
    similarity: np.ndarray,
    *,
    threshold: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keep the entries of neighbour lists that reach ``threshold`` as pairs ``a < b``.

    Parameters
    ----------
    src : ndarray, (n,) int64
        Whose list it is.
    offsets : ndarray, (n + 1,) int64
        List i is ``dst[offsets[i]:offsets[i + 1]]``.
    dst : ndarray, (nnz,) int64
        Neighbours.
    similarity : ndarray, (nnz,) float32
        Compared with ``threshold`` in float32, so that a stored 0.9 reaches 0.9; NaN never does.

    Returns
    -------
    a, b : ndarray, (p,) int64
        Each pair once per list that holds it.
    similarity : ndarray, (p,) float32
    """
    owner = np.repeat(src, np.diff(offsets))  # (nnz,)
    chosen = (similarity >= np.float32(threshold)) & (owner != dst)
    owner, other = owner[chosen], dst[chosen]
    return np.minimum(owner, other), np.maximum(owner, other), similarity[chosen]


def is_saturated(offsets: np.ndarray, similarity: np.ndarray, *, threshold: float) -> np.ndarray:
    """Mark (n,) bool the lists whose last entry still reaches ``threshold``.

    Such a list may have been too short to hold all near copies of its image. Groups still hold
    together through the other lists; the pairs do not name every one.
    """
    full = np.diff(offsets) > 0
    last = np.full(len(full), -np.inf, np.float32)
    last[full] = similarity[offsets[1:][full] - 1]
    return last >= np.float32(threshold)
