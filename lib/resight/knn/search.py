"""Ranking a collection for queries that are not of it, exactly."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from resight.knn.blocks import Block, Lists, search_blocks
from resight.knn.matrix import OpenVectors

SEARCH_BYTES = 256 << 20  # of candidates or scores that one chunk of queries may take
BLOCK_ROWS = 25_000


def search_collection(
    Q: np.ndarray, own: np.ndarray, X: OpenVectors, *, depth: int, allowed: np.ndarray | None = None
) -> Iterator[tuple[slice, Lists]]:
    """Rank the ``depth`` best vectors of the collection for every query; copies are ranked one by one.

    Parameters
    ----------
    Q : ndarray, (n, d) float32
        Unit queries.
    own : ndarray, (n,) int64
        Ordinal of the query in the collection, which is left out of its ranking; -1 where there is none.
    depth : int
        Length of a ranking; all of the collection where it is larger.
    allowed : ndarray, (n,) bool, optional
        By ordinal: which vectors are ranked; by default all.

    Yields
    ------
    The queries of a chunk, and their offsets, ordinals and similarities in rank order.
    """
    if Q.shape[1:] != (X.d,):
        raise ValueError(f"queries have shape {Q.shape}, the collection has {X.d} dimensions")
    depth = min(depth, X.n if allowed is None else int(allowed.sum()))
    everything = depth > X.n // 8
    n_bytes = 20 * X.n if everything else 16 * depth + 512
    step = max(1, SEARCH_BYTES // max(n_bytes, 1))
    for i in range(0, len(Q), step):
        chunk = slice(i, min(i + step, len(Q)))
        queries = (own[chunk], Q[chunk])
        if everything:
            yield chunk, rank_all(queries, X, depth=depth, allowed=allowed)
        else:
            stream = AllBlocks(X, allowed)
            yield chunk, search_blocks(queries, stream, stream, X.gather, k=depth)


@dataclass(frozen=True, eq=False)
class AllBlocks:
    """All vectors that are ``allowed`` (n,) bool, copies included, block by block."""

    X: OpenVectors
    allowed: np.ndarray | None = None

    def __iter__(self) -> Iterator[Block]:
        """Read the blocks from the first on."""
        for start in range(0, self.X.n, BLOCK_ROWS):
            stop = min(start + BLOCK_ROWS, self.X.n)
            block = self.X.rows(start, stop)
            if self.allowed is None:
                yield np.arange(start, stop), block
            else:
                kept = np.flatnonzero(self.allowed[start:stop])
                yield start + kept, block[kept]


def rank_all(queries: Block, X: OpenVectors, *, depth: int, allowed: np.ndarray | None = None) -> Lists:
    """Sort the whole collection for each query; similarities are summed in float64."""
    own, Q = queries
    S = np.full((len(Q), X.n), -np.inf, np.float32)
    for ordinals, block in AllBlocks(X, allowed):
        scores = Q.astype(np.float64) @ block.T.astype(np.float64)
        S[:, ordinals] = np.minimum(scores, 1.0)
    S[np.flatnonzero(own >= 0), own[own >= 0]] = -np.inf
    order = np.argsort(-S, axis=1, kind="stable")  # stable: equal scores stay in the order of ids
    left_out = own >= 0 if allowed is None else (own >= 0) & allowed[own]
    n_ranked = X.n if allowed is None else int(allowed.sum())
    counts = np.minimum(n_ranked - left_out, depth)
    kept = np.arange(X.n) < counts[:, None]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return offsets, order[kept], np.take_along_axis(S, order, 1)[kept]
