"""Conjugate gradient for a block of queries on the rows of one rank, the other ranks doing the same.

Float64. Each column has its own steps, a converged one no longer moves. An iteration exchanges the halo of
the direction and adds up two rows of dot products; all ranks get the same sums and so decide alike. At the
end the residual is computed from the scores; where it is larger than asked, iteration starts again from them
(as in `resight.diffusion.solve`).
"""

from typing import NamedTuple

import numpy as np

from resight.diffusion.partitioned.exchange import Exchange, sum_ranks
from resight.diffusion.partitioned.halo import RankGraph, swap_halo
from resight.diffusion.partitioned.keep import Iterate, Keep
from resight.diffusion.product import Passes
from resight.diffusion.solve import STALLED, measure_columns


class Entries(NamedTuple):
    """A rank's rows of the right-hand sides b of some queries, (m, s): the few entries that are not 0."""

    rows: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    shape: tuple[int, int]

    def add_to(self, X: np.ndarray) -> np.ndarray:
        """Add them to a block (m, s)."""
        np.add.at(X, (self.rows, self.columns), self.values)
        return X


class RankSystem(NamedTuple):
    """What is solved, how far, and with whom."""

    graph: RankGraph
    passes: Passes
    exchange: Exchange
    alpha: float
    tol: float
    limit: int

    def multiply(self, P: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Write ``P - alpha S P`` (m, s) for P (m + h, s), whose halo is filled; give ``P.out`` (s,)."""
        swap_halo(self.graph, P, self.exchange)
        return sum_ranks(self.exchange, self.passes.multiply(P, out, self.alpha))


def solve_block(
    system: RankSystem, B: Entries, block: int, keep: Keep
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Solve ``(I - alpha S) F = B`` together with the other ranks.

    Parameters
    ----------
    B : Entries, (m, s)
        This rank's rows; s is a power of two.
    block : int
        Names the files in ``keep``, where an earlier attempt may have left iterates.

    Returns
    -------
    F : ndarray, (m, s) float64
        This rank's rows of the scores.
    iterations : ndarray, (s,) int64
    residuals : ndarray, (s,) float64
        ``||b - (I - alpha S) f|| / ||b||`` over all ranks; 0 where b is zero.
    """
    norms = np.sqrt(sum_ranks(system.exchange, measure_columns(B.add_to(np.zeros(B.shape))) ** 2))
    at = agree(system.exchange, max(keep.numbers(block), default=0))
    iterate = keep.load(block, at, len(system.graph.halo)) if at else begin(system, B, norms)
    Q = np.zeros(B.shape)
    while iterate.is_open.any():
        iterate_block(system, iterate, Q, norms, block, keep)
        restart(system, iterate, B, norms)
    return iterate.F, iterate.steps, iterate.last


def agree(exchange: Exchange, mine: int) -> int:
    """Give the smallest number that a rank named: what all of them have."""
    return int(exchange.gather(np.array([mine])).min())


def begin(system: RankSystem, B: Entries, norms: np.ndarray) -> Iterate:
    """Start from zero scores."""
    R = B.add_to(np.zeros(B.shape))
    P = np.concatenate([R, np.zeros((len(system.graph.halo), B.shape[1]))])
    is_open = norms > 0
    zeros = np.zeros(B.shape[1], np.int64)
    return Iterate(np.zeros(B.shape), R, P, norms**2, zeros, is_open.astype(np.float64), is_open)


def iterate_block(
    system: RankSystem, x: Iterate, Q: np.ndarray, norms: np.ndarray, block: int, keep: Keep
) -> None:
    """Run conjugate gradient until the recurrence says that every open column has converged."""
    targets = system.tol * norms
    while True:
        moves = x.is_open & (np.sqrt(x.rho) > targets) & (x.steps < system.limit)
        if not moves.any():
            return
        pq = system.multiply(x.P, Q)
        t = np.divide(x.rho, pq, out=np.zeros_like(pq), where=moves & (pq > 0))
        new = sum_ranks(system.exchange, system.passes.descend(x.R, Q, t))
        beta = np.divide(new, x.rho, out=np.zeros_like(new), where=moves)
        system.passes.advance(x.F, x.P, x.R, t, beta)
        x.rho = np.where(moves, new, x.rho)
        x.steps += moves
        x.number += 1
        if keep.every and x.number % keep.every == 0:
            keep.save(block, x)


def restart(system: RankSystem, x: Iterate, B: Entries, norms: np.ndarray) -> None:
    """Compute the true residual; columns that are above the tolerance and still fall stay open."""
    m = len(x.F)
    x.P[:m] = x.F
    system.multiply(x.P, x.R)
    np.negative(x.R, out=x.R)
    B.add_to(x.R)
    x.rho = sum_ranks(system.exchange, measure_columns(x.R) ** 2)
    residuals = np.divide(np.sqrt(x.rho), norms, out=np.zeros_like(norms), where=norms > 0)
    falls = (residuals > system.tol) & (residuals <= STALLED * x.last) & (x.steps < system.limit)
    x.is_open, x.last = x.is_open & falls, residuals
    x.P[:m] = x.R
