"""Fusing what a global descriptor and an inverted file say of the same images.

Similarities are fused first and diffused then. The two are brought to one scale per query: a score of the
inverted file counts by how far it stands out of the query's own scores over the collection. So a query with
many common words does not drown one with few, and an image that no word supports loses nothing.

All thresholds come from scores alone: no labels, and nothing to fit. Weights are constants, or follow from
the shape of a query's own rankings: the scores of one that tells matches from the rest fall steeply after
them (Zheng et al., "Query-adaptive late fusion", CVPR 2015, who divide by the area under the sorted scores).
"""

from typing import NamedTuple

import numpy as np

from resight.topk import rank_order

SHARE, LEAST, MOST = 0.01, 10, 100  # of the collection stands out: that share, from and up to so many images
SCORE_WEIGHT = 0.4  # of calibrated scores beside similarities
FEW_INLIERS = 8  # that strangers reach
BONUS_WEIGHT = 0.2  # of a verified match
GAMMA = 2.0  # exponent of fused similarities, in the graph and of what a query observes
LIMIT = 2.0  # by how much the shape of a query's rankings may change a weight, either way


class Weighting(NamedTuple):
    """Weights of calibrated scores beside the similarity: of the first ranking, and of each further one.

    ``adaptive``: they follow from the query's rankings, see `adapt_weight`.
    """

    first: float = SCORE_WEIGHT
    further: float = SCORE_WEIGHT
    adaptive: bool = False

    def weigh(self, place: int, similarity: np.ndarray, ranked: np.ndarray) -> float:
        """Give the weight of the ranking in ``place``, by similarities and its scores, in any order."""
        weight = self.further if place else self.first
        return weight * adapt_weight(similarity, ranked) if self.adaptive else weight


FROZEN = Weighting()


def count_finds(n: int) -> int:
    """Give how many images of a collection of ``n`` stand out for a query: as long a ranking must be.

    >>> count_finds(300), count_finds(5000), count_finds(10**8)
    (10, 50, 100)
    """
    return min(max(round(SHARE * n), LEAST), MOST)


def find_threshold(ranked: np.ndarray, n: int) -> float:
    """Give the score that an image of a collection of ``n`` must exceed to stand out for a query.

    It is the score that follows those of `count_finds` images, by the best scores ``ranked`` (k,) of the
    query, descending. Where fewer images have a positive score, it is the smallest of those; without any, 0.
    """
    positive = ranked[ranked > 0]
    if not len(positive):
        return 0.0
    return float(positive[min(count_finds(n), len(positive) - 1)])


def calibrate_scores(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Give ``sqrt(max(s / t - 1, 0))`` (n,) float64: 0 up to the threshold, and where that is 0."""
    if threshold <= 0:
        return np.zeros(len(scores))
    return np.sqrt(np.maximum(scores.astype(np.float64) / threshold - 1, 0))


def fuse_scores(similarity: np.ndarray, calibrated: np.ndarray, weight: float = SCORE_WEIGHT) -> np.ndarray:
    """Add calibrated scores (m,) to similarities (m,), float64.

    Of a pair of images of the collection, ``calibrated`` is the mean of what each of the two, asking, sees.
    """
    return similarity.astype(np.float64) + weight * calibrated


def adapt_weight(similarity: np.ndarray, ranked: np.ndarray) -> float:
    """Give how much more than similarities the scores of a query tell: a factor from 1/2 to 2.

    It is the ratio of the areas under both, sorted and scaled to [0, 1], over as many images as stand out at
    most and one more.

    >>> flat, steep = np.linspace(1, 0, 101), np.append(np.ones(3), np.zeros(98))
    >>> adapt_weight(flat, steep), adapt_weight(flat, flat), adapt_weight(steep, flat)
    (2.0, 1.0, 0.5)
    """
    ratio = measure_area(similarity) / max(measure_area(ranked), 1e-6)
    return float(np.clip(ratio, 1 / LIMIT, LIMIT))


def measure_area(scores: np.ndarray) -> float:
    """Give the mean of the best scores, (n,) in any order, scaled to [0, 1]; 1 where all are equal."""
    best = np.sort(scores.astype(np.float64))[::-1][: MOST + 1]
    if not len(best) or best[0] == best[-1]:
        return 1.0
    return float(((best - best[-1]) / (best[0] - best[-1])).mean())


def choose_candidates(fused: np.ndarray, scores: np.ndarray, *, depth: int = 30) -> np.ndarray:
    """Choose the images to verify, ordinals ascending: the ``depth`` best fused and the best by score.

    The union, since the right image may lie outside what the global descriptor proposes. ``scores`` (m,) are
    of one ranking, or (r, m) of several.
    """
    chosen = best_of(fused, depth)
    for row in np.atleast_2d(scores):
        chosen = np.union1d(chosen, best_of(np.where(row > 0, row, -np.inf), depth))
    return chosen


def best_of(scores: np.ndarray, k: int) -> np.ndarray:
    """Ordinals of the ``k`` best scores (n,), best first, ties by ordinal; ``-inf`` is never one."""
    there = np.flatnonzero(scores > -np.inf)
    if len(there) > k:
        kth = np.partition(scores[there], len(there) - k)[len(there) - k]
        there = there[scores[there] >= kth]
    return there[rank_order(scores[there], there)][:k]


def reward_inliers(n_inliers: np.ndarray, *, weight: float = BONUS_WEIGHT) -> np.ndarray:
    """Give ``0.2 ln(1 + max(inliers - 8, 0))``, float64: what verification adds to a fused score."""
    return weight * np.log1p(np.maximum(np.asarray(n_inliers, np.float64) - FEW_INLIERS, 0))


def observe_fused(fused: np.ndarray, *, k: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Give what a query observes: ordinals of its ``k`` best images, and weights that sum to one.

    Weights are squares of positive fused scores (n,); there are fewer than ``k`` where fewer are positive.
    """
    best = best_of(fused, k)
    best = best[fused[best] > 0]
    weights = fused[best].astype(np.float64) ** GAMMA
    return best, weights / weights.sum() if len(best) else weights
