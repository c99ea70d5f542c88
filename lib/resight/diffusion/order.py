"""An order of the nodes in which neighbours lie close together, so that caches and partitions hold them.

A graph of neighbours is a small world: a few links between distant cells make the levels of reverse
Cuthill-McKee so wide that little of its order is local. Cells that merge upwards keep what is local at every
scale: each cell joins the neighbour that it is tied to most, given their sizes (Boruvka's algorithm on the
weights that modularity compares; the order by the resulting tree is that of Arai et al., "Rabbit order",
IPDPS 2016). The last cells are the connected components.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components


def order_nodes(A: sp.csr_array, component: np.ndarray | None = None) -> np.ndarray:
    """Order nodes by component, and inside by cells of cells.

    Parameters
    ----------
    A : csr_array, (n, n)
        Symmetric, non-negative; affinity or its normalised form.
    component : ndarray, (n,) int, optional
        Component of each node where it is known; components come in the order of these numbers, otherwise in
        that of their first nodes.

    Returns
    -------
    order : ndarray, (n,) int64
        Old number of the node at each new place.
    """
    cell = np.arange(A.shape[0], dtype=np.int32 if A.shape[0] <= np.iinfo(np.int32).max else np.int64)
    levels, graph = [cell], contract_cells(A, cell)
    while graph.nnz:
        joined = join_cells(graph)
        cell = joined[cell]
        levels.append(cell)
        graph = contract_cells(graph, joined)
    if component is not None:
        levels.append(component)
    return np.lexsort(levels)


def join_cells(graph: sp.csr_array) -> np.ndarray:
    """Join every cell with the neighbour of greatest weight over both degrees; new numbers (n,) int32."""
    n = graph.shape[0]
    degrees = np.asarray(graph.sum(axis=1)).ravel()
    counts = np.diff(graph.indptr)
    src = np.repeat(np.arange(n), counts)
    ties = graph.data / degrees[graph.indices]  # the cell's own degree does not change its choice
    linked = np.flatnonzero(counts)
    best = np.zeros(n)
    best[linked] = np.maximum.reduceat(ties, graph.indptr[linked])
    chosen = np.flatnonzero(ties == best[src])
    choice = np.empty(n, np.int64)
    choice[src[chosen[::-1]]] = graph.indices[chosen[::-1]]
    links = sp.coo_array((np.ones(len(linked), np.int8), (linked, choice[linked])), shape=graph.shape)
    return connected_components(links, directed=False)[1]


def contract_cells(graph: sp.csr_array, joined: np.ndarray) -> sp.csr_array:
    """Add up the positive links between the cells that ``joined`` names; none inside a cell."""
    n = int(joined.max(initial=-1)) + 1
    src = joined[np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))]
    dst = joined[graph.indices]
    between = (src != dst) & (graph.data > 0)
    return sp.csr_array((graph.data[between], (src[between], dst[between])), shape=(n, n))


class OrderedGraph(NamedTuple):
    """A graph whose nodes have been given new places: ``S`` (n, n) in that order, ``order`` (n,) int64."""

    S: sp.csr_array
    order: np.ndarray

    def arrange(self, Y: np.ndarray | sp.sparray) -> np.ndarray | sp.sparray:
        """Put rows (n, ...) in the order of ``S``."""
        return Y[self.order] if isinstance(Y, np.ndarray) else Y.tocsr()[self.order]

    def restore(self, F: np.ndarray) -> np.ndarray:
        """Put rows (n, ...) in the order of ``S`` back where their nodes were."""
        out = np.empty_like(F)
        out[self.order] = F
        return out


def arrange_graph(S: sp.csr_array, order: np.ndarray | None = None) -> OrderedGraph:
    """Renumber the nodes of a graph by ``order``, that of `order_nodes` where none is given.

    Raises
    ------
    ValueError
        ``order`` is no permutation of the nodes.
    """
    n = S.shape[0]
    order = order_nodes(S) if order is None else np.asarray(order)
    if not np.array_equal(np.sort(order), np.arange(n)):
        raise ValueError(f"order must hold every number from 0 to {n - 1} once")
    place = np.empty(n, np.int32 if n <= np.iinfo(np.int32).max else np.int64)
    place[order] = np.arange(n, dtype=place.dtype)
    rows = sp.csr_array(S)[order]
    offsets = rows.indptr.astype(np.int32 if rows.nnz <= np.iinfo(np.int32).max else np.int64)
    arranged = sp.csr_array((rows.data, place[rows.indices], offsets), shape=S.shape)
    arranged.sort_indices()
    return OrderedGraph(arranged, order)
