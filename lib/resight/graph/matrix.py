"""The normalised graph of a build as files that every worker and reader maps into memory.

Nodes are numbered by *place*: the order in which neighbours lie close together (`resight.diffusion.order`).
``indptr``, ``indices`` and ``data`` are the rows of the normalised affinity S (CSR, float64); ``ids`` (n,)
int64 are the nodes by place, ``places`` (n,) the places in the order of ascending ids, ``degrees`` (n,) the
row sums of the affinity, so that ``A = D^1/2 S D^1/2`` can be had back.
"""

import json
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np

from resight import files
from resight.knn.matrix import map_array, save_array

if TYPE_CHECKING:
    import scipy.sparse as sp

ARRAYS = ("indptr", "indices", "data", "ids", "places", "degrees")


@dataclass(frozen=True)
class GraphFiles:
    """Where the graph of a build lies; small, so a task carries it whole."""

    folder: str
    n: int
    nnz: int
    names: tuple[tuple[str, str], ...]  # array -> file

    def open(self) -> "OpenGraph":
        """Map the files into memory; kept per process."""
        return open_graph(self)

    def save(self) -> None:
        """Write the list of files as ``graph.json``."""
        text = json.dumps(asdict(self) | {"folder": ""}, indent=1)
        files.write_bytes(files.join(self.folder, "graph.json"), text.encode())


def load_graph_files(folder: str) -> GraphFiles:
    """Read the list of files that `GraphFiles.save` wrote."""
    fields = json.loads(files.read_bytes(files.join(folder, "graph.json")))
    names = tuple((array, name) for array, name in fields.pop("names"))
    return GraphFiles(**fields | {"folder": folder, "names": names})


class OpenGraph:
    """The mapped arrays of some `GraphFiles`."""

    def __init__(self, layout: GraphFiles) -> None:
        import scipy.sparse as sp

        arrays = {array: map_array(layout.folder, name) for array, name in layout.names}
        self.n = layout.n
        self.ids, self.places, self.degrees = arrays["ids"], arrays["places"], arrays["degrees"]
        rows = (arrays["data"], arrays["indices"], arrays["indptr"])
        self.S = sp.csr_array(rows, shape=(layout.n, layout.n))

    @cached_property
    def sorted_ids(self) -> np.ndarray:
        """Ids (n,) int64, ascending."""
        return np.asarray(self.ids)[self.places]

    def place_of(self, ids: np.ndarray) -> np.ndarray:
        """Places (m,) int64 of node ``ids`` (m,); -1 where there is no such node."""
        if not self.n:
            return np.full(len(ids), -1, np.int64)
        at = np.minimum(np.searchsorted(self.sorted_ids, ids), self.n - 1)
        return np.where(self.sorted_ids[at] == ids, self.places[at], -1).astype(np.int64)

    def row(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Give the neighbours (m,) of a node and their affinities (m,), from its row of S alone."""
        some = slice(self.S.indptr[place], self.S.indptr[place + 1])
        neighbors, roots = np.asarray(self.S.indices[some]), np.sqrt(self.degrees[place])
        return neighbors, np.minimum(self.S.data[some] * roots * np.sqrt(self.degrees[neighbors]), 1.0)

    def affinity_among(self, places: np.ndarray) -> "sp.csr_array":
        """Compute the affinities (t, t) among some nodes, different ones, back from their rows of S."""
        from resight.diffusion.truncate import slice_matrix

        small, roots = slice_matrix(self.S, places), np.sqrt(self.degrees[places])
        src = np.repeat(np.arange(len(places)), np.diff(small.indptr))
        small.data = np.minimum(small.data * roots[src] * roots[small.indices], 1.0)
        return small


@lru_cache(maxsize=4)
def open_graph(layout: GraphFiles) -> OpenGraph:
    """Open ``layout`` once per process."""
    return OpenGraph(layout)


def save_graph(
    folder: str, ids: np.ndarray, component: np.ndarray, edges: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> GraphFiles:
    """Normalise, order and write a graph.

    Parameters
    ----------
    ids, component : ndarray, (n,) int64
        Nodes, ascending, isolated ones included, and their components.
    edges : src, dst (m,) int64 and affinity (m,) float64
        Stored edges, both directions.

    Returns
    -------
    GraphFiles
        Not yet saved as complete: see `GraphFiles.save`.

    Raises
    ------
    ValueError
        An edge names a node that is not in ``ids``.
    """
    import scipy.sparse as sp

    from resight.diffusion.normalize import normalize_affinity
    from resight.diffusion.order import arrange_graph, order_nodes

    n, (src, dst, affinity) = len(ids), edges
    rows, columns = (np.minimum(np.searchsorted(ids, end), max(n - 1, 0)) for end in (src, dst))
    if len(src) and not ((ids[rows] == src).all() and (ids[columns] == dst).all()):
        raise ValueError("an edge names a node that the table of nodes does not hold")
    normalized = normalize_affinity(sp.coo_array((affinity, (rows, columns)), shape=(n, n)))
    arranged = arrange_graph(normalized.S, order_nodes(normalized.S, component))
    order, index = arranged.order, np.int32 if arranged.S.nnz <= np.iinfo(np.int32).max else np.int64
    places = np.empty(n, np.int64)
    places[order] = np.arange(n)
    arrays = {
        "indptr": arranged.S.indptr.astype(index),
        "indices": arranged.S.indices.astype(index),
        "data": arranged.S.data,
        "ids": ids[order],
        "places": places,
        "degrees": normalized.degrees[order],
    }
    names = tuple((array, save_array(folder, array, values)) for array, values in arrays.items())
    return GraphFiles(folder, n, arranged.S.nnz, names)
