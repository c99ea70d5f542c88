"""Compiled sums of the descriptors of an image by visual word, and the signs of these sums as packed bits.

An item is one descriptor in one of its words. Items come sorted by word and then by descriptor as keys
``word << 32 | item``; those of a word, or each on its own, are an *entry*. Sums are float64 and sequential.
"""

import numba
import numpy as np

LOW = (1 << 32) - 1


def sort_items(words: np.ndarray) -> np.ndarray:
    """Sort the items of ``words`` (n, m) int: keys (n m,) int64 of distinct values."""
    keys = (words.ravel().astype(np.int64) << 32) | np.arange(words.size)
    keys.sort()
    return keys


@numba.njit(cache=True, nogil=True)
def find_runs(keys, aggregate):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Find where entries begin, the end added: words (e,) int32 and starts (e + 1,) int64."""
    starts, words = np.empty(keys.size + 1, np.int64), np.empty(keys.size, np.int32)
    n = 0
    for i in range(keys.size):
        if not aggregate or i == 0 or keys[i] >> 32 != keys[i - 1] >> 32:
            starts[n], words[n] = i, keys[i] >> 32
            n += 1
    starts[n] = keys.size
    return words[:n], starts[: n + 1]


@numba.njit(cache=True, nogil=True)
def add_items(keys, m, X, C, total):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Sum the residuals ``x - c`` of the items ``keys`` of one word; the descriptors where C has no rows."""
    total[:] = 0.0
    word = keys[0] >> 32
    for i in range(keys.size):
        x = X[(keys[i] & LOW) // m]
        if C.shape[0]:
            c = C[word]
            for j in range(total.size):
                total[j] += np.float64(x[j]) - np.float64(c[j])
        else:
            for j in range(total.size):
                total[j] += np.float64(x[j])


@numba.njit(cache=True, nogil=True)
def sum_entries(keys, starts, m, X, C):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Give the sums (e, d) float64 of the entries."""
    sums = np.empty((starts.size - 1, X.shape[1]))
    for e in range(starts.size - 1):
        add_items(keys[starts[e] : starts[e + 1]], m, X, C, sums[e])
    return sums


@numba.njit(cache=True, nogil=True)
def pack_signs(total, code):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Write the signs of ``total`` (d,) into ``code``, the lowest bit first; 64 at a time."""
    for start in range(0, total.size, 64):
        stop, bits = min(start + 64, total.size), np.uint64(0)
        for j in range(start, stop):
            bits |= np.uint64(total[j] >= 0.0) << np.uint64(j - start)
        for b in range(start >> 3, (stop + 7) >> 3):
            code[b] = np.uint8(bits & np.uint64(255))
            bits >>= np.uint64(8)


@numba.njit(cache=True, nogil=True)
def code_entries(keys, starts, m, X, C):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Give the packed signs (e, ceil(d / 8)) uint8 of the sums of the entries, the lowest bit first.

    The difference of two numbers has the sign that its float64 has: a single residual needs no sum.
    """
    d = X.shape[1]
    codes = np.zeros((starts.size - 1, (d + 7) // 8), np.uint8)
    total, residual = np.empty(d), np.empty(d, X.dtype)
    for e in range(starts.size - 1):
        if starts[e + 1] - starts[e] > 1:
            add_items(keys[starts[e] : starts[e + 1]], m, X, C, total)
            pack_signs(total, codes[e])
        else:
            key = keys[starts[e]]
            x, c = X[(key & LOW) // m], C[key >> 32]
            for j in range(d):
                residual[j] = x[j] - c[j]
            pack_signs(residual, codes[e])
    return codes
