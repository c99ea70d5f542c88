"""Anchors, clusters and split of a whole graph, in one task that maps its files."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from resight.graph.matrix import GraphFiles, OpenGraph
from resight.mining.clusters import bind_nodes, choose_validation, cluster_nodes
from resight.mining.manifold import cut_entries, find_modes, find_stationary

if TYPE_CHECKING:
    import scipy.sparse as sp

TRAIN, VALIDATION = "train", "validation"
PLACED = pa.schema(
    [
        ("node_id", pa.int64()),
        ("pi", pa.float64()),  # stationary probability of the walk
        ("is_mode", pa.bool_()),
        ("is_linked", pa.bool_()),  # it has neighbours that are no copies
        ("component_id", pa.int64()),  # by its smallest node
        ("cluster_id", pa.int64()),
        ("split", pa.string()),
    ]
)


@dataclass(frozen=True)
class PlaceWork:
    """How the nodes of a graph are placed.

    A cluster holds at most ``max_cluster`` of the nodes that have neighbours, ``validation`` of these
    validate. With ``all_anchors`` every node with neighbours counts as a mode.

    The graph is mapped; beside it stand its affinities and their contractions, at most some 90 bytes an entry
    (every edge is two): 100 million entries, such as those of 4 million images, take a task of 9 GB.
    """

    graph: GraphFiles
    max_cluster: float = 0.05
    validation: float = 0.2
    seed: int = 0
    all_anchors: bool = False

    def __call__(self, links: pa.Table) -> pa.Table:
        """Place every node: rows of `PLACED`, by ascending id.

        ``links`` has columns ``a``, ``b`` (int64 ids that stay together) and ``dropped`` (bool): of these
        rows ``a`` is a node that the walk does not enter, and ``b`` the one that stands for it. Ids that are
        no nodes are passed over.
        """
        graph = self.graph.open()
        a, b = (graph.place_of(links[name].to_numpy()) for name in ("a", "b"))
        dropped = a[links["dropped"].to_numpy(zero_copy_only=False) & (a >= 0)]
        A = leave_nodes(graph, dropped)
        known = (a >= 0) & (b >= 0)
        unit = bind_nodes(graph.n, a[known], b[known])
        has_edges = np.diff(A.indptr) > 0
        limit = max(1, int(self.max_cluster * has_edges.sum()))
        cluster = cluster_nodes(A, unit, max_size=limit)
        weights = np.bincount(cluster, has_edges, minlength=1).astype(np.int64)
        cluster_id = smallest_ids(cluster, np.asarray(graph.ids))
        validates = choose_by_id(cluster, cluster_id, weights, self)
        columns = {
            "node_id": graph.ids,
            "pi": find_stationary(A),
            "is_mode": has_edges if self.all_anchors else find_modes(A, np.asarray(graph.ids)),
            "is_linked": has_edges,
            "component_id": smallest_ids(find_components(A), np.asarray(graph.ids)),
            "cluster_id": cluster_id,
            "split": np.where(validates[cluster], VALIDATION, TRAIN),
        }
        return pa.table(columns, schema=PLACED).sort_by("node_id")


def leave_nodes(graph: OpenGraph, dropped: np.ndarray) -> "sp.csr_array":
    """Give the affinities (n, n) of the graph without the edges of some nodes, by place."""
    import scipy.sparse as sp

    S, roots = graph.S, np.sqrt(np.asarray(graph.degrees))
    out = np.zeros(graph.n, bool)
    out[dropped] = True
    affinity = np.empty(S.nnz)
    for rows, entries in cut_entries(np.asarray(S.indptr)):
        src, dst = rows, np.asarray(S.indices[entries])
        values = np.minimum(S.data[entries] * roots[src] * roots[dst], 1.0)
        affinity[entries] = np.where(out[src] | out[dst], 0.0, values)
    A = sp.csr_array((affinity, np.array(S.indices), np.array(S.indptr)), shape=(graph.n, graph.n))
    A.eliminate_zeros()
    A.sort_indices()
    return A


def find_components(A: "sp.csr_array") -> np.ndarray:
    """Find the connected components (n,) int64 of A, numbered from 0."""
    from scipy.sparse.csgraph import connected_components

    return connected_components(A, directed=False)[1].astype(np.int64)


def smallest_ids(label: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Name every node (n,) by the smallest of the ``ids`` (n,) that share its label (n,)."""
    smallest = np.full(int(label.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(smallest, label, ids)
    return smallest[label]


def choose_by_id(
    cluster: np.ndarray, cluster_id: np.ndarray, weights: np.ndarray, work: PlaceWork
) -> np.ndarray:
    """Choose the clusters (c,) bool that validate, drawn in the order of their names."""
    _, first = np.unique(cluster, return_index=True)
    order = np.argsort(cluster_id[first])
    chosen = np.zeros(len(weights), bool)
    chosen[order] = choose_validation(weights[order], share=work.validation, seed=work.seed)
    return chosen
