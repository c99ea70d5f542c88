"""A graph before and after some nodes came and went, as edges by id."""

import numpy as np
import scipy.sparse as sp

from tests.diffusion.planted_curves import affinity_of, draw_curves


def draw_growth(seed=0):
    """Draw curves; eight nodes come, five leave, one edge is reweighed: ids and affinity of both graphs."""
    rng = np.random.default_rng(seed)
    X = draw_curves(rng, n_curves=12, n_points=30, sigma=0.25, arc=2.5, n_distractors=20).X
    ids, names = rng.permutation(5000)[: len(X)].astype(np.int64), rng.permutation(len(X))
    graphs = []
    for some in (names[8:], names[:-5]):
        some = some[np.argsort(ids[some])]
        graphs.append((ids[some], affinity_of(X[some], 6).toarray()))
    A = graphs[1][1]
    i, j = np.argwhere(A)[40]
    A[i, j] = A[j, i] = A[i, j] / 2
    return graphs


def list_edges(ids, A):
    """Stored edges, both directions: src, dst, affinity."""
    src, dst = A.nonzero()
    return ids[src], ids[dst], A[src, dst]


def label_nodes(ids, A):
    """The smallest node of the component of each node."""
    label = sp.csgraph.connected_components(sp.csr_array(A), directed=False)[1]
    return np.array([ids[label == i].min() for i in range(label.max() + 1)])[label]
