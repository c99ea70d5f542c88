"""What a search looks into: the opened files of one build of vectors, its graph and its offline diffusion."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from resight.graph.matrix import GraphFiles, OpenGraph
from resight.knn.matrix import OpenVectors, VectorFiles
from resight.search.manifold import ManifoldFiles, OpenManifold


@dataclass(frozen=True)
class SearchFiles:
    """Files of a collection; small, so a task carries it whole."""

    vectors: VectorFiles
    graph: GraphFiles | None = None
    manifold: ManifoldFiles | None = None

    def open(self) -> "Collection":
        """Map the files into memory."""
        return Collection(
            self.vectors.open(),
            self.graph.open() if self.graph else None,
            self.manifold.open() if self.manifold else None,
        )


@dataclass
class Collection:
    """Opened files; *ordinals* number vectors, *places* number nodes of the graph."""

    X: OpenVectors
    graph: OpenGraph | None = None
    manifold: OpenManifold | None = None

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

    @cached_property
    def ordinals(self) -> np.ndarray:
        """Ordinal (n_nodes,) int64 of the vector at every place."""
        return self.X.ordinal_of(np.asarray(self.nodes.ids))

    @cached_property
    def places(self) -> np.ndarray:
        """Place (n_vectors,) int64 of every vector that is a node, -1 of copies."""
        places = np.full(self.X.n, -1, np.int64)
        there = np.flatnonzero(self.ordinals >= 0)
        places[self.ordinals[there]] = there
        return places

    @cached_property
    def affinity(self) -> sp.csr_array:
        """Affinities by place, for explanations and shortlists."""
        return self.nodes.affinity()
