"""The few entries of every row that can still be among its k best, while blocks of scores stream by.

A matrix product in float32 gives each dot product of unit vectors with an error of at most ``d u`` (``u`` =
2^-24; Higham 2002, eq. 3.5), and its last bits depend on the shape of the block. So an entry is kept while it
lies within twice that error of the k-th best, and what is kept is scored again by `exact_similarities`, which
depends on the two vectors alone. The result is exact, ties included, for every way of cutting blocks. A row
with more near ties than there is room for is marked *crowded* and searched again by itself.
"""

from collections.abc import Callable

import numba
import numpy as np

PAIR_BYTES = 4 << 20  # pairs are scored in chunks of this size, which stay in cache
CROWDED = -1  # the column of an entry that marks its row

Gather = Callable[[np.ndarray], np.ndarray]
State = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def error_bound(d: int) -> float:
    """Largest error of a float32 dot product of two unit vectors of ``d`` dimensions, rounding included."""
    return 1.01 * (d + 3) * 2.0**-24


def exact_similarities(Q: np.ndarray, rows: np.ndarray, gather: Gather, columns: np.ndarray) -> np.ndarray:
    """Dot products, summed in float64, of rows ``Q[rows]`` and ``gather(columns)``; (m,) float32, at most 1.

    Parameters
    ----------
    Q : ndarray, (n, d) float32
    rows, columns : ndarray, (m,) int
    gather : function, columns (m,) -> vectors (m, d) float32
    """
    step = max(1, PAIR_BYTES // (8 * Q.shape[1]))
    out = np.empty(len(rows), np.float32)
    for i in range(0, len(rows), step):
        pairs = slice(i, i + step)
        A, B = Q[rows[pairs]].astype(np.float64), gather(columns[pairs]).astype(np.float64)
        out[pairs] = np.minimum(np.einsum("nd,nd->n", A, B), 1.0)
    return out


class Candidates:
    """Candidates of ``n_rows`` rows of ``d``-dimensional vectors: ``2 k + 32`` entries per row at most.

    ``thresholds`` (n_rows,) float32 is what a score must reach to be worth offering.
    """

    def __init__(self, n_rows: int, k: int, *, d: int) -> None:
        self.k, self.slack = k, np.float32(2 * error_bound(d))
        width = 2 * k + 32
        self.scores = np.empty((n_rows, width), np.float32)
        self.columns = np.empty((n_rows, width), np.int32)
        self.counts = np.zeros(n_rows, np.int64)  # -1: crowded
        self.thresholds = np.full(n_rows, -np.inf, np.float32)

    @property
    def state(self) -> State:
        """The arrays that the compiled loops change."""
        return self.scores, self.columns, self.counts, self.thresholds

    def seed(self, rows: np.ndarray, S: np.ndarray) -> None:
        """Give ``rows`` (m,) that have no threshold yet one from their first scores ``S`` (m, c)."""
        fresh = np.flatnonzero(np.isneginf(self.thresholds[rows]))
        if len(fresh) and S.shape[1] > self.k:
            scores = S if len(fresh) == len(rows) else S[fresh]
            self.thresholds[rows[fresh]] = bound_kth_best(scores, self.k) - self.slack

    def offer(self, rows: np.ndarray, columns: np.ndarray, scores: np.ndarray) -> None:
        """Offer single entries, each (m,), such as another task found; ``CROWDED`` marks the row."""
        push_entries(rows, columns, scores, self.state, self.k, self.slack)

    def entries(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Give what is kept: rows ascending int32, columns int32, scores float32, each (m,)."""
        return collect_entries(self.state, self.k, self.slack)


def bound_kth_best(S: np.ndarray, k: int) -> np.ndarray:
    """Bound the ``k``-th best of each row of ``S`` (n, m), m > k, from below, (n,) float32.

    The k-th best of the maxima of disjoint groups is such a bound, and maxima are far cheaper than a
    selection among all.
    """
    n_groups = min(S.shape[1], 8 * k)
    maxima = np.array(S[:, :n_groups])  # keeps the memory order of S, which may be a transposed view
    for start in range(n_groups, S.shape[1] - n_groups + 1, n_groups):
        np.maximum(maxima, S[:, start : start + n_groups], out=maxima)
    return np.partition(np.ascontiguousarray(maxima), n_groups - k, axis=1)[:, n_groups - k]


def select_loop(values, k):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Find the ``k``-th largest of ``values`` (n,), n >= k, reordering them (Hoare's quickselect)."""
    low, high = 0, values.size - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i, j = i + 1, j - 1
        if k - 1 <= j:
            high = j
        elif k - 1 >= i:
            low = i
        else:
            break
    return values[k - 1]


select = numba.njit(cache=True)(select_loop)


def tighten_loop(state, row, k, slack):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Drop the entries of ``row`` that its k-th best has outrun."""
    scores, columns, counts, thresholds = state
    n = counts[row]
    kth = select(scores[row, :n].copy(), k)
    thresholds[row] = max(thresholds[row], kth - slack)
    kept = 0
    for i in range(n):
        if scores[row, i] >= thresholds[row]:
            scores[row, kept] = scores[row, i]
            columns[row, kept] = columns[row, i]
            kept += 1
    counts[row] = kept


tighten = numba.njit(cache=True)(tighten_loop)


def push_loop(state, row, column, score, k, slack):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add one entry to ``row``, making room first; a row without room becomes crowded."""
    scores, columns, counts, thresholds = state
    if counts[row] < 0 or score < thresholds[row]:
        return
    if counts[row] == scores.shape[1]:
        tighten(state, row, k, slack)
        if score < thresholds[row]:
            return
        if counts[row] == scores.shape[1]:
            counts[row] = -1
            thresholds[row] = np.inf
            return
    scores[row, counts[row]] = score
    columns[row, counts[row]] = column
    counts[row] += 1


push = numba.njit(cache=True)(push_loop)


def push_tile_loop(words, S, by_column, state, where, k, slack):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Offer the entries of ``S`` (n, m) at ``words``, flat positions divided by eight.

    ``where`` are the rows of the candidates that the tile covers, and the names of the other side.
    """
    covered, names = where
    flat, m, thresholds = S.ravel(), S.shape[1], state[3]
    for word in words:
        i = word * 8 // m
        j = word * 8 - i * m
        for at in range(word * 8, min(word * 8 + 8, flat.size)):
            row, other = (j, i) if by_column else (i, j)
            if flat[at] >= thresholds[covered[row]]:
                push(state, covered[row], names[other], flat[at], k, slack)
            j += 1
            if j == m:
                i, j = i + 1, 0


push_tile = numba.njit(cache=True)(push_tile_loop)


def push_entries_loop(rows, columns, scores, state, k, slack):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Offer entries one by one."""
    _, _, counts, thresholds = state
    for i in range(rows.size):
        if columns[i] == -1:
            counts[rows[i]] = -1
            thresholds[rows[i]] = np.inf
        push(state, rows[i], columns[i], scores[i], k, slack)


push_entries = numba.njit(cache=True)(push_entries_loop)


def collect_entries_loop(state, k, slack):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Copy what is kept into three flat arrays; a crowded row has one entry of column -1."""
    scores, columns, counts, _ = state
    for row in range(counts.size):
        if counts[row] > k:
            tighten(state, row, k, slack)
    total = 0
    for n in counts:
        total += abs(n)
    out_rows, out_columns = np.empty(total, np.int32), np.empty(total, np.int32)
    out_scores = np.empty(total, np.float32)
    at = 0
    for row in range(counts.size):
        for i in range(abs(counts[row])):
            out_rows[at] = row
            out_columns[at] = columns[row, i] if counts[row] > 0 else -1
            out_scores[at] = scores[row, i]
            at += 1
    return out_rows, out_columns, out_scores


collect_entries = numba.njit(cache=True)(collect_entries_loop)
