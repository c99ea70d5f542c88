"""From the descriptors of one image to its entries: residuals, sums per visual word, bits or unit vectors.

``Phi(X_c) = psi(sum_x phi(x))`` (Tolias, Avrithis, Jégou, IJCV 2015, equation 13). Sums are float64 over the
descriptors in their order. A descriptor that is assigned to several words counts in each of them.
"""

import numpy as np

from resight.asmk.binarize import binarize, code_bytes
from resight.codebook.medians import project
from resight.codebook.model import Codebook

__all__ = ["aggregate_image", "aggregate_vectors", "describe_entries"]


def aggregate_image(
    vectors: np.ndarray, words: np.ndarray, codebook: Codebook, *, aggregate: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Make the binary entries of one image.

    Parameters
    ----------
    vectors : ndarray, (n, d) float
        All its descriptors.
    words : ndarray, (n, m) int32
        The words of each, see `resight.codebook.quantize.assign`.
    aggregate : bool
        One entry per word (ASMK*), else one per descriptor and word (SMK*).

    Returns
    -------
    words : ndarray, (e,) int32
        Ascending; each once where aggregated.
    codes : ndarray, (e, ceil(B / 8)) uint8
    """
    words, residuals = describe_entries(vectors, words, codebook, aggregate=aggregate)
    codes = binarize(residuals) if len(words) else np.zeros((0, code_bytes(codebook.n_bits)), np.uint8)
    return words, codes


def aggregate_vectors(
    vectors: np.ndarray, words: np.ndarray, centroids: np.ndarray, *, aggregate: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Make the real entries of one image, as `aggregate_image`: unit vectors (e, d) float32 (ASMK, SMK).

    A residual, or a sum of residuals, that is zero has no direction: it is no entry.
    """
    words, residuals = describe_entries(vectors, words, Codebook(centroids), aggregate=aggregate)
    lengths = np.sqrt(np.einsum("nd,nd->n", residuals, residuals))
    there = lengths > 0
    return words[there], (residuals[there] / lengths[there, None]).astype(np.float32)


def describe_entries(
    vectors: np.ndarray, words: np.ndarray, codebook: Codebook, *, aggregate: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Give the words (e,) int32, ascending, and the residuals (e, b) float64 of the entries of one image.

    A residual is ``x - c``, or ``Q x - m_c`` where the codebook has a projection; aggregated, their sum.

    Raises
    ------
    ValueError
        Shapes that do not fit, or a word that the codebook does not have.
    """
    n, m = words.shape
    if vectors.shape != (n, codebook.d) and n:
        raise ValueError(f"{n} rows of words, descriptors of shape {vectors.shape}, d = {codebook.d}")
    flat = words.ravel()
    if n and not 0 <= flat.min() <= flat.max() < codebook.k:
        raise ValueError(f"words {flat.min()} to {flat.max()} are not in [0, {codebook.k})")
    order = np.argsort(flat, kind="stable")
    sorted_words = flat[order].astype(np.int32)
    if not n:
        return sorted_words, np.zeros((0, codebook.n_bits))
    if codebook.projection is None:
        points = vectors.astype(np.float64)[order // m] - codebook.centroids[sorted_words]
    else:
        points = vectors.astype(np.float64)[order // m]
    if not aggregate:
        return sorted_words, rotate(points, sorted_words, np.ones(len(points)), codebook)
    is_first = np.ones(len(sorted_words), bool)
    is_first[1:] = sorted_words[1:] != sorted_words[:-1]
    starts = np.flatnonzero(is_first)
    counts = np.diff(np.append(starts, len(sorted_words)))
    own = sorted_words[starts]
    return own, rotate(np.add.reduceat(points, starts, axis=0), own, counts, codebook)


def rotate(sums: np.ndarray, words: np.ndarray, counts: np.ndarray, codebook: Codebook) -> np.ndarray:
    """Project sums (e, d) of ``counts`` (e,) descriptors and subtract as many medians; or leave them."""
    if codebook.projection is None or codebook.medians is None:
        return sums
    return project(sums, codebook.projection) - counts[:, None] * codebook.medians[words].astype(np.float64)
