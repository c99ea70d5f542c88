"""A sparse matrix times a block of vectors, and the other passes of conjugate gradient, on several threads.

This is where the time of diffusion goes: a pass reads each stored entry once and, for it, one row of the
block. The loops are those of `resight.diffusion.compiled`. Sums are taken over blocks of rows that depend on
the graph alone, in their order: results are the same to the last bit for any number of threads and any cut of
the columns.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp

from resight.diffusion.compiled import advance_blocks, descend_blocks, multiply_blocks

BLOCK_COST = 1 << 16  # entries, plus eight per row, of a block of rows
MAX_LANES = 32  # width of the widest pass


class Passes:
    """A sparse matrix cut into blocks of rows, and the two passes over it, shared among threads.

    Parameters
    ----------
    S : csr_array, (m, n) float64
        Rows in any order; for ``alpha`` the block's first m rows must be those that the rows of S stand for.
    dtype : float64 or float32
        Kind of the numbers in blocks of vectors; the entries of S are kept in it.
    threads : int
        Python threads that run the compiled passes; they need no lock.

    Use it in a ``with`` statement: it owns the threads.
    """

    def __init__(self, S: sp.csr_array, dtype: Any = np.float64, *, threads: int = 1) -> None:
        if S.nnz and not 0 <= S.indices.min() <= S.indices.max() < S.shape[1]:
            raise ValueError(f"column numbers must lie in [0, {S.shape[1]})")
        self.shape, self.dtype, self.threads = S.shape, np.dtype(dtype), threads
        kind = np.int32 if S.shape[1] <= np.iinfo(np.int32).max else np.int64
        indices, offsets = S.indices.astype(kind, copy=False), S.indptr.astype(np.int64, copy=False)
        self.graph = (S.data.astype(dtype, copy=False), indices, offsets)
        self.bounds = cut_rows(offsets)
        self.pool = ThreadPoolExecutor(threads - 1) if threads > 1 and len(self.bounds) > 2 else None

    def __enter__(self) -> "Passes":
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.shutdown()

    def multiply(self, P: np.ndarray, out: np.ndarray, alpha: float | None = None) -> np.ndarray:
        """Write ``S P`` to ``out``, or ``P - alpha S P`` and give ``P.out``, (lanes,) float64.

        Both blocks are (rows, lanes) of this object's dtype, lanes a power of two up to 32.
        """
        dots = np.zeros((len(self.bounds) - 1, 1, P.shape[1]))
        factor = None if alpha is None else self.dtype.type(alpha)
        graph, bounds, lanes = self.graph, self.bounds, (0,) * P.shape[1]
        self.share(lambda blocks: multiply_blocks(graph, P, out, dots, factor, bounds, blocks, lanes))
        return sum_blocks(dots)

    def descend(self, R: np.ndarray, Q: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Do ``R -= t Q``; give ``R.R``, (lanes,) float64."""
        return self.run_update(descend_blocks, (R, Q), t[np.newaxis])

    def advance(self, F: np.ndarray, P: np.ndarray, R: np.ndarray, t: np.ndarray, beta: np.ndarray) -> None:
        """Do ``F += t P`` and ``P = R + beta P``."""
        self.run_update(advance_blocks, (F, P, R), np.stack([t, beta]))

    def run_update(self, update: Any, vectors: tuple[np.ndarray, ...], steps: np.ndarray) -> np.ndarray:
        """Run one compiled update over all blocks of rows."""
        dots = np.zeros((len(self.bounds) - 1, 1, steps.shape[1]))
        steps, bounds, lanes = steps.astype(self.dtype), self.bounds, (0,) * steps.shape[1]
        self.share(lambda blocks: update(vectors, steps, dots, bounds, blocks, lanes))
        return sum_blocks(dots)

    def share(self, call: Callable[[tuple[int, int]], None]) -> None:
        """Call with consecutive ranges of the blocks, in this thread and the others."""
        n_blocks = len(self.bounds) - 1
        if self.pool is None:
            return call((0, n_blocks))
        n_ranges = max(4 * self.threads, min(16 * self.threads, n_blocks // 4))  # short: none waits long
        cuts = np.linspace(0, n_blocks, min(n_blocks, n_ranges) + 1).astype(int).tolist()
        queue = iter(list(pairwise(cuts)))
        others = [self.pool.submit(drain, queue, call) for _ in range(self.threads - 1)]
        drain(queue, call)
        for other in others:
            other.result()


def drain(queue: Iterator[tuple[int, int]], call: Callable[[tuple[int, int]], None]) -> None:
    """Call with what is left in a queue that several threads share."""
    for blocks in queue:
        call(blocks)


def cut_rows(offsets: np.ndarray) -> np.ndarray:
    """Cut rows into blocks of about equal cost; bounds (blocks + 1,) int64 that depend on the graph alone."""
    cost = offsets - offsets[0] + 8 * np.arange(len(offsets))
    bounds = np.searchsorted(cost, np.arange(0, cost[-1], BLOCK_COST))
    return np.unique(np.append(bounds, len(offsets) - 1))


def sum_blocks(dots: np.ndarray) -> np.ndarray:
    """Add up ``dots`` (blocks, 1, lanes) one after the other, whatever the width."""
    return np.cumsum(dots[:, 0], axis=0)[-1] if len(dots) else np.zeros(dots.shape[2])


def multiply(S: sp.csr_array, P: np.ndarray, *, threads: int = 1) -> np.ndarray:
    """Multiply ``S`` (m, n) with a block ``P`` (n, s) of any width; (m, s) in the dtype of P.

    float32 blocks are multiplied in float32, all others in float64.
    """
    if P.ndim != 2 or len(P) != S.shape[1]:
        raise ValueError(f"shapes do not fit: {S.shape} times {P.shape}")
    P = np.ascontiguousarray(P, np.float32 if P.dtype == np.float32 else np.float64)
    out = np.empty((S.shape[0], P.shape[1]), P.dtype)
    at = 0
    with Passes(S, P.dtype, threads=threads) as passes:
        while at < P.shape[1]:
            lanes = min(MAX_LANES, 1 << (P.shape[1] - at).bit_length() - 1)
            passes.multiply(P[:, at : at + lanes], out[:, at : at + lanes])
            at += lanes
    return out
