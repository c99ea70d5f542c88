"""How far a grown graph is from one built from nothing by inverted lists, on a sample of sources.

A list that grew was offered every new vector, and some were searched exactly, while inverted lists miss some
neighbours: the two graphs differ. What the inverted lists would find for a few queries follows from an exact
search of these: those of the nearest whose list the query visits. So nothing else has to be assigned.
"""

from typing import NamedTuple

import numpy as np

from resight.knn.blocks import search_blocks
from resight.knn.ivf import assign_lists, rank_lists
from resight.knn.matrix import OpenVectors

MARGIN = 4  # times k exact neighbours among which the k visited ones are looked for
BLOCK = 25_000

Listed = dict[int, set[int]]  # a source -> what it lists, ordinals of distinct vectors


class Drift(NamedTuple):
    """Shares that differ: of the entries of lists, of the edges (in one graph and not in both)."""

    lists_differ: float
    edges_differ: float
    n_sources: int


def distinct_lists(X: OpenVectors, src: np.ndarray, offsets: np.ndarray, dst: np.ndarray) -> Listed:
    """Give lists as written, copies among them, over distinct vectors; the list of a copy is left out."""
    own, names = X.representative_of(src), X.representative_of(dst)
    rows = {}
    for i in np.flatnonzero(own == src).tolist():
        rows[int(src[i])] = set(names[offsets[i] : offsets[i + 1]].tolist()) - {int(src[i])}
    return rows


def probe_lists(
    X: OpenVectors, ordinals: np.ndarray, centroids: np.ndarray, n_probes: int, *, k: int
) -> Listed:
    """List the ``k`` nearest of each of ``ordinals`` (s,) among the lists that it visits."""
    Q = X.gather(ordinals)
    limit = min(MARGIN * k, X.n)
    blocks, first = X.blocks(BLOCK), X.blocks(BLOCK)
    offsets, columns, _ = search_blocks((ordinals, Q), blocks, first, X.gather, k=limit)
    home = assign_lists(X.gather(columns), centroids)
    probes = rank_lists(Q, centroids, n_probes)
    rows = {}
    for i, source in enumerate(ordinals.tolist()):
        some = slice(offsets[i], offsets[i + 1])
        rows[source] = set(columns[some][np.isin(home[some], probes[i])][:k].tolist())
    return rows


def find_edges(sources: np.ndarray, lists: Listed) -> set[tuple[int, int]]:
    """List the edges of some sources: mutual neighbours."""
    return {(i, j) for i in sources.tolist() for j in lists.get(i, ()) if i in lists.get(j, ())}


def compare_graphs(
    X: OpenVectors, sources: np.ndarray, grown: Listed, centroids: np.ndarray, n_probes: int, *, k: int
) -> Drift:
    """Compare the lists and the edges of ``sources`` (s,), distinct vectors, in both graphs.

    ``grown`` holds the lists of the sources and of all that they list.
    """
    anew = probe_lists(X, sources, centroids, n_probes, k=k)
    others = np.array(sorted(set().union(*anew.values()) - anew.keys()), np.int64)
    if len(others):
        anew |= probe_lists(X, others, centroids, n_probes, k=k)
    found = [len(grown.get(i, set()) & anew[i]) / max(len(anew[i]), 1) for i in sources.tolist()]
    edges = [find_edges(sources, lists) for lists in (grown, anew)]
    differ = len(edges[0] ^ edges[1]) / max(len(edges[0] | edges[1]), 1)
    return Drift(1.0 - float(np.mean(found)) if found else 0.0, differ, len(sources))
