"""From the descriptors of one image to its entries: residuals, sums per visual word, bits or unit vectors.

``Phi(X_c) = psi(sum_x phi(x))`` (Tolias, Avrithis, Jégou, IJCV 2015, equation 13). Sums are float64 over the
descriptors in their order, see `resight.asmk.sums`. A descriptor that is assigned to several words counts in
each of them.
"""

import numpy as np

from resight.asmk.binarize import binarize
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
    if codebook.projection is not None:
        words, residuals = describe_entries(vectors, words, codebook, aggregate=aggregate)
        return words, binarize(residuals)
    from resight.asmk.sums import code_entries  # compiled loops, which no command line waits for

    X, keys, own, starts = sort_entries(vectors, words, codebook, aggregate=aggregate)
    return own, code_entries(keys, starts, words.shape[1], X, codebook.centroids)


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
    from resight.asmk.sums import sum_entries

    X, keys, own, starts = sort_entries(vectors, words, codebook, aggregate=aggregate)
    is_projected = codebook.projection is not None
    sums = sum_entries(keys, starts, words.shape[1], X, codebook.centroids[: 0 if is_projected else None])
    return own, rotate(sums, own, np.diff(starts), codebook)


def sort_entries(
    vectors: np.ndarray, words: np.ndarray, codebook: Codebook, *, aggregate: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Check and sort what `resight.asmk.sums` sums: descriptors, keys, words and starts of the entries."""
    from resight.asmk.sums import find_runs, sort_items

    n = len(words)
    if n and vectors.shape != (n, codebook.d):
        raise ValueError(f"{n} rows of words, descriptors of shape {vectors.shape}, d = {codebook.d}")
    if n and not 0 <= words.min() <= words.max() < codebook.k:
        raise ValueError(f"words {words.min()} to {words.max()} are not in [0, {codebook.k})")
    kind = np.float64 if vectors.dtype == np.float64 else np.float32
    X = np.ascontiguousarray(vectors if n else np.zeros((0, codebook.d)), kind)
    keys = sort_items(words)
    return X, keys, *find_runs(keys, aggregate)


def rotate(sums: np.ndarray, words: np.ndarray, counts: np.ndarray, codebook: Codebook) -> np.ndarray:
    """Project sums (e, d) of ``counts`` (e,) descriptors and subtract as many medians; or leave them."""
    if codebook.projection is None or codebook.medians is None:
        return sums
    return project(sums, codebook.projection) - counts[:, None] * codebook.medians[words].astype(np.float64)
