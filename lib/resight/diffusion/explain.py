"""Why an image was found: the chain of images that leads from the query to it.

Of all chains over stored edges that begin at a node the query observes, the one whose product of affinities,
the observation included, is the greatest: a shortest path by ``-log`` (Dijkstra), at most ``max_hops`` long.
"""

import heapq
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

QUERY = -1  # the source of the first hop
Rows = Callable[[int], tuple[np.ndarray, np.ndarray]]  # a node -> its neighbours (m,), their affinities (m,)


class Path(NamedTuple):
    """Hops of a chain, each array (h,): ordinals ``src`` and ``dst``, ``affinity``, ``product`` so far.

    The first hop leaves from the query, ``src`` -1; its affinity is the weight of the observation. Without
    a chain within the limits there are no hops.
    """

    src: np.ndarray
    dst: np.ndarray
    affinity: np.ndarray
    product: np.ndarray


def rows_of(A: sp.csr_array) -> Rows:
    """Give the rows of a matrix of affinities in memory."""
    bounds = A.indptr
    return lambda node: (
        A.indices[bounds[node] : bounds[node + 1]],
        A.data[bounds[node] : bounds[node + 1]],
    )


def explain_result(
    rows: Rows,
    support: np.ndarray,
    weights: np.ndarray,
    target: int,
    *,
    max_hops: int = 8,
    max_nodes: int = 10_000,
) -> Path:
    """Find the chain of greatest product from a query to the node ``target``.

    Parameters
    ----------
    rows : function, node -> neighbours (m,) int and affinities (m,) in (0, 1]
        Asked only for nodes that the search comes by, so that the graph may lie in files.
    support, weights : ndarray, (m,) int64 and float64
        What the query observes, see `resight.diffusion.observe`.
    max_hops : int
        Length of a chain, the hop from the query to its support included.
    max_nodes : int
        Nodes whose edges are followed before the search gives up.

    Raises
    ------
    ValueError
        An affinity on the way is not in (0, 1].
    """
    before: dict[tuple[int, int], int] = {}  # (node, hops) -> the node it was reached from
    fewest: dict[int, int] = {}  # hops of the cheapest way to a node found so far
    queue = [(-np.log(w), 1, int(node), QUERY) for node, w in zip(support, weights, strict=True) if w > 0]
    heapq.heapify(queue)
    n_followed = 0
    while queue and n_followed < max_nodes:
        cost, hops, node, source = heapq.heappop(queue)
        if hops >= fewest.get(node, max_hops + 1):
            continue  # there is a way that is neither dearer nor longer
        fewest[node], before[node, hops] = hops, source
        if node == target:
            observed = dict(zip(support.tolist(), weights.tolist(), strict=True))
            return trace(rows, observed, before, (node, hops))
        if hops < max_hops:
            n_followed += 1
            for dst, step in step_costs(rows, node):
                if hops + 1 < fewest.get(dst, max_hops + 1):
                    heapq.heappush(queue, (cost + step, hops + 1, dst, node))
    empty = np.zeros(0, np.int64)
    return Path(empty, empty, np.zeros(0), np.zeros(0))


def leave_from(path: Path, own: int) -> Path:
    """Let the chain of a query that is itself the node ``own`` begin there: no hop leads from it to itself.

    A chain that ends at ``own`` (the result is a copy of the query) is left as it is.
    """
    if len(path.dst) < 2 or path.dst[0] != own:
        return path
    src, affinity = np.append(QUERY, path.src[2:]), path.affinity[1:]
    return Path(src, path.dst[1:], affinity, np.cumprod(affinity))


def step_costs(rows: Rows, node: int) -> list[tuple[int, float]]:
    """List the neighbours of ``node`` and ``-log`` of their affinities."""
    neighbors, affinities = rows(node)
    if len(affinities) and not (affinities.min() > 0 and affinities.max() <= 1):
        raise ValueError(f"affinities of node {node} leave (0, 1]: products along paths would not fall")
    return list(zip(neighbors.tolist(), (-np.log(affinities)).tolist(), strict=True))


def trace(
    rows: Rows, observed: dict[int, float], before: dict[tuple[int, int], int], end: tuple[int, int]
) -> Path:
    """Follow the chain back from ``end`` (node, hops) to the query."""
    node, hops = end
    walked = []
    while node != QUERY:
        source = before[node, hops]
        walked.append((source, node, observed[node] if source == QUERY else affinity_of(rows, source, node)))
        node, hops = source, hops - 1
    src, dst, affinity = (np.array(column) for column in zip(*reversed(walked), strict=True))
    return Path(src, dst, affinity, np.cumprod(affinity))


def affinity_of(rows: Rows, src: int, dst: int) -> float:
    """Look up the affinity of an edge."""
    neighbors, affinities = rows(src)
    return float(affinities[np.flatnonzero(neighbors == dst)[0]])
