"""Conjugate gradient for a block of queries on the rows of one rank, the other ranks doing the same.

Each column has its own steps; one that has converged no longer moves, and once half of the columns have, the
block is narrowed to the others, in memory and in what is exchanged. An iteration exchanges the halo of the
direction and adds up two rows of dot products; all ranks get the same sums and so decide alike. At the end
the residual is computed from the scores in float64; where it is larger than asked, iteration starts again
from them, which is how float32 reaches the residual of float64 (as in `resight.diffusion.solve`).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from resight.diffusion.compiled import add_columns, narrow_rows, pick_columns
from resight.diffusion.partitioned.exchange import Exchange, sum_ranks
from resight.diffusion.partitioned.halo import RankGraph, swap_halo
from resight.diffusion.partitioned.keep import Iterate, Keep
from resight.diffusion.product import Passes
from resight.diffusion.solve import FLOAT32_FLOOR, STALLED, measure_columns, round_up


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


@dataclass
class RankSystem:
    """What is solved, how far, and with whom: passes in float64 and in the precision of the iterations."""

    graph: RankGraph
    exact: Passes
    fast: Passes
    exchange: Exchange
    alpha: float
    tol: float
    limit: int

    def multiply(self, P: np.ndarray, out: np.ndarray) -> np.ndarray:
        """Write ``P - alpha S P`` (m, lanes) for P (m + h, lanes), fill its halo; give ``P.out`` (lanes,)."""
        swap_halo(self.graph, P, self.exchange)
        passes = self.exact if P.dtype == self.exact.dtype else self.fast
        return sum_ranks(self.exchange, passes.multiply(P, out, self.alpha))


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
    x = keep.load(block, at, len(system.graph.halo)) if at else begin(system, B, norms)
    while (x.lane >= 0).any():
        iterate_block(system, x, norms, block, keep)
        restart(system, x, B, norms)
    return x.F, x.steps, x.last


def agree(exchange: Exchange, mine: int) -> int:
    """Give the smallest number that a rank named: what all of them have."""
    return int(exchange.gather(np.array([mine])).min())


def begin(system: RankSystem, B: Entries, norms: np.ndarray) -> Iterate:
    """Start from zero scores."""
    s, nothing = B.shape[1], np.zeros((0, 0))
    steps, lane = np.zeros(s, np.int64), np.full(s, -1)
    last = (norms > 0).astype(np.float64)
    x = Iterate(np.zeros(B.shape), nothing, nothing, nothing, np.zeros(s), steps, last, lane, np.ones(s))
    open_lanes(system, x, B.add_to(np.zeros(B.shape)), norms, norms > 0)
    return x


def open_lanes(
    system: RankSystem, x: Iterate, R: np.ndarray, lengths: np.ndarray, is_open: np.ndarray
) -> None:
    """Begin a correction of some columns of ``x.F``: from zero, for their residuals R, of these lengths."""
    columns, h = np.flatnonzero(is_open), len(system.graph.halo)
    lanes, dtype = round_up(len(columns)) if len(columns) else 0, system.fast.dtype
    x.lane[:] = -1
    x.lane[columns] = np.arange(len(columns))
    x.scale[columns] = np.exp2(np.ceil(np.log2(lengths[columns])))  # a power of two: it loses no bit
    x.rho[columns] = (lengths[columns] / x.scale[columns]) ** 2
    x.r = np.zeros((len(R), lanes), dtype)
    if lanes:
        pick_columns(R, columns, 1 / x.scale[columns], x.r)
    x.p = np.concatenate([x.r, np.zeros((h, lanes), dtype)])
    x.f = np.zeros_like(x.r)


def iterate_block(system: RankSystem, x: Iterate, norms: np.ndarray, block: int, keep: Keep) -> None:
    """Run conjugate gradient until the recurrence says that every column with a lane has converged."""
    targets, q = system.tol * norms / x.scale, np.zeros_like(x.r)
    if system.fast.dtype == np.float32:
        targets = np.maximum(targets, FLOAT32_FLOOR)
    while True:
        moves = (x.lane >= 0) & (np.sqrt(x.rho) > targets) & (x.steps < system.limit)
        if 2 * moves.sum() <= x.r.shape[1]:
            settle(x, (x.lane >= 0) & ~moves)
            if not moves.any():
                return
            narrow(x)
            q = np.zeros_like(x.r)
        take_step(system, x, q, moves)
        if keep.every and x.number % keep.every == 0:
            keep.save(block, x)


def take_step(system: RankSystem, x: Iterate, q: np.ndarray, moves: np.ndarray) -> None:
    """Do one iteration for the columns that move."""
    columns = np.flatnonzero(moves)
    lanes = x.lane[columns]
    rho = np.zeros(x.r.shape[1])
    rho[lanes] = x.rho[columns]
    pq = system.multiply(x.p, q)
    t = np.divide(rho, pq, out=np.zeros_like(pq), where=pq > 0)
    new = sum_ranks(system.exchange, system.fast.descend(x.r, q, t))
    system.fast.advance(x.f, x.p, x.r, t, np.divide(new, rho, out=np.zeros_like(new), where=rho > 0))
    x.rho[columns] = new[lanes]
    x.steps += moves
    x.number += 1


def settle(x: Iterate, leaving: np.ndarray) -> None:
    """Add the corrections of some columns to their scores; they give up their lanes."""
    columns = np.flatnonzero(leaving)
    if len(columns):
        add_columns(x.F, columns, x.f, x.lane[columns], x.scale[columns])
        x.lane[columns] = -1


def narrow(x: Iterate) -> None:
    """Close the gaps between the lanes that are taken."""
    columns = np.flatnonzero(x.lane >= 0)
    kept, lanes = x.lane[columns], round_up(len(columns))
    for name in ("f", "r", "p"):
        wide = getattr(x, name)
        flat = wide.reshape(-1)
        narrow_rows(flat, wide.shape[1], kept, lanes)
        setattr(x, name, flat[: len(wide) * lanes].reshape(len(wide), lanes))
    x.lane[columns] = np.arange(len(columns))


def restart(system: RankSystem, x: Iterate, B: Entries, norms: np.ndarray) -> None:
    """Compute the true residual; columns that are above the tolerance and still fall are opened again."""
    x.f = x.r = x.p = np.zeros((0, 0))  # their memory serves the residual
    P = np.concatenate([x.F, np.zeros((len(system.graph.halo), x.F.shape[1]))])
    R = np.empty_like(x.F)
    system.multiply(P, R)
    del P
    np.negative(R, out=R)
    B.add_to(R)
    lengths = np.sqrt(sum_ranks(system.exchange, measure_columns(R) ** 2))
    residuals = np.divide(lengths, norms, out=np.zeros_like(norms), where=norms > 0)
    falls = (residuals > system.tol) & (residuals <= STALLED * x.last) & (x.steps < system.limit)
    x.last = residuals
    open_lanes(system, x, R, lengths, falls)
