"""Hard negatives: the nearest in the current descriptor that show something else, one of each cluster.

Radenovic, Tolias, Chum, "CNN image retrieval learns from BoW", ECCV 2016, section 3.3 (``N2``); Iscen et
al., "Mining on manifolds", CVPR 2018, section 3.4, where they are sought among those mined for the anchor.
"""

from collections.abc import Sequence

import numpy as np

__all__ = ["mine_negatives"]

BLOCK = 256  # anchors whose similarities are held at a time


def mine_negatives(
    X: np.ndarray,
    anchors: np.ndarray,
    *,
    n: int,
    clusters: np.ndarray,
    copies: np.ndarray,
    excluded: Sequence[np.ndarray],
    candidates: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Find the ``n`` nearest rows of every anchor that may be its negatives.

    Parameters
    ----------
    X : ndarray, (m, d) float32
        Unit vectors of all photos in the current network; a row of NaN is of no use.
    anchors : ndarray, (a,) int64
        Rows that negatives are sought for.
    n : int
        Negatives per anchor.
    clusters : ndarray, (m,) int64
        Component or 3D model of every row, from 0: an anchor gets one of each at most, and none of its own.
    copies : ndarray, (m,) int64
        The row that stands for every row among its copies; itself where there are none.
    excluded : sequence of ndarray
        Per anchor, the rows that are no negatives although their cluster is another: its positives and
        their copies.
    candidates : sequence of ndarray, optional
        Per anchor, the only rows that come into question. Those of its own cluster count as well, one of
        each group of copies: who listed them knew the cluster, which may be nearly the whole collection.

    Returns
    -------
    ndarray, (a, n) int64
        Nearest first, equal similarities by row; -1 where there are fewer.
    """
    found = np.full((len(anchors), n), -1, np.int64)
    if candidates is not None:
        for i, (anchor, listed) in enumerate(zip(anchors, candidates, strict=True)):
            rows = np.setdiff1d(listed, np.append(excluded[i], anchor))
            own = clusters[rows] == clusters[anchor]
            kinds = np.where(own, -1 - copies[rows], clusters[rows])
            take_nearest(rows, X[rows] @ X[anchor], kinds, found[i])
        return found
    for begin in range(0, len(anchors), BLOCK):
        block = anchors[begin : begin + BLOCK]
        similarities = X[block] @ X.T  # (b, m)
        similarities[clusters[block][:, None] == clusters] = np.nan
        for i, row in enumerate(similarities, begin):
            row[np.append(excluded[i], anchors[i])] = np.nan
            take_nearest(np.arange(len(X)), row, clusters, found[i])
    return found


def take_nearest(rows: np.ndarray, similarities: np.ndarray, kinds: np.ndarray, out: np.ndarray) -> None:
    """Write the nearest of ascending ``rows`` (r,) into ``out`` (n,), one of each kind; NaN is skipped."""
    usable = ~np.isnan(similarities)
    rows, kinds = rows[usable], kinds[usable]
    order = np.argsort(-similarities[usable], kind="stable")
    _, first = np.unique(kinds[order], return_index=True)
    best = rows[order][np.sort(first)[: len(out)]]
    out[: len(best)] = best
