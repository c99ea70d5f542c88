"""k-means as sums: an iteration needs only the sum and the number of the descriptors of each word.

Lloyd's iterations (IEEE Trans. Inf. Theory 1982). Sums are float64 and are added part by part in order, so
that parts summed by tasks of a cluster give the very centroids that one machine finds. A word that lost all
its descriptors takes half of the largest one: its centroid moves a little beside that one's.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from resight.codebook.quantize import Quantizer, find_agreement

__all__ = ["Fitted", "WordSums", "add_sums", "fit_centroids", "move_centroids", "sum_points"]

STEP = 2.0**-10  # of the length of a centroid: how far the two halves of a large word lie apart
TRAINING_EXACT_WORDS = 1024  # up to here all centroids are compared in every iteration
TRAINING_AGREEMENT = 0.98  # with the exact assignment, while centroids still move
TRAINING_SAMPLE = 2000  # descriptors that it is measured on


class WordSums(NamedTuple):
    """What an iteration needs to know of some descriptors.

    ``sums`` (k, d) float64 and ``counts`` (k,) int64 by word, and ``error``, the sum of squared distances.
    """

    sums: np.ndarray
    counts: np.ndarray
    error: float


class Fitted(NamedTuple):
    """Centroids (k, d) float32, and the mean squared distance to those before each move."""

    centroids: np.ndarray
    errors: tuple[float, ...]


def sum_points(X: np.ndarray, quantizer: Quantizer) -> WordSums:
    """Sum the descriptors ``X`` (n, d) float32 of each word."""
    from resight.codebook.nearest import add_points  # compiled: no command line waits for it

    words, shape = quantizer.assign(X)[:, 0], quantizer.centroids.shape
    sums, counts = np.zeros(shape), np.zeros(shape[0], np.int64)
    return WordSums(sums, counts, add_points(X, words, quantizer.centroids, sums, counts))


def add_sums(parts: Iterable[WordSums]) -> WordSums:
    """Add what was found part by part, in their order."""
    sums, counts, error = np.zeros(()), np.zeros((), np.int64), 0.0
    for part in parts:
        sums, counts, error = sums + part.sums, counts + part.counts, error + part.error
    return WordSums(sums, counts, error)


def move_centroids(centroids: np.ndarray, total: WordSums) -> np.ndarray:
    """Move every centroid (k, d) to the mean of its descriptors; empty words split the largest ones.

    The largest word of all gives its centroid to an empty one; the two are moved apart by `STEP` of its
    length and count half of its descriptors each from then on.
    """
    counts = total.counts
    means = np.divide(
        total.sums, counts[:, None], out=centroids.astype(np.float64), where=counts[:, None] > 0
    )
    queue = [(-int(count), word) for word, count in enumerate(counts) if count > 1]
    heapq.heapify(queue)
    signs = np.where(np.arange(centroids.shape[1]) % 2, -1.0, 1.0)
    for empty in np.flatnonzero(counts == 0):
        if not queue or queue[0][0] > -2:
            break  # fewer descriptors than words
        size, largest = heapq.heappop(queue)
        center = means[largest].copy()
        shift = signs * STEP * np.sqrt((center @ center) / len(center))
        means[largest], means[empty] = center + shift, center - shift
        for word, half in ((largest, size // 2), (int(empty), size - size // 2)):
            heapq.heappush(queue, (half, word))
    return means.astype(np.float32)


def fit_centroids(
    step: Callable[[Quantizer], WordSums], start: np.ndarray, *, n_iter: int, sample: np.ndarray
) -> Fitted:
    """Iterate from ``start`` (k, d) float32; ``step`` sums all descriptors by the words that it is given.

    ``sample`` (s, d) says how many groups a large codebook's assignment visits, see `tune_probes`.
    """
    centroids, errors, n_probes = start, [], 0
    for _ in range(n_iter):
        quantizer = choose_quantizer(sample, centroids, n_probes)
        total, n_probes = step(quantizer), quantizer.n_probes
        errors.append(total.error / max(int(total.counts.sum()), 1))
        centroids = move_centroids(centroids, total)
    return Fitted(centroids, tuple(errors))


def choose_quantizer(sample: np.ndarray, centroids: np.ndarray, n_before: int) -> Quantizer:
    """Choose how many groups are visited while centroids still move; few words are all compared.

    Never fewer than the ``n_before`` of the last iteration: the error would grow for a while.
    """
    quantizer = Quantizer(centroids)
    if len(centroids) > TRAINING_EXACT_WORDS and len(sample):
        drawn = sample[:: max(1, len(sample) // TRAINING_SAMPLE)]
        needed = find_agreement(drawn, quantizer, TRAINING_AGREEMENT).n_probes
        quantizer.n_probes = max(needed, n_before) if needed else 0
    return quantizer


def sum_parts(parts: Iterable[np.ndarray], quantizer: Quantizer) -> WordSums:
    """Sum descriptors that lie in parts (n_i, d), one after the other."""
    return add_sums(sum_points(part, quantizer) for part in nonempty(parts))


def nonempty(parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Leave out parts without rows, the others as float32."""
    return (np.asarray(part, np.float32) for part in parts if len(part))
