"""Nearest neighbours of a block of queries in a stream of blocks: matrix products, the k best of each row.

Many queries are compared in bytes first (`resight.knn.coarse`) and in float32 only where that may matter, a
few in float32 at once. What can still be among the k best is scored once more by `exact_similarities`, so the
result is exact and the same.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from resight.knn.candidates import (
    CROWDED,
    Candidates,
    Gather,
    exact_similarities,
    push_tile,
    rank_rows,
    scan_products,
)
from resight.knn.coarse import product_errors, round_rows, row_error, step_of
from resight.topk import top_k

TILE_ROWS, TILE_COLUMNS = 250, 1000  # one product: 1 MB of scores, which stay in cache
SEED_COLUMNS = 10_000  # that the first thresholds come from
ROUGH_SHARE = 0.05  # of a block, above which it is compared in float32
ALWAYS = np.iinfo(np.int32).max  # a product that reaches every threshold
COARSE_ROWS = 512  # with fewer queries, rounding the other side costs more than it saves

Block = tuple[np.ndarray, np.ndarray]  # ordinals (n,) int64 ascending, vectors (n, d) float32
Lists = tuple[np.ndarray, np.ndarray, np.ndarray]  # offsets (n + 1,), columns, similarities in rank order


class Tile:
    """Buffers of one product, reused: fresh ones would cost more in page faults than the comparison."""

    def __init__(self) -> None:
        self.scores = np.empty(TILE_ROWS * TILE_COLUMNS, np.float32)
        self.mask = np.zeros(TILE_ROWS * TILE_COLUMNS + 8, bool)

    def multiply(self, A: np.ndarray, B: np.ndarray) -> np.ndarray:
        """Scores (n, m) of rows ``A`` (n, d) against rows ``B`` (m, d); valid until the next call.

        Both are float32, or both int8: then the scores are int32.
        """
        n, m = len(A), len(B)
        if A.dtype == np.int8:
            return multiply_bytes(A, B, self.scores[: n * m].view(np.int32).reshape(n, m))
        return np.matmul(A, B.T, out=self.scores[: n * m].reshape(n, m))

    def find_words(self, S: np.ndarray, low: np.ndarray) -> np.ndarray:
        """Find flat positions, divided by eight, where ``S`` (n, m) may reach the thresholds ``low`` (n,).

        Hits are rare: looking at eight entries as one word costs an eighth.
        """
        flat = self.mask[: -(-S.size // 8) * 8]
        flat[S.size :] = False
        np.greater_equal(S, low[:, None], out=flat[: S.size].reshape(S.shape))
        return np.flatnonzero(flat.view(np.uint64))


def multiply_bytes(A: np.ndarray, B: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Multiply (n, d) int8 by (m, d) int8, transposed, into ``out`` (n, m) int32."""
    import torch

    torch._int_mm(torch.from_numpy(A), torch.from_numpy(B).T, out=torch.from_numpy(out))
    return out


class Comparison:
    """Queries (n, d) float32 that are compared with blocks, and what may be among the ``k`` best of each.

    Many are compared in bytes first, a few in float32 at once. ``always`` as in `product_errors`.
    """

    def __init__(self, Q: np.ndarray, *, k: int, always: bool = True) -> None:
        n, d = Q.shape
        self.Q, self.best, self.tile = Q, Candidates(n, k, d=d), Tile()
        self.codes = self.errors = np.zeros((0, d))
        self.unit = step_of(d) ** 2
        if n >= COARSE_ROWS:
            self.codes, errors = round_rows(Q)
            self.errors = product_errors(errors, d, always=always)

    def visit(self, rows: np.ndarray, block: Block) -> None:
        """Compare the queries ``rows`` (m,) with a block."""
        names, X = block
        if len(self.codes):
            rounded = round_rows(X)
            rough = np.flatnonzero(rounded.errors > row_error(X.shape[1]))
            if len(rough) <= ROUGH_SHARE * len(X):
                self.compare_bytes(rows, block, rounded.codes, rough)
                return
        self.compare(rows, names, X)

    def compare(self, rows: np.ndarray, names: np.ndarray, X: np.ndarray) -> None:
        """Offer vectors (m, d) called ``names`` to some queries, by products in float32."""
        best, tile = self.best, self.tile
        for some, columns in tiles(rows, len(X)):
            S = tile.multiply(self.Q[some], X[columns])
            best.seed(some, S)
            words = tile.find_words(S, best.thresholds[some])
            push_tile(words, S, best.state, (some, names[columns]), best.k, best.slack)

    def compare_bytes(self, rows: np.ndarray, block: Block, codes: np.ndarray, rough: np.ndarray) -> None:
        """Offer a block with ``codes`` (m, D) int8 to some queries: pairs whose product of bytes may suffice.

        Their scores are computed from the vectors while these are in cache, as are those of the columns
        ``rough``, whose codes say too little.
        """
        (names, X), best, tile = block, self.best, self.tile
        self.seed(rows, np.delete(codes[:SEED_COLUMNS], rough[rough < SEED_COLUMNS], axis=0))
        for some, columns in tiles(rows, len(X)):
            S = tile.multiply(self.codes[some], codes[columns])
            S[:, rough[(rough >= columns.start) & (rough < columns.stop)] - columns.start] = ALWAYS
            vectors, where = (self.Q, X[columns]), (some, names[columns])
            scan_products(S, vectors, best.state, where, best.k, best.slack, (self.unit, self.errors))

    def seed(self, rows: np.ndarray, codes: np.ndarray) -> None:
        """Give those of some queries that have no threshold yet one from the first columns, (m, D) int8."""
        best = self.best
        fresh = rows[np.isneginf(best.thresholds[rows])]
        for i in range(0, len(fresh) if len(codes) > best.k else 0, TILE_ROWS):
            some = fresh[i : i + TILE_ROWS]
            S = multiply_bytes(self.codes[some], codes, np.empty((len(some), len(codes)), np.int32))
            best.seed(some, S, unit=self.unit, errors=self.errors[some])


def tiles(rows: np.ndarray, n_columns: int) -> Iterator[tuple[np.ndarray, slice]]:
    """Cut ``rows`` (m,) and a number of columns into tiles of like size."""
    n_rows = TILE_ROWS * TILE_COLUMNS // max(1, min(n_columns, TILE_COLUMNS))
    for j in range(0, n_columns, TILE_COLUMNS):
        for i in range(0, len(rows), n_rows):
            yield rows[i : i + n_rows], slice(j, min(j + TILE_COLUMNS, n_columns))


def search_blocks(
    queries: Block, blocks: Iterable[Block], everything: Iterable[Block], gather: Gather, *, k: int
) -> Lists:
    """Search queries in a stream of ``blocks``: the exact ``k`` best; a query's own ordinal is left out.

    Parameters
    ----------
    queries : ordinals (n,) int64, vectors (n, d) float32
    blocks : iterable of blocks
        What is searched.
    everything : iterable of blocks
        The same once more; visited only where rows are crowded.
    gather : function, ordinals (m,) -> vectors (m, d)
    """
    found, rows = Comparison(queries[1], k=k + 1), np.arange(len(queries[1]))
    for block in blocks:
        found.visit(rows, block)
    return finish(found.best, queries, everything, gather, k=k)


def finish(best: Candidates, block: Block, everything: Iterable[Block], gather: Gather, *, k: int) -> Lists:
    """Score exactly what is left of ``block``, rank its crowded rows again, keep the k best of each.

    A vector is not its own neighbour.
    """
    ordinals, X = block
    rows, columns, _ = best.entries()
    crowded = rows[columns == CROWDED]
    usable = (columns != CROWDED) & (columns != ordinals[rows])
    rows, columns = rows[usable], columns[usable]
    similarities = exact_similarities(X, rows, gather, columns)
    if len(crowded):
        more = search_crowded((ordinals[crowded], X[crowded]), everything, k=k)
        rows = np.concatenate([rows, crowded[more[0]]])
        columns, similarities = (np.concatenate(p) for p in ((columns, more[1]), (similarities, more[2])))
    return best_of_rows(rows, columns, similarities, n_rows=len(X), k=k)


def search_crowded(
    queries: Block, everything: Iterable[Block], *, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rank all of ``everything`` for each query in float64: rows, columns and similarities of the k best."""
    ordinals, Q = queries
    scores, ids = np.zeros((len(Q), 0), np.float32), np.zeros((len(Q), 0), np.int64)
    step = max(1, (64 << 20) // (12 * len(Q) + 8 * Q.shape[1]))  # columns at a time: some 64 MB
    for names, X in everything:
        for j in range(0, len(X), step):
            S = np.minimum(Q.astype(np.float64) @ X[j : j + step].T.astype(np.float64), 1)
            S[ordinals[:, None] == names[j : j + step]] = -np.inf
            fresh = np.broadcast_to(names[j : j + step], S.shape)
            scores = np.concatenate([scores, S.astype(np.float32)], axis=1)
            scores, ids = top_k(scores, np.concatenate([ids, fresh], axis=1), k)
    rows, ranks = np.nonzero(scores > -np.inf)
    return rows, ids[rows, ranks], scores[rows, ranks]


def best_of_rows(
    rows: np.ndarray, columns: np.ndarray, similarities: np.ndarray, *, n_rows: int, k: int
) -> Lists:
    """Keep the ``k`` best entries of each row by the tie rule.

    Parameters
    ----------
    rows, columns, similarities : ndarray, (m,)
        Entries in any order.

    Returns
    -------
    offsets : ndarray, (n_rows + 1,) int64
    columns, similarities : ndarray, (offsets[-1],)
        In rank order within a row.
    """
    if (np.diff(rows) < 0).any():
        order = np.argsort(rows, kind="stable")
        rows, columns, similarities = rows[order], columns[order], similarities[order]
    counts = np.bincount(rows, minlength=n_rows)
    starts = np.concatenate([[0], np.cumsum(counts)])
    offsets = np.concatenate([[0], np.cumsum(np.minimum(counts, k))])
    ranked: tuple[np.ndarray, np.ndarray] = rank_rows(starts, offsets, columns.astype(np.int64), similarities)
    return offsets, *ranked
