"""Shortlists out of the graph itself: the nodes that a short walk from a seed visits most.

Lists of nearest neighbours are as short as the graph was built with and hold nodes that no path leads to; a
walk finds as many nodes as are asked for, all of them reachable.
"""

from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import scipy.sparse as sp

from resight.diffusion.local import UNSEEN
from resight.diffusion.offline import PIECES, Shortlists, open_graph
from resight.diffusion.sort import sort_best
from resight.knn.copies import to_offsets


# ruff: noqa: ANN001, ANN201
def spread_loop(graph, begin, n, state):  # type: ignore[no-untyped-def]
    """Spread the mass of the nodes ``begin:n`` over their unseen neighbours; returns the new count."""
    indptr, indices, data = graph
    position, order, mass = state
    end = n
    for head in range(begin, end):
        for e in range(indptr[order[head]], indptr[order[head] + 1]):
            node = indices[e]
            if position[node] == UNSEEN:
                position[node], order[n], mass[n] = n, node, 0.0
                n += 1
            if position[node] >= end:
                mass[position[node]] += mass[head] * data[e]
    return n


spread = numba.njit(cache=True, nogil=True)(spread_loop)


def grow_loop(graph, seeds, size, marked, result):  # type: ignore[no-untyped-def]
    """Write up to ``size`` nodes per seed; ``result``: nodes (b, size), counts (b,), meets (b,)."""
    out, counts, meets = result
    n_nodes = graph[0].size - 1
    position = np.full(n_nodes, UNSEEN, np.int32)
    order, mass = np.empty(n_nodes, np.uint32), np.empty(n_nodes)
    state = (position, order, mass)
    for s in range(seeds.size):
        order[0], mass[0], position[seeds[s]] = seeds[s], 1.0, 0
        begin, n = 0, 1
        while begin < n < size:
            end = n
            n = spread(graph, begin, end, state)
            begin = end
        kept = min(n, size)
        out[s, :begin] = order[:begin]
        best = sort_best(mass[begin:n], order[begin:n])  # the last hop may be too large: its heaviest
        for i in range(begin, kept):
            out[s, i] = order[begin + best[i - begin]]
        for i in range(n):
            position[order[i]] = UNSEEN
            meets[s] |= marked.size > 0 and marked[order[i]]
        counts[s] = kept


grow = numba.njit(cache=True, nogil=True)(grow_loop)


def grow_lists(S: sp.csr_array, seeds: np.ndarray, *, size: int, threads: int = 1) -> Shortlists:
    """List up to ``size`` nodes around each of ``seeds`` (b,) int64, the seed first.

    Nodes join hop by hop. Of the hop that would exceed ``size`` those join that receive most of the seed's
    mass by way of the hops before, ties by ordinal. A smaller component is listed whole.

    Raises
    ------
    ValueError
        ``size`` is below 1 or a seed is no row of ``S``.
    """
    return grow_marked(S, seeds, np.zeros(0, bool), size=size, threads=threads)[0]


def grow_marked(
    S: sp.csr_array, seeds: np.ndarray, marked: np.ndarray, *, size: int, threads: int = 1
) -> tuple[Shortlists, np.ndarray]:
    """Do what `grow_lists` does; say also which walks (b,) bool came by a ``marked`` (n,) bool node.

    A walk comes by nodes that it does not list: the light ones of its last hop.
    """
    n = S.shape[0]
    if size < 1 or (len(seeds) and (seeds.min() < 0 or seeds.max() >= n)):
        raise ValueError(f"size {size}, seeds of a graph of {n} nodes: out of range")
    size = min(size, n)
    out, counts = np.empty((len(seeds), size), np.int32), np.zeros(len(seeds), np.int64)
    meets = np.zeros(len(seeds), bool)
    pieces = np.array_split(np.arange(len(seeds)), threads * PIECES if threads > 1 else 1)
    graph = open_graph(S)
    with ThreadPoolExecutor(threads) as pool:
        spans = [slice(i[0], i[-1] + 1) for i in pieces if len(i)]
        results = [(out[p], counts[p], meets[p]) for p in spans]
        tasks = [
            pool.submit(grow, graph, seeds[p], size, marked, r) for p, r in zip(spans, results, strict=True)
        ]
        for task in tasks:
            task.result()
    listed = out[np.arange(size) < counts[:, None]].astype(np.int64)
    return Shortlists(seeds, to_offsets(counts), listed), meets
