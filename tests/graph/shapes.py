"""Graphs with known or computable components, with ids that have holes."""

import networkx as nx
import numpy as np


def spread(pairs, rng):
    """Give nodes ids with holes, edges a random order and direction."""
    src, dst = np.asarray(pairs, np.int64).reshape(-1, 2).T
    ids = np.sort(rng.choice(10**12, int(max(src.max(), dst.max())) + 1, replace=False))
    order, flip = rng.permutation(len(src)), rng.random(len(src)) < 0.5
    a, b = np.where(flip, dst, src)[order], np.where(flip, src, dst)[order]
    return ids[a], ids[b]


SHAPES = {
    "random": lambda rng: spread(rng.integers(400, size=(300, 2)), rng),
    "chain": lambda rng: spread([(i, i + 1) for i in range(500)], rng),
    "star": lambda rng: spread([(0, i) for i in range(1, 300)], rng),
    "giant": lambda rng: spread(rng.integers(200, size=(2000, 2)), rng),
    "cliques": lambda rng: spread(
        [(9 * c + i, 9 * c + j) for c in range(20) for i in range(9) for j in range(i)], rng
    ),
    "loops": lambda rng: spread([(i, i) for i in range(10)] + [(1, 2), (2, 1)], rng),
}


def labels_by_networkx(src, dst):
    graph = nx.Graph(zip(src.tolist(), dst.tolist(), strict=True))
    return {node: min(part) for part in nx.connected_components(graph) for node in part}
