"""Diffusion from every node ahead of time, and answers without a solve (decoupled diffusion).

The solution is linear in the observations, so ``f(y) = sum_j y_j f(e_j)``: row j of Z is the solution for the
unit observation of node j, restricted to a shortlist around j. It is exact when the shortlist holds all of
j's component (Yang et al., AAAI 2019; the shortlist slices S without renormalising it).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import scipy.sparse as sp

from resight.diffusion.lanes import LANES
from resight.diffusion.local import close_gaps, solve_seeds
from resight.knn.copies import pick_runs, to_offsets

PIECES = 4  # pieces of a block per thread: seeds differ in cost


class Shortlists(NamedTuple):
    """The nodes that take part in the system of each seed.

    ``seeds`` (b,) int64; ``offsets`` (b + 1,) int64 and ``ordinals`` (m,): the list of each, in any order;
    repeats count once. The seed takes part whether or not it is listed. Without lists all nodes take part.
    """

    seeds: np.ndarray
    offsets: np.ndarray | None = None
    ordinals: np.ndarray | None = None

    def list_of(self, i: int) -> np.ndarray:
        """Give the list of seed number ``i``; ValueError without lists."""
        if self.offsets is None or self.ordinals is None:
            raise ValueError("all nodes take part: there are no lists")
        return self.ordinals[self.offsets[i] : self.offsets[i + 1]]


class OfflineRows(NamedTuple):
    """Rows of Z, each by score descending, then ordinal ascending.

    ``seeds`` (b,) int64, ``offsets`` (b + 1,) int64, ``ordinals`` (m,) int64 and ``scores`` (m,) float64; a
    node that the seed does not reach has no entry. ``iterations`` (b,) int64; ``residuals`` (b,) float64:
    true relative residuals of the small systems.
    """

    seeds: np.ndarray
    offsets: np.ndarray
    ordinals: np.ndarray
    scores: np.ndarray
    iterations: np.ndarray
    residuals: np.ndarray


def solve_offline(  # noqa: PLR0913 - the options are those of a linear solver
    S: sp.csr_array,
    lists: Shortlists,
    *,
    alpha: float = 0.99,
    tol: float = 1e-6,
    max_iter: int = 20,
    depth: int | None = None,
    precision: Literal["float64", "float32"] = "float64",
    threads: int = 1,
) -> OfflineRows:
    """Solve ``(I - alpha S) z = (1 - alpha) e_j`` on the shortlist of every seed j.

    Memory is that of the result, at most ``depth`` entries a seed, and of one small system and a mark per
    node, 4 bytes (16 where lists are grown, see `resight.diffusion.reach`), for each thread, over a graph
    that may lie in mapped files: give seeds block by block.

    Parameters
    ----------
    S : csr_array, (n, n) float64
        Normalised affinity of the whole graph, see `resight.diffusion.normalize`.
    max_iter : int
        Steps of conjugate gradient. Ending before ``tol`` is normal: order settles long before the norm.
    depth : int, optional
        Best entries of a row that are kept; all without it.
    precision : {"float64", "float32"}
        Arithmetic of the iterations; the residual, in float64, is that of the scores either way.

    Raises
    ------
    ValueError
        A seed or a listed node is no row of ``S``, or a setting is out of range.
    """
    check_lists(S.shape[0], lists)
    if not (0 < alpha < 1 and max_iter >= 1 and threads >= 1 and (depth is None or depth >= 1)):
        raise ValueError(
            f"alpha {alpha}, max_iter {max_iter}, depth {depth}, threads {threads}: out of range"
        )
    rooms = to_offsets(count_rooms(S.shape[0], lists, depth))
    b = len(lists.seeds)
    out = (
        np.empty(rooms[-1], np.int64),
        np.empty(rooms[-1]),
        np.zeros(b, np.int64),
        np.zeros(b, np.int64),
        np.zeros(b),
    )
    limits = float(alpha), float(tol), int(max_iter), np.dtype(precision).type(0)
    graph = open_graph(S)
    with ThreadPoolExecutor(threads) as pool:
        tasks = [pool.submit(solve_seeds, graph, *piece) for piece in cut(lists, limits, rooms, out, threads)]
        for task in tasks:
            task.result()
    used = slice(close_gaps(rooms, out[2], out[0], out[1]))
    return OfflineRows(lists.seeds, to_offsets(out[2]), out[0][used], out[1][used], out[3], out[4])


def open_graph(S: sp.csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the arrays of ``S`` as the compiled loops take them, indices unsigned; nothing is copied."""
    unsigned = {4: np.uint32, 8: np.uint64}
    return S.indptr.view(unsigned[S.indptr.itemsize]), S.indices.view(unsigned[S.indices.itemsize]), S.data


def count_rooms(n: int, lists: Shortlists, depth: int | None) -> np.ndarray:
    """Bound the entries (b,) of every row."""
    full = np.full(len(lists.seeds), n) if lists.offsets is None else np.diff(lists.offsets) + 1
    return np.minimum(full, n if depth is None else depth)


def check_lists(n: int, lists: Shortlists) -> None:
    """Raise ValueError unless seeds and lists name rows of a graph of ``n`` nodes."""
    ordinals = lists.ordinals if lists.ordinals is not None else np.zeros(0, np.int64)
    for name, nodes in (("seeds", lists.seeds), ("lists", ordinals)):
        if len(nodes) and (nodes.min() < 0 or nodes.max() >= n):
            raise ValueError(f"{name} name nodes from {nodes.min()} to {nodes.max()}, the graph has {n}")
    if lists.offsets is not None and (
        len(lists.offsets) != len(lists.seeds) + 1 or lists.offsets[-1] != len(ordinals)
    ):
        raise ValueError(
            f"{len(lists.seeds)} seeds need {len(lists.seeds) + 1} offsets ending at {len(ordinals)}"
        )


def cut(lists: Shortlists, limits: tuple, rooms: np.ndarray, out: tuple, threads: int) -> Iterator[tuple]:
    """Yield the arguments of `solve_seeds` for pieces of a block; each writes its part of ``out``."""
    b, nothing = len(lists.seeds), np.zeros(0, np.int64)
    everything = lists.offsets is None
    offsets = np.zeros(b + 1, np.int64) if lists.offsets is None else lists.offsets
    ordinals = nothing if lists.ordinals is None else lists.ordinals.astype(np.int64, copy=False)
    n_pieces = threads * PIECES if threads > 1 else 1
    step = max(1, -(-b // (LANES * n_pieces))) * LANES
    bounds = [*range(0, b, step), b]
    for start, stop in pairwise(bounds):
        here = (lists.seeds[start:stop], offsets[start : stop + 1], ordinals, everything)
        yield here, limits, rooms[start : stop + 1], (out[0], out[1], *(o[start:stop] for o in out[2:]))


def answer_offline(rows: OfflineRows, Y: sp.csc_array) -> sp.csc_array:
    """Combine rows of Z to the diffusion of queries: ``F = sum_j Z[j] Y[j]``, (n, s), no solve.

    Parameters
    ----------
    rows : OfflineRows
        Rows of all nodes that ``Y`` observes, among others, in any order.
    Y : csc_array, (n, s) float64
        Observations, see `resight.diffusion.observe`.

    Raises
    ------
    ValueError
        An observed node has no row.
    """
    n = Y.shape[0]
    order = np.argsort(rows.seeds, kind="stable")
    observed = np.unique(Y.indices)
    at = np.searchsorted(rows.seeds, observed, sorter=order)
    found = np.append(rows.seeds[order], -1)[np.minimum(at, len(order))]
    if (found != observed).any():
        raise ValueError(f"no offline row for nodes {observed[found != observed][:5].tolist()}")
    entries, _ = pick_runs(rows.offsets, order[at])
    counts = np.diff(rows.offsets)[order[at]]
    packed = (rows.scores[entries], rows.ordinals[entries], to_offsets(counts))
    Z = sp.csc_array(packed, shape=(n, len(observed)))  # one column per observed node
    weights = sp.csc_array(
        (Y.data, np.searchsorted(observed, Y.indices), Y.indptr), (len(observed), Y.shape[1])
    )
    F = sp.csc_array(Z @ weights)
    F.sort_indices()
    return F
