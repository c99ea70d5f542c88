"""Compiled search of groups of words: each descriptor is compared with the words of its nearest groups only.

Descriptors that visit a group are taken one after the other while its words lie in the nearest cache. Four
words at a time are multiplied with a descriptor, always the same four, so that a score has the same bits
whichever descriptors are searched together; a matrix product would not promise that.
"""

import numba
import numpy as np

LANES = 4  # words that are multiplied together: groups are filled up to a multiple


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract", "nsz"})
def multiply(x, C, at):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Inner products of ``x`` (d,) with the rows ``at`` to ``at + 3`` of C."""
    a, b, c, d = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for j in range(x.size):
        value = x[j]
        a += value * C[at, j]
        b += value * C[at + 1, j]
        c += value * C[at + 2, j]
        d += value * C[at + 3, j]
    return a, b, c, d


@numba.njit(cache=True, nogil=True)
def insert(score, name, values, names):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Put a score that is better than the last of ``values`` (l,), descending, at its place."""
    at = values.size - 1
    while at > 0 and values[at - 1] < score:
        values[at], names[at] = values[at - 1], names[at - 1]
        at -= 1
    values[at], names[at] = score, name


@numba.njit(cache=True, nogil=True)
def scan(x, C, half_norms, start, stop, values, names):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Renew the best scores ``values`` (l,) and their rows of C, from the rows ``start`` to ``stop``.

    A score is ``x c - |c|^2 / 2``: the largest one belongs to the smallest distance.
    """
    last = values.size - 1
    for at in range(start, stop, LANES):
        a, b, c, d = multiply(x, C, at)
        a, b = a - half_norms[at], b - half_norms[at + 1]
        c, d = c - half_norms[at + 2], d - half_norms[at + 3]
        if max(max(a, b), max(c, d)) > values[last]:
            for lane, score in enumerate((a, b, c, d)):
                if score > values[last]:
                    insert(score, at + lane, values, names)


@numba.njit(cache=True, nogil=True)
def choose_groups(X, centers, half_norms, n_probes):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Name the ``n_probes`` nearest of ``centers`` of every row: (n, p) int32.

    Where products overflow float32 nothing is near: such a row names the first group, and finds no word.
    """
    probes, values = np.zeros((X.shape[0], n_probes), np.int32), np.empty(n_probes, np.float32)
    for i in range(X.shape[0]):
        values[:] = -np.inf
        scan(X[i], centers, half_norms, 0, centers.shape[0], values, probes[i])
    return probes


@numba.njit(cache=True, nogil=True)
def list_visitors(probes, n_groups):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """List the rows that visit each group, in order: bounds (g + 1,) and rows (n p,)."""
    bounds, flat = np.zeros(n_groups + 1, np.int64), probes.ravel()
    for group in flat:
        bounds[group + 1] += 1
    for group in range(n_groups):
        bounds[group + 1] += bounds[group]
    place, rows = bounds.copy(), np.empty(flat.size, np.int32)
    for i in range(flat.size):
        rows[place[flat[i]]] = i // probes.shape[1]
        place[flat[i]] += 1
    return bounds, rows


@numba.njit(cache=True, nogil=True)
def search_groups(X, probes, C, half_norms, starts, n_best):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Find the ``n_best`` rows of C with the best scores: (n, l) int32, best first, -1 where there are fewer.

    ``starts`` (g + 1,) says where the words of a group lie in C, and ``probes`` (n, p) which groups each row
    of X visits.
    """
    values = np.full((X.shape[0], n_best), -np.inf, np.float32)
    names = np.full((X.shape[0], n_best), -1, np.int32)
    bounds, rows = list_visitors(probes, starts.size - 1)
    for group in range(starts.size - 1):
        for i in range(bounds[group], bounds[group + 1]):
            row = rows[i]
            scan(X[row], C, half_norms, starts[group], starts[group + 1], values[row], names[row])
    return names
