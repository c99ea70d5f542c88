"""The few entries of every row that can still be among its k best, while blocks of scores stream by.

A matrix product in float32 gives each dot product of unit vectors with an error of at most ``d u`` (``u`` =
2^-24; Higham 2002, eq. 3.5), and its last bits depend on the shape of the block. So an entry is kept while it
lies within twice that error of the k-th best, and what is kept is scored again by `exact_similarities`, which
depends on the two vectors alone. The result is exact, ties included, for every way of cutting blocks. A row
with more near ties than there is room for is marked *crowded* and searched again by itself.
"""

import math
from collections.abc import Callable

import numba
import numpy as np

PAIR_BYTES = 4 << 20  # pairs are scored in chunks of this size, which stay in cache
RUN = 64  # columns whose maximum is found together
ROOM = 24  # entries beyond k after which a row's threshold is raised while products in bytes are scanned
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

    def seed(
        self, rows: np.ndarray, S: np.ndarray, *, unit: float = 1.0, errors: np.ndarray | float = 0.0
    ) -> None:
        """Give ``rows`` (m,) that have no threshold yet one from their first scores ``S`` (m, c).

        The scores are in ``unit``, and err by ``errors``, of each row, more than products in float32.
        """
        fresh = np.flatnonzero(np.isneginf(self.thresholds[rows]))
        if len(fresh) and S.shape[1] > self.k:
            scores = S if len(fresh) == len(rows) else S[fresh]
            bound = bound_kth_best(scores, self.k) * unit - np.broadcast_to(errors, len(rows))[fresh]
            self.thresholds[rows[fresh]] = bound - self.slack

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


def push_tile_loop(words, S, state, where, k, slack):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Offer the entries of ``S`` (n, m) at ``words``, flat positions divided by eight.

    ``where`` are the rows of the candidates that the tile covers, and the names of its columns.
    """
    covered, names = where
    flat, m, thresholds = S.ravel(), S.shape[1], state[3]
    for word in words:
        i = word * 8 // m
        j = word * 8 - i * m
        for at in range(word * 8, min(word * 8 + 8, flat.size)):
            if flat[at] >= thresholds[covered[i]]:
                push(state, covered[i], names[j], np.float32(flat[at]), k, slack)
            j += 1
            if j == m:
                i, j = i + 1, 0


push_tile = numba.njit(cache=True)(push_tile_loop)


def lowest_product_loop(threshold, unit, error):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Give the smallest coarse product that a pair may have whose score reaches ``threshold``."""
    return math.floor(min(max((threshold - error) / unit, -(2.0**31)), 2.0**31))


lowest_product = numba.njit(cache=True)(lowest_product_loop)


def scan_products_loop(S, vectors, state, where, k, slack, bound):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Offer the pairs whose coarse product may reach the threshold of its row, by their real product.

    ``S`` (n, m) int32 are the coarse products; ``bound`` is their unit, and the errors of all rows of the
    candidates. ``vectors`` are those of all these rows and of the columns (m, d) float32; the rest as in
    `push_tile`. Most runs of columns hold no candidate, and their maximum is found many at a time.
    """
    (A, B), (covered, names), (unit, errors) = vectors, where, bound
    counts, thresholds = state[2:]
    m = S.shape[1]
    for i in range(S.shape[0]):
        row = covered[i]
        low = lowest_product(thresholds[row], unit, errors[row])
        for start in range(0, m, RUN):
            highest = S[i, start]
            for j in range(start, min(start + RUN, m)):
                highest = max(highest, S[i, j])
            if highest < low:
                continue
            for j in range(start, min(start + RUN, m)):
                if S[i, j] < low:
                    continue
                score = np.float32(0)
                for c in range(A.shape[1]):
                    score += A[row, c] * B[j, c]
                push(state, row, names[j], score, k, slack)
                if counts[row] >= k + ROOM:
                    tighten(state, row, k, slack)
                    low = lowest_product(thresholds[row], unit, errors[row])


scan_products = numba.njit(cache=True, fastmath={"reassoc", "contract"})(scan_products_loop)


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


def rank_loop(starts, offsets, columns, similarities):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Sort each row of ragged arrays by similarity, then column, and keep as many as ``offsets`` leaves."""
    out_columns = np.empty(offsets[-1], np.int64)
    out_similarities = np.empty(offsets[-1], np.float32)
    for row in range(starts.size - 1):
        first, last = starts[row], starts[row + 1]
        n_kept = offsets[row + 1] - offsets[row]
        if n_kept == 0:
            continue
        kept = np.arange(first, last)
        kept = kept[np.argsort(columns[first:last], kind="mergesort")]
        kept = kept[np.argsort(-similarities[kept], kind="mergesort")][:n_kept]
        for i in range(n_kept):
            out_columns[offsets[row] + i] = columns[kept[i]]
            out_similarities[offsets[row] + i] = similarities[kept[i]]
    return out_columns, out_similarities


rank_rows = numba.njit(cache=True)(rank_loop)
