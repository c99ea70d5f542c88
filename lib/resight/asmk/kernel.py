"""Match kernels of sets of descriptors: SMK, ASMK, and their binary forms SMK*, ASMK*.

``K(X, Y) = gamma(X) gamma(Y) sum_c w_c M(X_c, Y_c)`` (Tolias, Avrithis, Jégou, IJCV 2015, equation 1), where
``M`` adds ``sigma(u)`` over the pairs of entries that two images have in the visual word c. An entry is a
descriptor's residual (SMK) or the sum of all residuals of its word (ASMK), as a unit vector with ``u`` the
inner product, or as bits with ``u = 1 - 2 h / B`` by the Hamming distance h.
"""

from typing import NamedTuple

import numpy as np

from resight.asmk.binarize import code_bytes, count_differences

__all__ = [
    "Entries",
    "Rule",
    "Selectivity",
    "Values",
    "lookup_table",
    "max_distance",
    "raw_scores",
    "self_scores",
    "sigma",
]


class Selectivity(NamedTuple):
    """How similarities count: the exponent, and the threshold that must be exceeded."""

    alpha: float = 3.0
    tau: float = 0.0


CUBE = Selectivity()
Rule = np.ndarray | Selectivity  # what a pair counts: by the distance of its codes, or by its inner product


class Values(NamedTuple):
    """What is stored of an entry: ``n_bits`` packed signs, or a unit vector (``d``,) of ``dtype``.

    >>> Values(20).width, Values(0, 4, "float32").width
    (3, 16)
    """

    n_bits: int
    d: int = 0
    dtype: str = "uint8"

    @property
    def width(self) -> int:
        """Bytes of an entry."""
        return self.d * np.dtype(self.dtype).itemsize if self.d else code_bytes(self.n_bits)

    def read(self, flat: np.ndarray) -> np.ndarray:
        """Give packed entries (m * width,) uint8 as rows (m, ceil(n_bits / 8)) or (m, d)."""
        rows = np.ascontiguousarray(flat).reshape(-1, self.width)
        return rows.view(np.dtype(self.dtype).newbyteorder("<")) if self.d else rows


class Entries(NamedTuple):
    """The entries of some images, in any order.

    Parameters
    ----------
    words : ndarray, (e,) int32
        Visual word of each entry.
    owners : ndarray, (e,) int
        Image of each entry, numbered from 0.
    values : ndarray, (e, d) float32 or (e, w) uint8
        Unit vectors, or packed codes.
    n_bits : int
        Of a code; 0 for vectors.
    """

    words: np.ndarray
    owners: np.ndarray
    values: np.ndarray
    n_bits: int = 0

    def take(self, chosen: np.ndarray) -> "Entries":
        """Give the entries at positions ``chosen``, or where a mask says so."""
        return Entries(self.words[chosen], self.owners[chosen], self.values[chosen], self.n_bits)


def sigma(u: np.ndarray, selectivity: Selectivity = CUBE) -> np.ndarray:
    """``sign(u) |u|^alpha`` where ``u > tau``, else 0 (equation 18): float64 of the shape of ``u``.

    >>> sigma(np.array([-0.5, 0.0, 0.5, 1.0])).tolist()
    [0.0, 0.0, 0.125, 1.0]
    """
    u = np.asarray(u, np.float64)
    return np.where(u > selectivity.tau, np.sign(u) * np.abs(u) ** selectivity.alpha, 0.0)


def lookup_table(n_bits: int, selectivity: Selectivity = CUBE) -> np.ndarray:
    """``sigma(1 - 2 h / B)`` for every Hamming distance h: (n_bits + 1,) float64."""
    return sigma((n_bits - 2 * np.arange(n_bits + 1)) / n_bits, selectivity)


def max_distance(n_bits: int, tau: float) -> int:
    """Largest Hamming distance with ``1 - 2 h / B >= tau``; -1 where there is none.

    >>> [max_distance(128, tau) for tau in (0.25, 0.375, 0.5)]
    [48, 40, 32]
    """
    distances = np.arange(n_bits + 1)
    return int((n_bits - 2 * distances >= tau * n_bits - 1e-9).sum()) - 1


def compare(A: np.ndarray, B: np.ndarray, n_bits: int) -> np.ndarray:
    """Similarities (n, m) float64 of the values of entries."""
    if n_bits:
        return (n_bits - 2 * count_differences(A, B).astype(np.float64)) / n_bits
    return A.astype(np.float64) @ B.astype(np.float64).T


def raw_scores(
    query: Entries,
    base: Entries,
    weights: np.ndarray,
    *,
    n_images: int,
    selectivity: Selectivity = CUBE,
) -> np.ndarray:
    """Sum ``w_c sigma(u)`` over the pairs of entries that a query shares with each image, before any norm.

    Parameters
    ----------
    query : Entries
        Of one image; its owners do not matter.
    base : Entries
        Of images 0 to ``n_images - 1``.
    weights : ndarray, (k,) float
        Of the visual words.

    Returns
    -------
    ndarray, (n_images,) float64
        0 where no word is shared.
    """
    order = np.argsort(base.words, kind="stable")
    bounds = np.searchsorted(base.words[order], np.arange(len(weights) + 1))
    scores = np.zeros(n_images)
    for word in np.unique(query.words):
        listed = base.take(order[bounds[word] : bounds[word + 1]])
        asked = query.values[query.words == word]
        values = sigma(compare(asked, listed.values, base.n_bits), selectivity).sum(0)
        np.add.at(scores, listed.owners, weights[word] * values)
    return scores


def self_scores(
    entries: Entries, weights: np.ndarray, *, n_images: int, selectivity: Selectivity = CUBE
) -> np.ndarray:
    """Sum ``w_c M(X_c, X_c)`` over the words of each image X: (n_images,) float64.

    Only entries that share word and image meet: for aggregated ones, the weight of every word counts once.
    """
    order = np.lexsort((entries.words, entries.owners))
    owners, words = entries.owners[order], entries.words[order]
    is_first = np.ones(len(words), bool)
    is_first[1:] = (owners[1:] != owners[:-1]) | (words[1:] != words[:-1])
    starts = np.flatnonzero(is_first)
    sizes = np.diff(np.append(starts, len(words)))
    matched = np.full(len(starts), float(sigma(np.ones(1), selectivity)[0]))
    for i in np.flatnonzero(sizes > 1):
        values = entries.values[order[starts[i] : starts[i] + sizes[i]]]
        matched[i] = sigma(compare(values, values, entries.n_bits), selectivity).sum()
    scores = np.zeros(n_images)
    np.add.at(scores, owners[starts], weights[words[starts]] * matched)
    return scores
