"""Compiled parts of an exact assignment: the best of a block of products, exact distances where close, sums.

A product in float32 is inexact, and its last bits depend on the shape of its block. A word that leads by more
than the error is the nearest; otherwise distances in float64 decide, which depend on nothing else.
"""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, fastmath={"nnan", "nsz", "reassoc"})
def largest_score(products, half_norms):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Find the largest of ``products - half_norms``, many at a time."""
    largest = np.float32(-3e38)
    for j in range(half_norms.size):
        largest = max(largest, products[j] - half_norms[j])
    return largest


@numba.njit(cache=True, nogil=True)
def take_best(products, half_norms, first_word, best, second, names):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Renew the best two scores (r,) and the best one's word, from ``products`` (r, w).

    A score is ``x c - |c|^2 / 2``: the largest one belongs to the smallest distance.
    """
    for i in range(best.size):
        if not largest_score(products[i], half_norms) > second[i]:
            continue
        first, other, name = best[i], second[i], names[i]
        for j in range(half_norms.size):
            score = products[i, j] - half_norms[j]
            if score > other:
                if score > first:
                    first, other, name = score, first, first_word + j
                else:
                    other = score
        best[i], second[i], names[i] = first, other, name


@numba.njit(cache=True, nogil=True, fastmath={"reassoc"})
def distance(x, c):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Squared distance in float64."""
    total = 0.0
    for j in range(x.size):
        delta = np.float64(x[j]) - np.float64(c[j])
        total += delta * delta
    return total


@numba.njit(cache=True, nogil=True)
def settle(rows, X, C, names):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Find the nearest word of ``rows`` (r,) among all; of equal ones the first."""
    for i in range(rows.size):
        nearest, name = np.inf, -1
        for word in range(C.shape[0]):
            found = distance(X[rows[i]], C[word])
            if found < nearest:
                nearest, name = found, word
        names[rows[i]] = name


@numba.njit(cache=True, nogil=True)
def rank_candidates(X, C, candidates, m):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Order ``candidates`` (n, c) of each row by distance, then by number, and keep ``m``: (n, m) int32.

    A candidate below 0 is none.
    """
    n, c = candidates.shape
    out, names, values = np.empty((n, m), np.int32), np.empty(c, np.int64), np.empty(c)
    for i in range(n):
        for j in range(c):
            name, value, at = candidates[i, j], np.inf, j
            if name >= 0:
                value = distance(X[i], C[name])
            while at > 0 and (values[at - 1], names[at - 1]) > (value, name):
                values[at], names[at] = values[at - 1], names[at - 1]
                at -= 1
            values[at], names[at] = value, name
        for j in range(m):
            out[i, j] = names[j]
    return out


@numba.njit(cache=True, nogil=True)
def add_points(X, words, C, sums, counts):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add every row of ``X`` to the sum (k, d) and the count (k,) of its word; give the sum of distances."""
    error = 0.0
    for i in range(words.size):
        word = words[i]
        counts[word] += 1
        error += distance(X[i], C[word])
        for j in range(X.shape[1]):
            sums[word, j] += np.float64(X[i, j])
    return error
