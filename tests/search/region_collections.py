"""Collections whose images have several vectors, as files; regional diffusion on them, written densely."""

from dataclasses import dataclass

import numpy as np

from resight.graph.matrix import save_graph
from resight.search.collection import SearchFiles
from resight.search.regions import RegionFiles, save_regions
from tests.search.collections import GAMMA, dense_affinity, save_vectors
from tests.synthetic import planted, unit


@dataclass(frozen=True)
class Regions:
    """Regions by ascending ``node_ids`` (r,): vectors ``R`` (r, d), position of the image, number, weight."""

    node_ids: np.ndarray
    R: np.ndarray
    owner: np.ndarray
    region_ix: np.ndarray
    weights: np.ndarray

    def of(self, image):
        """Vectors of one image's regions, by number."""
        rows = np.flatnonzero(self.owner == image)
        return self.R[rows[np.argsort(self.region_ix[rows])]]


def weigh(R, owner):
    """Weights of generalised max-pooling, lambda = 1, by solving for each image."""
    weights = np.zeros(len(R))
    for image in np.unique(owner):
        rows = np.flatnonzero(owner == image)
        Phi = R[rows].astype(np.float64)
        weights[rows] = np.linalg.inv(Phi @ Phi.T + np.eye(len(rows))) @ np.ones(len(rows))
    return weights


def small_objects(rng, *, n_background=4, d=24, **planting):
    """Hide every planted view among regions of its own image: vectors of images, regions, object of each."""
    made = planted(rng, d=d, **planting)
    views, n = made.vectors, len(made.vectors)
    background = unit(rng.normal(size=(n * n_background, d))).astype(np.float32)
    R = np.concatenate([views, background])
    owner = np.concatenate([np.arange(n), np.repeat(np.arange(n), n_background)])
    region_ix = np.concatenate([np.zeros(n), np.tile(np.arange(1, n_background + 1), n)]).astype(np.int32)
    node_ids = rng.permutation(7 * len(R))[: len(R)].astype(np.int64)
    order = np.argsort(node_ids)
    X = np.zeros((n, d))
    np.add.at(X, owner, R)
    regions = Regions(node_ids[order], R[order], owner[order], region_ix[order], weigh(R, owner)[order])
    return unit(X).astype(np.float32), regions, made.object_ids


def save_region_collection(folder, X, regions):
    """Write images, regions and the graph of these; give the files and the affinity of representatives."""
    images = save_vectors(folder / "images", np.arange(len(X)), X)
    vectors = save_vectors(folder / "regions", regions.node_ids, regions.R)
    opened = vectors.open()
    first = opened.representatives(0, opened.n)
    A = dense_affinity(opened.gather(first))
    src, dst = A.nonzero()
    names = opened.id_of(first)
    component = np.zeros(len(names), np.int64)
    graph = save_graph(str(folder / "graph"), names, component, (names[src], names[dst], A[src, dst]))
    standing = opened.id_of(opened.representative_of(np.arange(opened.n)))
    places = graph.open().place_of(standing)
    lists = save_regions(str(folder / "lists"), regions.owner, places, regions.region_ix, regions.weights)
    return SearchFiles(images, regions=RegionFiles(vectors, graph, str(folder / "lists"), lists)), A


def dense_regional(asking, regions, A, *, k_q, alpha, query_pool="sum_of_powers"):
    """Score every image for the regions ``asking`` (m, d): weighted scores (r,) of all regions."""
    _, index, inverse = np.unique(regions.R, axis=0, return_index=True, return_inverse=True)
    first = np.sort(index)
    place = np.searchsorted(first, index[inverse.ravel()])
    S = np.minimum(regions.R[first].astype(float) @ asking.astype(float).T, 1)
    pooled, power = np.zeros(len(first)), GAMMA if query_pool == "sum_of_powers" else 1
    for s in S.T:
        nearest = np.argsort(-s, kind="stable")[:k_q]
        pooled[nearest] += (np.maximum(s[nearest], 0) if power > 1 else s[nearest]) ** power
    y, best = np.zeros(len(first)), np.argsort(-pooled, kind="stable")[:k_q]
    y[best] = np.maximum(pooled[best], 0) ** (GAMMA / power)
    degrees = A.sum(1)
    scale = np.where(degrees > 0, 1 / np.sqrt(np.where(degrees > 0, degrees, 1)), 0)
    f = np.linalg.solve(np.eye(len(first)) - alpha * scale[:, None] * A * scale, (1 - alpha) * y)
    f[np.abs(f) < 1e-12] = 0
    return f[place]
