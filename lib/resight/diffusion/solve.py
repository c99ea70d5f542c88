"""Conjugate gradient for many right-hand sides together (Iscen et al., CVPR 2017, section 3.3).

Each column has its own steps; a column that has converged no longer moves, and once half of a block of
columns has, the block is narrowed to the others. What counts as converged is the residual of the scores
themselves, computed in float64 at the end; where it is larger than asked, the columns go on from it
(iterative refinement), which is also how float32 passes reach the residual of float64.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse as sp

from resight.diffusion.compiled import LINE, add_columns, narrow_rows, pick_columns
from resight.diffusion.product import Passes

BLOCK_LANES = {"float64": 16, "float32": 32}  # columns solved together: rows of 128 bytes
FLOAT32_FLOOR = 1e-6  # no use in a smaller residual by float32 before it is computed afresh
STALLED = 0.5  # a refinement that leaves more than this of a residual was the last


class Solution(NamedTuple):
    """Scores of s queries and how well each solves its system.

    ``F`` (n, s) float64. ``iterations`` (s,) int64: products with S in conjugate gradient. ``residuals`` (s,)
    float64: ``||b - (I - alpha S) f|| / ||b||`` of the column returned, in float64; 0 where b is zero.
    ``converged`` (s,) bool: residual at most ``tol``.
    """

    F: np.ndarray
    iterations: np.ndarray
    residuals: np.ndarray
    converged: np.ndarray


def bound_iterations(alpha: float, tol: float) -> int:
    """Count the iterations that always suffice, the eigenvalues lying in [1 - alpha, 1 + alpha].

    With ``c = (1 + alpha) / (1 - alpha)`` the residual after t iterations is at most ``2 sqrt(c) ((sqrt(c) -
    1) / (sqrt(c) + 1))^t`` of the first (Saad 2003, eq. 6.128); 121 for alpha = 0.99 and tol = 1e-6.
    """
    root = math.sqrt((1 + alpha) / (1 - alpha))
    if root == 1 or tol >= 2 * root:
        return 1
    return math.ceil(math.log(2 * root / tol) / -math.log((root - 1) / (root + 1)))


def solve_diffusion(  # noqa: PLR0913 - the options are those of a linear solver
    S: sp.csr_array,
    Y: np.ndarray | sp.sparray,
    *,
    alpha: float = 0.99,
    tol: float = 1e-6,
    max_iter: int | None = None,
    start: np.ndarray | None = None,
    precision: Literal["float64", "float32"] = "float64",
    threads: int = 1,
) -> Solution:
    """Solve ``(I - alpha S) F = (1 - alpha) Y`` for all columns of Y.

    Parameters
    ----------
    S : csr_array, (n, n) float64
        Normalised affinity: symmetric, eigenvalues in [-1, 1]. Neighbours close in number make it fast
        (`resight.diffusion.order`).
    Y : ndarray or sparse array, (n, s)
        Observations, one column per query; zero columns give zeros.
    alpha : float
        Weight of the neighbours, at least 0 and below 1.
    tol : float
        Largest relative residual of a column that has converged.
    max_iter : int, optional
        Most iterations of a column. The default is a little over twice `bound_iterations`, which no sound
        system reaches: scores are then those of the exact solution on every path. The paper stops after 20,
        at a third of the cost, which leaves a residual of some 1e-2 and ranks nearly the same.
    start : ndarray, (n, s), optional
        Where the iteration starts, zeros by default.
    precision : {"float64", "float32"}
        Arithmetic of the iterations; the residual reached is the same.
    threads : int
        Threads to use; results do not depend on them, nor on which columns are solved together.

    Returns
    -------
    Solution
        A column that does not converge is no error: it is returned as far as it came.

    Raises
    ------
    ValueError
        Shapes that do not fit, alpha or tol out of range, values that are not finite.
    """
    check_system(S, Y, start, alpha=alpha, tol=tol)
    if precision not in BLOCK_LANES:
        raise ValueError(f"precision must be one of {', '.join(BLOCK_LANES)}, got {precision!r}")
    n, s = Y.shape
    limit = 2 * bound_iterations(alpha, tol) + 10 if max_iter is None else max_iter
    solution = Solution(np.empty((n, s)), np.zeros(s, np.int64), np.zeros(s), np.zeros(s, bool))
    columns = sp.csc_array(Y) if sp.issparse(Y) else np.asarray(Y)
    step = BLOCK_LANES[precision]
    with open_system(S, alpha, tol, limit, precision=precision, threads=threads) as system:
        for first in range(0, s, step):
            some = slice(first, first + step)
            B = read_columns(columns, some) * (1 - alpha)
            F = np.zeros_like(B) if start is None else read_columns(start, some)
            iterations, residuals = solve_block(system, B, F, is_started=start is not None)
            for whole, part in zip(solution, (F, iterations, residuals, residuals <= tol), strict=True):
                whole[..., some] = part[..., : s - first]
    return solution


class System(NamedTuple):
    """What is solved, and how far: passes in float64 and in the precision of the iterations."""

    exact: Passes
    fast: Passes
    alpha: float
    tol: float
    limit: int


@contextmanager
def open_system(
    S: sp.csr_array, alpha: float, tol: float, limit: int, *, precision: str, threads: int
) -> Iterator[System]:
    """Hold the passes and their threads."""
    with Passes(S, np.float64, threads=threads) as exact:
        if precision == "float64":
            yield System(exact, exact, alpha, tol, limit)
        else:
            with Passes(S, np.float32, threads=threads) as fast:
                yield System(exact, fast, alpha, tol, limit)


def check_system(
    S: sp.csr_array, Y: np.ndarray | sp.sparray, start: np.ndarray | None, *, alpha: float, tol: float
) -> None:
    """Raise ValueError where the arguments make no system."""
    if not 0 <= alpha < 1 or not tol > 0:
        raise ValueError(f"alpha must lie in [0, 1) and tol be positive, got {alpha} and {tol}")
    if Y.ndim != 2 or S.shape != (Y.shape[0], Y.shape[0]):
        raise ValueError(f"shapes do not fit: S {S.shape}, Y {Y.shape}")
    if start is not None and start.shape != Y.shape:
        raise ValueError(f"shapes do not fit: start {start.shape}, Y {Y.shape}")
    parts = [S.data, Y.data if sp.issparse(Y) else Y, [] if start is None else start]
    if not all(np.isfinite(part).all() for part in parts):
        raise ValueError("S, Y and start must be finite")


def read_columns(columns: np.ndarray | sp.sparray, some: slice) -> np.ndarray:
    """Copy some columns to a float64 block of their own, filled with zero columns to a power of two."""
    part = columns[:, some]
    block = np.zeros((part.shape[0], round_up(part.shape[1])))
    block[:, : part.shape[1]] = part if isinstance(part, np.ndarray) else part.toarray()
    return block


def round_up(s: int) -> int:
    """Smallest power of two that is at least ``s``."""
    return 1 << (s - 1).bit_length()


def measure_columns(X: np.ndarray) -> np.ndarray:
    """Euclidean length of every column."""
    return np.sqrt(np.einsum("ns,ns->s", X, X))


def solve_block(
    system: System, B: np.ndarray, F: np.ndarray, *, is_started: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Move F (n, lanes) from where it is to the solution for B; give iterations and residuals, (lanes,)."""
    norms = measure_columns(B)
    F[:, norms == 0] = 0.0
    R = find_residual(system, B, F) if is_started else B
    iterations, last = np.zeros(len(norms), np.int64), np.full(len(norms), np.inf)
    while True:
        residuals = np.divide(measure_columns(R), norms, out=np.zeros_like(norms), where=norms > 0)
        is_open = (residuals > system.tol) & (residuals <= STALLED * last) & (iterations < system.limit)
        if not is_open.any():
            return iterations, residuals
        last = residuals
        targets, limits = (system.tol * norms)[is_open], system.limit - iterations[is_open]
        iterations[is_open] += correct(system, F, R, np.flatnonzero(is_open), targets, limits)
        R = find_residual(system, B, F)


def find_residual(system: System, B: np.ndarray, F: np.ndarray) -> np.ndarray:
    """Compute ``B - (I - alpha S) F`` in float64."""
    R = np.empty_like(F)
    system.exact.multiply(F, R, system.alpha)
    return np.subtract(B, R, out=R)


def correct(
    system: System, F: np.ndarray, R: np.ndarray, columns: np.ndarray, targets: np.ndarray, limits: np.ndarray
) -> np.ndarray:
    """Add to some columns of F the solution for their residuals R; give iterations (len(columns),)."""
    dtype, s = system.fast.dtype, len(columns)
    scale = np.exp2(np.ceil(np.log2(measure_columns(R)[columns])))  # a power of two: scaling loses no bit
    r = np.zeros((len(R), round_up(s)), dtype)
    pick_columns(R, columns, 1 / scale, r)
    targets = targets / scale
    if dtype == np.float32:
        targets = np.maximum(targets, FLOAT32_FLOOR)
    iterations = np.zeros(s, np.int64)
    for done, f, lanes, steps in descend(system.fast, system.alpha, r, targets, limits):
        add_columns(F, columns[done], f, lanes, scale[done])
        iterations[done] = steps
    return iterations


def descend(
    passes: Passes, alpha: float, r: np.ndarray, targets: np.ndarray, limits: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Run conjugate gradient from zero on ``(I - alpha S) f = r``.

    Parameters
    ----------
    r : ndarray, (n, lanes)
        Right-hand sides, then zero columns; overwritten.
    targets, limits : ndarray, (s,), s <= lanes
        Residual to reach and most iterations, per column.

    Yields
    ------
    columns (j,), f (n, lanes), lanes (j,), steps (j,)
        Columns that leave the block, each once: their numbers, their places in f, their iterations.
    """
    columns, steps = np.arange(len(targets)), np.zeros(len(targets), np.int64)
    f, p, q = np.zeros_like(r), r.copy(), np.zeros_like(r)
    rho = passes.descend(r, q, np.zeros(r.shape[1]))
    while True:
        is_active = (np.sqrt(rho[: len(columns)]) > targets) & (steps < limits)
        if not is_active.any():
            yield columns, f, np.arange(len(columns)), steps
            return
        if 2 * is_active.sum() <= r.shape[1] and r.strides[0] > LINE:
            yield columns[~is_active], f, np.flatnonzero(~is_active), steps[~is_active]
            columns, targets, limits, steps = (x[is_active] for x in (columns, targets, limits, steps))
            kept = np.flatnonzero(is_active)
            f, r, p, q = (narrow(x, kept) for x in (f, r, p, q))
            rho = pad(rho[kept], r.shape[1])
            is_active = np.ones(len(columns), bool)
        moves = pad(is_active, r.shape[1])
        pq = passes.multiply(p, q, alpha)
        t = np.divide(rho, pq, out=np.zeros_like(rho), where=moves & (pq > 0))
        new = passes.descend(r, q, t)
        passes.advance(f, p, r, t, np.divide(new, rho, out=np.zeros_like(rho), where=moves))
        rho = np.where(moves, new, rho)
        steps += is_active


def pad(x: np.ndarray, lanes: int) -> np.ndarray:
    """Append zeros up to ``lanes``."""
    return np.append(x, np.zeros(lanes - len(x), x.dtype))


def narrow(x: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Keep some columns of a block, and zero columns up to a power of two that fills a line of memory.

    The block returned lies in the memory of ``x``, which is lost.
    """
    lanes = max(round_up(len(kept)), LINE // x.itemsize)
    narrow_rows(x.reshape(-1), x.shape[1], kept, lanes)
    return x.reshape(-1)[: len(x) * lanes].reshape(len(x), lanes)
