"""What a search looks into: the opened files of a build of vectors, of its graphs and offline diffusion."""

from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from resight.graph.matrix import GraphFiles, OpenGraph
from resight.knn.matrix import OpenVectors, VectorFiles, map_array
from resight.search.manifold import ManifoldFiles, OpenManifold
from resight.search.regions import OpenRegions, RegionFiles


@dataclass(frozen=True)
class SearchFiles:
    """Files of a collection; small, so a task carries it whole."""

    vectors: VectorFiles
    graph: GraphFiles | None = None
    manifold: ManifoldFiles | None = None
    regions: RegionFiles | None = None
    allowed: tuple[str, str] | None = None  # folder and name of a mask, see `Collection`

    def open(self) -> "Collection":
        """Map the files into memory."""
        return Collection(
            self.vectors.open(),
            self.graph.open() if self.graph else None,
            self.manifold.open() if self.manifold else None,
            self.regions.open() if self.regions else None,
            map_array(*self.allowed) if self.allowed else None,
        )


@dataclass
class Collection:
    """Opened files; *ordinals* number vectors, *places* number nodes of the graph."""

    X: OpenVectors
    graph: OpenGraph | None = None
    manifold: OpenManifold | None = None
    regions: OpenRegions | None = None
    allowed: np.ndarray | None = None  # (n,) bool: which vectors may be returned; None: all

    def restrict(self, allowed: np.ndarray) -> "Collection":
        """Give the same collection, of which only ``allowed`` (n,) bool is returned; its graph is whole."""
        restricted = copy(self)  # what was computed of it comes along
        restricted.allowed = allowed
        return restricted

    def standing_for_allowed(self, ordinals: np.ndarray) -> np.ndarray:
        """Whether each of some representatives (m,), or a copy of it, may be returned: (m,) bool."""
        if self.allowed is None:
            return np.ones(len(ordinals), bool)
        copies, firsts = self.X.copies
        stands = self.allowed.copy()
        stands[firsts[self.allowed[copies]]] = True
        return stands[ordinals]

    @property
    def nodes(self) -> OpenGraph:
        """The graph.

        Raises
        ------
        ValueError
            The collection was opened without one.
        """
        if self.graph is None:
            raise ValueError("this search needs a graph: run build-graph")
        return self.graph

    @property
    def opened_regions(self) -> OpenRegions:
        """The regions.

        Raises
        ------
        ValueError
            The collection was opened without them.
        """
        if self.regions is None:
            raise ValueError("this search needs a graph of regions: run build-graph --of regions")
        return self.regions

    @cached_property
    def region_nodes(self) -> "Collection":
        """The regions and their graph, as a collection of their own."""
        return Collection(self.opened_regions.X, self.opened_regions.graph)

    @cached_property
    def ordinals(self) -> np.ndarray:
        """Ordinal (n_nodes,) int64 of the vector at every place; -1 where an image is gone since."""
        return self.X.ordinal_of(np.asarray(self.nodes.ids))

    def row(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """Give the neighbours (m,) of a node that still have a vector, by place, and their affinities."""
        neighbors, affinities = self.nodes.row(place)
        there = self.ordinals[neighbors] >= 0
        return neighbors[there], affinities[there]

    @cached_property
    def places(self) -> np.ndarray:
        """Place (n_vectors,) int64 of every vector that is a node, -1 of copies."""
        places = np.full(self.X.n, -1, np.int64)
        there = np.flatnonzero(self.ordinals >= 0)
        places[self.ordinals[there]] = there
        return places
