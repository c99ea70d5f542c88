"""Exact nearest neighbours: one matrix product per pair of blocks, the k best of both sides.

``X_i X_j^T`` holds the similarities of block i to block j and, transposed, of j to i, so only blocks
``i <= j`` are visited: half the arithmetic of a search of X in X. A task takes a strip, block i against all
``j >= i``; `merge_partials` joins what the strips found for one block.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from resight.knn.candidates import CROWDED, Candidates, Gather, exact_similarities, push_tile
from resight.topk import top_k

TILE_ROWS, TILE_COLUMNS = 2000, 5000  # one product: 40 MB of scores

Block = tuple[np.ndarray, np.ndarray]  # ordinals (n,) int64 ascending, vectors (n, d) float32
Lists = tuple[np.ndarray, np.ndarray, np.ndarray]  # offsets (n + 1,), columns, similarities in rank order
Entries = tuple[np.ndarray, np.ndarray, np.ndarray]  # rows, columns, scores, each (m,)


class Side(NamedTuple):
    """One side of a tile: the candidates, which of their rows it covers, and the ordinals of these rows."""

    best: Candidates
    rows: np.ndarray
    names: np.ndarray


def side_of(best: Candidates, start: int, names: np.ndarray) -> Side:
    """Make the side of consecutive rows from ``start`` on."""
    return Side(best, np.arange(start, start + len(names)), names)


class Tile:
    """Buffers of one product, reused: fresh ones would cost more in page faults than the comparison."""

    def __init__(self, rows: int = TILE_ROWS, columns: int = TILE_COLUMNS) -> None:
        self.scores = np.empty(rows * columns, np.float32)
        self.masks = np.zeros((2, rows * columns + 8), bool)

    def multiply(self, A: np.ndarray, B: np.ndarray) -> np.ndarray:
        """Scores (n, m) of rows ``A`` (n, d) against rows ``B`` (m, d); valid until the next call."""
        n, m = len(A), len(B)
        return np.matmul(A, B.T, out=self.scores[: n * m].reshape(n, m))

    def find_words(self, S: np.ndarray, low: np.ndarray, high: np.ndarray | None) -> np.ndarray:
        """Find flat positions, divided by eight, where ``S`` (n, m) may reach a threshold.

        ``low`` (n,) are the thresholds of the rows, ``high`` (m,) those of the columns. Hits are rare:
        looking at eight entries as one word costs an eighth.
        """
        flat, other = self.masks[:, : -(-S.size // 8) * 8]
        flat[S.size :] = False
        mask = flat[: S.size].reshape(S.shape)
        np.greater_equal(S, low[:, None], out=mask)
        if high is not None:
            second = np.greater_equal(S, high, out=other[: S.size].reshape(S.shape))
            np.logical_or(mask, second, out=mask)
        return np.flatnonzero(flat.view(np.uint64))


def scan(S: np.ndarray, tile: Tile, left: Side, right: Side, *, both: bool) -> None:
    """Offer scores ``S`` (n, m) to the candidates of its rows and, with ``both``, of its columns."""
    left.best.seed(left.rows, S)
    low, high = left.best.thresholds[left.rows], None
    if both:
        right.best.seed(right.rows, S.T)
        high = right.best.thresholds[right.rows]
    words = tile.find_words(S, low, high)
    for side, other, by_column in ((left, right, False), (right, left, True))[: 1 + both]:
        best, where = side.best, (side.rows, other.names)
        push_tile(words, S, by_column, best.state, where, best.k, best.slack)


def search_strip(blocks: Iterable[Block], *, k: int) -> Iterator[Candidates]:
    """Compare the first of ``blocks`` with itself and with every later one.

    Yields the candidates that each later block has in the first one, in order, and at the end those of the
    first block. A vector is not its own candidate.
    """
    stream, tile = iter(blocks), Tile()
    first = next(stream)
    best = Candidates(len(first[1]), k, d=first[1].shape[1])
    search_within(first, best, tile)
    for block in stream:
        found = Candidates(len(block[1]), k, d=block[1].shape[1])
        search_pair(first, block, (best, found), tile)
        yield found
    yield best


def search_within(block: Block, best: Candidates, tile: Tile) -> None:
    """Offer a block to itself: squares along the diagonal, then what lies right of them, both ways."""
    a, A = block
    for i in range(0, len(a), TILE_ROWS):
        rows = slice(i, i + TILE_ROWS)
        square = tile.multiply(A[rows], A[rows])
        np.fill_diagonal(square, -np.inf)
        side = side_of(best, i, a[rows])
        scan(square, tile, side, side, both=False)
        for j in range(i + TILE_ROWS, len(a), TILE_COLUMNS):
            later = slice(j, j + TILE_COLUMNS)
            S = tile.multiply(A[rows], A[later])
            scan(S, tile, side, side_of(best, j, a[later]), both=True)


def search_pair(left: Block, right: Block, tops: tuple[Candidates, Candidates], tile: Tile) -> None:
    """Offer two different blocks to each other; ``tops`` are the candidates of their rows."""
    (a, A), (b, B) = left, right
    for i in range(0, len(a), TILE_ROWS):
        rows = slice(i, i + TILE_ROWS)
        for j in range(0, len(b), TILE_COLUMNS):
            columns = slice(j, j + TILE_COLUMNS)
            S = tile.multiply(A[rows], B[columns])
            scan(S, tile, side_of(tops[0], i, a[rows]), side_of(tops[1], j, b[columns]), both=True)


def merge_partials(
    block: Block, partials: Iterable[Entries], everything: Iterable[Block], gather: Gather, *, k: int
) -> Lists:
    """Join the partial lists of one block into its exact ``k`` best.

    Parameters
    ----------
    block : ordinals (n,) int64, vectors (n, d) float32
    partials : iterable of (rows, columns, scores)
        `Candidates.entries` of all strips that the block took part in.
    everything : iterable of blocks
        All vectors; visited only where rows are crowded.
    gather : function, ordinals (m,) -> vectors (m, d)
    """
    best = Candidates(len(block[1]), k, d=block[1].shape[1])
    for rows, columns, scores in partials:
        best.offer(rows, columns, scores)
    return finish(best, block, everything, gather, k=k)


def search_blocks(
    queries: Block, blocks: Iterable[Block], everything: Iterable[Block], gather: Gather, *, k: int
) -> Lists:
    """Search queries in a stream of ``blocks``: the exact ``k`` best; a query's own ordinal is left out."""
    best, tile = Candidates(len(queries[1]), k + 1, d=queries[1].shape[1]), Tile()
    for ordinals, X in blocks:
        for j in range(0, len(X), TILE_COLUMNS):
            for i in range(0, len(best.counts), TILE_ROWS):
                S = tile.multiply(queries[1][i : i + TILE_ROWS], X[j : j + TILE_COLUMNS])
                side = side_of(best, i, queries[0][i : i + TILE_ROWS])
                scan(S, tile, side, side_of(best, 0, ordinals[j : j + TILE_COLUMNS]), both=False)
    return finish(best, queries, everything, gather, k=k)


def finish(best: Candidates, block: Block, everything: Iterable[Block], gather: Gather, *, k: int) -> Lists:
    """Score exactly what is left of ``block``, search its crowded rows again, keep the k best of each.

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


def search_crowded(queries: Block, everything: Iterable[Block], *, k: int) -> Entries:
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

    Returns
    -------
    offsets : ndarray, (n_rows + 1,) int64
    columns, similarities : ndarray, (offsets[-1],)
        In rank order within a row.
    """
    order = np.lexsort((columns, -similarities, rows))
    counts = np.bincount(rows, minlength=n_rows)
    starts = np.cumsum(counts) - counts
    kept = order[np.arange(len(rows)) - np.repeat(starts, counts) < k]
    offsets = np.concatenate([[0], np.cumsum(np.minimum(counts, k))])
    return offsets, columns[kept], similarities[kept]
