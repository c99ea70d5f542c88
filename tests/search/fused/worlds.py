"""A small collection with two descriptors and rankings by an inverted file, and dense fused similarities."""

from typing import NamedTuple

import numpy as np

from resight.graph.matrix import save_graph
from resight.rerank.fuse import calibrate_scores, find_threshold
from resight.search.collection import SearchFiles
from resight.search.fused.similarity import DescriptorFiles
from tests.search.collections import save_vectors

WEIGHT = 0.6


class World(NamedTuple):
    """Ids ascending, unit vectors of two kinds, scores (n, n) of the inverted file, and the files."""

    ids: np.ndarray
    X: np.ndarray
    C: np.ndarray
    scores: np.ndarray
    files: DescriptorFiles


def unit(X):
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)


def make_world(folder, rng, *, n=60, copies=()):
    """Images of 8 things; ``copies`` are (of, copy) places with equal vectors and scores."""
    ids = np.sort(rng.choice(10_000, n, replace=False))
    things = rng.integers(0, 8, n)
    X = unit(rng.standard_normal((8, 12))[things] + 0.8 * rng.standard_normal((n, 12)))
    C = unit(rng.standard_normal((8, 5))[things] + 1.5 * rng.standard_normal((n, 5)))
    scores = 0.02 * rng.random((n, n)) + 0.2 * (things[:, None] == things) * rng.random((n, n))
    for first, copy in copies:
        X[copy], C[copy] = X[first], C[first]
        scores[copy], scores[:, copy] = scores[first], scores[:, first]
    parts = (save_vectors(folder / "x", ids, X), 1.0), (save_vectors(folder / "c", ids, C), WEIGHT)
    return World(ids, X, C, scores.astype(np.float32), DescriptorFiles(parts))


def joined_similarity(world, X=None, C=None):
    """Dot products of joined unit vectors, written out."""
    own = np.c_[world.X, WEIGHT * world.C].astype(np.float64)
    asked = own if X is None else np.c_[X, WEIGHT * C].astype(np.float64)
    return asked @ own.T / (1 + WEIGHT**2)


def dense_fused(world):
    """Fused similarity (n, n) of all pairs: what each sees in the other, averaged."""
    n, seen = len(world.ids), np.zeros(world.scores.shape)
    for i, row in enumerate(world.scores):
        others = np.delete(np.arange(n), i)
        threshold = find_threshold(np.sort(row[others])[::-1], n)
        seen[i, others] = calibrate_scores(row[others], threshold)
    return joined_similarity(world) + 0.4 * (seen + seen.T) / 2


def ranked_row(world, i):
    """Ranking of image ``i`` by the inverted file, itself left out: ordinals and scores."""
    order = np.lexsort((np.arange(len(world.ids)), -world.scores[i]))
    order = order[order != i]
    return order, world.scores[i][order]


def dense_graph(world, *, k=5):
    """Mutual neighbours by fused similarity among images that are no copies: their places, and W (m, m)."""
    firsts = world.files.open().X.representatives(0, len(world.ids))
    F = dense_fused(world)[np.ix_(firsts, firsts)].astype(np.float32)
    np.fill_diagonal(F, -np.inf)
    near = np.zeros(F.shape, bool)
    np.put_along_axis(near, np.argsort(-F, axis=1, kind="stable")[:, :k], True, axis=1)
    return firsts, np.where(near & near.T, np.maximum(F, 0).astype(np.float64) ** 2, 0.0)


def save_world(folder, world, *, k=5):
    """Write the graph beside the vectors."""
    firsts, W = dense_graph(world, k=k)
    src, dst = W.nonzero()
    names = world.ids[firsts]
    edges = (names[src], names[dst], W[src, dst])
    graph = save_graph(str(folder / "graph"), names, np.zeros(len(names), np.int64), edges)
    return SearchFiles(world.files.parts[0][0], graph)
