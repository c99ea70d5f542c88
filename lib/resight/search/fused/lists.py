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


def list_finds(
    src: int, ordinals: np.ndarray, scores: np.ndarray, X: OpenVectors, *, scale: float = SCORE_WEIGHT
) -> Seen:
    """Keep what stands out in the ranking (k,) of one image by the inverted file; copies stand for one.

    ``ordinals`` below 0 are images without a descriptor; the image itself is ignored. ``scale`` multiplies
    what is seen: the weight of this ranking beside similarities.
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
    return Seen(np.full(int(there.sum()), src), firsts[order][there], scale * calibrated[chosen][there])


def join_directions(seen: Seen) -> Seen:
    """Give every pair once, src < dst, with the mean of what both see; rows may repeat a direction.

    Repeated rows add up: a neighbour list says 0 of a pair, and every ranking what it sees.
    """
    m = len(seen.src)
    low, high = np.minimum(seen.src, seen.dst), np.maximum(seen.src, seen.dst)
    order = np.lexsort((seen.calibrated, high, low))  # the order of the sums is that of their terms
    low, high = low[order], high[order]
    is_first = np.ones(m, bool)
    is_first[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    starts = np.flatnonzero(is_first)
    sums = np.add.reduceat(seen.calibrated[order], starts) if m else np.zeros(0)
    return Seen(low[starts], high[starts], sums / 2)


def fuse_pairs(pairs: Seen, descriptors: Descriptors) -> np.ndarray:
    """Give the fused similarity (m,) float64 of pairs of images, whose calibrated scores are weighted."""
    return fuse_scores(descriptors.compare_pairs(pairs.src, pairs.dst), pairs.calibrated, 1.0)


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
