"""Neighbour lists by fused similarity, from sparse lists: no image is compared with all others.

A pair is a candidate where one of its two images lists the other: by the global descriptor, or because it
stands out in the ranking of the inverted file. What an image, asking, sees in another is 0 unless it stands
out: so the lists hold all that counts, and the fused similarity of a candidate is exact.
"""

from typing import NamedTuple

import numpy as np

from resight.knn.copies import to_offsets
from resight.knn.matrix import OpenVectors
from resight.rerank.fuse import (
    SCORE_WEIGHT,
    calibrate_scores,
    count_finds,
    find_threshold,
    fuse_scores,
)
from resight.search.fused.similarity import Descriptors


class Seen(NamedTuple):
    """What images see in others: ``src``, ``dst`` (m,) int64 ordinals, ``calibrated`` (m,) float64."""

    src: np.ndarray
    dst: np.ndarray
    calibrated: np.ndarray


class FusedLists(NamedTuple):
    """Lists of sources: ``src`` (n,), ``offsets`` (n + 1,), ``dst``, ``similarity`` (m,), best first."""

    src: np.ndarray
    offsets: np.ndarray
    dst: np.ndarray
    similarity: np.ndarray


def list_finds(src: int, ordinals: np.ndarray, scores: np.ndarray, X: OpenVectors) -> Seen:
    """Keep what stands out in the ranking (k,) of one image by the inverted file; copies stand for one.

    ``ordinals`` below 0 are images without a descriptor; the image itself is ignored.
    """
    others = ordinals != src
    ordinals, scores = ordinals[others], scores[others]
    calibrated = calibrate_scores(scores, find_threshold(scores, X.n))
    finds = slice(0, count_finds(X.n))
    kept = np.flatnonzero((calibrated[finds] > 0) & (ordinals[finds] >= 0))
    firsts = X.representative_of(ordinals[kept])
    order = np.unique(firsts, return_index=True)[1]  # the best of equal images comes first
    chosen = kept[order]
    there = firsts[order] != src
    return Seen(np.full(int(there.sum()), src), firsts[order][there], calibrated[chosen][there])


def join_directions(seen: Seen) -> Seen:
    """Give every pair once, src < dst, with the mean of what both see; rows may repeat a direction.

    Of repeated rows the largest counts: a neighbour list says 0 of a pair that a ranking says more of.
    """
    m = len(seen.src)
    low, high = np.minimum(seen.src, seen.dst), np.maximum(seen.src, seen.dst)
    forth = seen.src < seen.dst
    order = np.lexsort((-seen.calibrated, forth, high, low))
    keys = np.stack([low, high, forth])[:, order]
    first = np.ones(m, bool)
    first[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    kept = order[first]
    ends = np.stack([low[kept], high[kept]])
    starts = np.flatnonzero(np.append(True, (ends[:, 1:] != ends[:, :-1]).any(axis=0))) if m else kept
    sums = np.add.reduceat(seen.calibrated[kept], starts) if m else np.zeros(0)
    return Seen(ends[0, starts], ends[1, starts], sums / 2)


def fuse_pairs(pairs: Seen, descriptors: Descriptors, weight: float = SCORE_WEIGHT) -> np.ndarray:
    """Give the fused similarity (m,) float64 of pairs of images."""
    return fuse_scores(descriptors.compare_pairs(pairs.src, pairs.dst), pairs.calibrated, weight)


def rank_neighbors(src: np.ndarray, dst: np.ndarray, fused: np.ndarray, *, k: int) -> FusedLists:
    """Give the ``k`` best of every source, ties by ``dst``; rows (m,) in any order, no pair twice."""
    fused = fused.astype(np.float32)
    order = np.lexsort((dst, -fused, src))
    src, dst, fused = src[order], dst[order], fused[order]
    sources, starts = np.unique(src, return_index=True)
    rank = np.arange(len(src)) - np.repeat(starts, np.diff(np.append(starts, len(src))))
    kept = rank < k
    counts = np.bincount(np.searchsorted(sources, src[kept]), minlength=len(sources))
    return FusedLists(sources, to_offsets(counts), dst[kept], fused[kept])
