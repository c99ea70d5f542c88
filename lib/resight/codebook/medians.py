"""Random projection and thresholds of Hamming embedding: the other way from residuals to bits.

Jégou, Douze, Schmid, ECCV 2008: descriptors are projected on orthonormal directions, and compared with the
median of their word in each direction, so that every bit of a word is set in half of its descriptors.
"""

import numpy as np

__all__ = ["draw_projection", "fill_medians", "project", "word_medians"]


def draw_projection(d: int, n_bits: int, *, seed: int) -> np.ndarray:
    """Draw the projection (n_bits, d) float32: the first rows of a random orthonormal matrix.

    Raises
    ------
    ValueError
        More bits than dimensions.
    """
    if not 1 <= n_bits <= d:
        raise ValueError(f"n_bits is {n_bits}, expected 1 to {d}, the dimensions of a descriptor")
    Q, R = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))
    return np.ascontiguousarray((Q * np.where(np.diag(R) < 0, -1.0, 1.0))[:, :n_bits].T, np.float32)


def project(X: np.ndarray, projection: np.ndarray) -> np.ndarray:
    """Project descriptors (n, d): (n, b) float64."""
    return X.astype(np.float64) @ projection.T.astype(np.float64)


def word_medians(projected: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the median of every direction among the descriptors of each word.

    Parameters
    ----------
    projected : ndarray, (n, b) float
        In any order.
    words : ndarray, (n,) int
        Of each descriptor.

    Returns
    -------
    words : ndarray, (w,) int64
        Those that occur, ascending.
    medians : ndarray, (w, b) float32
        Of an even number, the middle between the two in the middle.
    """
    order = np.argsort(words, kind="stable")
    found, starts = np.unique(words[order], return_index=True)
    groups = np.split(projected[order], starts[1:]) if len(found) else []
    medians = [np.median(group, axis=0) for group in groups]
    shape = (len(found), projected.shape[1])
    return found.astype(np.int64), np.array(medians, np.float32).reshape(shape)


def fill_medians(
    centroids: np.ndarray, projection: np.ndarray, words: np.ndarray, medians: np.ndarray
) -> np.ndarray:
    """Lay out the medians of all words (k, b) float32; a word without descriptors has its centroid's."""
    table = project(centroids, projection).astype(np.float32)
    table[words] = medians
    return table
