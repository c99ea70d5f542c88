"""The final order: what diffusion reached by its score, then the rest by similarity; nothing is dropped.

Ties: score descending, raw similarity descending, id ascending. An image that diffusion did not reach has no
score; it is listed after all that have one, as ``lowest + similarity - 2`` with ``lowest`` = min(0, the
lowest score reached). So scores never increase along a ranking, and those of the rest are not positive.
"""

from typing import NamedTuple

import numpy as np

from resight.topk import rank_order


class Reached(NamedTuple):
    """What diffusion scored: ``ordinals`` (m,) int64 with ``scores`` and raw ``similarity`` (m,).

    No ordinal occurs twice. Scores may be negative, pooled with negative weights: such an image is reached
    all the same.
    """

    ordinals: np.ndarray
    scores: np.ndarray
    similarity: np.ndarray


class Ranking(NamedTuple):
    """One query's answer: ``ordinals``, ``scores`` (k,) in rank order; ``n_reached`` are by diffusion."""

    ordinals: np.ndarray
    scores: np.ndarray
    n_reached: int


def rank_images(
    reached: Reached, ordinals: np.ndarray, similarity: np.ndarray, *, depth: int | None = None
) -> Ranking:
    """Rank one query's images.

    Parameters
    ----------
    reached : Reached
        The images that diffusion scored. (Ordinals ascend with ids.)
    ordinals, similarity : ndarray, (k,) int64 and float
        The plain search, in any order; it must hold the ``depth`` most similar images. Its images that are
        reached are ignored.
    depth : int, optional
        Length of the ranking; everything by default.
    """
    scores, similarities = reached.scores, reached.similarity
    m = len(scores)
    k = m if depth is None else min(depth, m)
    kept = np.arange(m)
    if 0 < k < m:
        kept = np.flatnonzero(scores >= np.partition(scores, m - k)[m - k])  # ties of the last place too
    order = np.lexsort((reached.ordinals[kept], -similarities[kept], -scores[kept]))
    best = kept[order[:k]]
    n_rest = None if depth is None else depth - k
    rest = np.flatnonzero(~np.isin(ordinals, reached.ordinals))
    rest = rest[rank_order(similarity[rest], ordinals[rest])][:n_rest]
    lowest = min(0.0, float(scores.min(initial=0.0)))
    below = lowest + similarity[rest].astype(np.float64) - 2
    return Ranking(
        np.concatenate([reached.ordinals[best], ordinals[rest]]),
        np.concatenate([scores[best], below]),
        len(best),
    )


def rank_dense(f: np.ndarray, similarity: np.ndarray, *, depth: int | None = None) -> Ranking:
    """Rank by ``f`` (n,) and ``similarity`` (n,) of all images; a score of exactly 0 is out of reach."""
    nodes = np.flatnonzero(f)
    reached = Reached(nodes, f[nodes], similarity[nodes])
    return rank_images(reached, np.arange(len(f)), similarity, depth=depth)
