"""A small collection as files, and what diffusion gives on it, written out densely."""

import numpy as np

from resight.graph.matrix import save_graph
from resight.knn.copies import find_copies, hash_rows
from resight.knn.matrix import Part, VectorFiles, save_array, save_part
from resight.search.collection import SearchFiles

K, GAMMA = 6, 3.0


def save_vectors(folder, ids, X, *, part_rows=25):
    """Write unit rows as parts, and their copies."""
    order = np.argsort(ids)
    ids, X = ids[order], X[order].astype(np.float32)
    starts = range(0, len(ids), part_rows)
    parts = [
        Part(
            save_part(str(folder), i, ids[s : s + part_rows], X[s : s + part_rows]),
            s,
            len(ids[s : s + part_rows]),
        )
        for i, s in enumerate(starts)
    ]
    copies = find_copies(hash_rows(X), np.arange(len(ids)))
    copies = copies[:, np.argsort(copies[0])]
    name = save_array(str(folder), "copies", copies)
    return VectorFiles(str(folder), X.shape[1], "float32", tuple(parts), name, copies.shape[1])


def dense_affinity(X):
    """Mutual neighbours of all rows (n, d), which must differ."""
    S = X.astype(np.float64) @ X.T.astype(np.float64)
    np.fill_diagonal(S, -np.inf)
    near = np.zeros(S.shape, bool)
    for i, row in enumerate(S):
        near[i, np.argsort(-row, kind="stable")[:K]] = True
    return np.where(near & near.T & (S > 0), np.maximum(S, 0) ** GAMMA, 0.0)


def save_collection(folder, ids, X):
    """Write vectors and the graph of their representatives; give files, representatives and affinity."""
    vectors = save_vectors(folder / "vectors", ids, X)
    opened = vectors.open()
    first = opened.representatives(0, opened.n)
    A = dense_affinity(opened.gather(first))
    src, dst = A.nonzero()
    names = opened.id_of(first)
    graph = save_graph(
        str(folder / "graph"), names, np.zeros(len(names), np.int64), (names[src], names[dst], A[src, dst])
    )
    return SearchFiles(vectors, graph), first, A


def dense_ranking(q, opened, first, A, *, k_q, alpha):
    """Rank all ordinals for one query by a dense solve; unreached ones by similarity."""
    X = opened.rows(0, opened.n).astype(np.float64)
    similarity = np.minimum(X @ q.astype(np.float64), 1.0)
    degrees = A.sum(1)
    scale = np.where(degrees > 0, 1 / np.sqrt(np.where(degrees > 0, degrees, 1)), 0)
    y = np.zeros(len(first))
    nearest = np.lexsort((first, -similarity[first]))[:k_q]
    y[nearest] = np.maximum(similarity[first][nearest], 0) ** GAMMA
    f = np.linalg.solve(np.eye(len(first)) - alpha * scale[:, None] * A * scale, (1 - alpha) * y)
    f[np.abs(f) < 1e-12] = 0
    place = np.searchsorted(first, opened.representative_of(np.arange(opened.n)))
    score = f[place]
    order = np.lexsort((np.arange(opened.n), -similarity, np.where(score > 0, -score, 0), score <= 0))
    return order, score
