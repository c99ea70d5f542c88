"""Average precision and its relatives, computed from the ranks of the positives alone.

Ranks count from 0 in a list from which junk has been removed. ``n_positives`` is the number of positives in
the *ground truth*: those that a cut list never reached add nothing. Without any positive every figure is
NaN: the query is left out of means. The trapezoid variant is that of Philbin et al., "Object retrieval with
large vocabularies and fast spatial matching" (CVPR 2007), used for Oxford, Paris, Holidays and their
revisited sets; the step variant is that of scikit-learn and of most hashing papers.
"""

from typing import NamedTuple

import numpy as np

UKB_GROUP = 4  # photos of one object in the UKB set


def ap_step(ranks: np.ndarray, n_positives: int) -> float:
    """Average precision as a finite sum: ``1/n sum_j j / (r_j + 1)``; ``ranks`` (f,) int64 ascending."""
    after, _ = precision_around(check_ranks(ranks, n_positives))
    return float(after.sum() / n_positives) if n_positives else np.nan


def ap_trapezoid(ranks: np.ndarray, n_positives: int) -> float:
    """Area under precision over recall by trapezoids, from ``ranks`` (f,) int64 ascending.

    ``1/n sum_j (p0_j + p1_j) / 2`` with ``p1_j = j / (r_j + 1)`` and ``p0_j = (j - 1) / r_j``, 1 at the top.
    """
    after, before = precision_around(check_ranks(ranks, n_positives))
    return float((after + before).sum() / (2 * n_positives)) if n_positives else np.nan


def precision_around(ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision (f,) float64 just after and just before each positive at ``ranks`` (f,)."""
    found = np.arange(len(ranks), dtype=np.float64)  # positives before each one
    return (found + 1) / (ranks + 1), np.where(ranks == 0, 1.0, found / np.maximum(ranks, 1))


def precision_at(ranks: np.ndarray, n_positives: int, k: int) -> float:
    """mP@k of the revisited benchmarks: precision at ``min(k, place of the last found positive)``.

    It differs from plain precision at k, which cannot reach 1 when there are fewer than k positives.
    """
    ranks = check_ranks(ranks, n_positives)
    if not n_positives:
        return np.nan
    depth = min(k, int(ranks[-1]) + 1) if len(ranks) else k
    return np.count_nonzero(ranks < depth) / depth


def recall_at(ranks: np.ndarray, n_positives: int, k: int) -> float:
    """Share of the positives among the first ``k``."""
    ranks = check_ranks(ranks, n_positives)
    return np.count_nonzero(ranks < k) / n_positives if n_positives else np.nan


def ukb_score(ranks: np.ndarray, n_positives: int) -> float:
    """Positives among the first four, the query itself being one (Nister and Stewenius, CVPR 2006)."""
    return recall_at(ranks, n_positives, UKB_GROUP) * n_positives


def check_ranks(ranks: np.ndarray, n_positives: int) -> np.ndarray:
    """Refuse ranks that are not ascending and distinct, or are more than the positives there are."""
    ranks = np.asarray(ranks, np.int64)
    if len(ranks) > n_positives:
        raise ValueError(f"{len(ranks)} positives found, but the ground truth has {n_positives}")
    if len(ranks) and (ranks[0] < 0 or (np.diff(ranks) <= 0).any()):
        raise ValueError(f"ranks must be ascending, distinct and not negative, got {ranks[:10]}")
    return ranks


class TieGroups(NamedTuple):
    """Runs of equal scores that hold a positive, best first; each array (g,) int64."""

    starts: np.ndarray  # items before the run
    sizes: np.ndarray  # items in it
    positives: np.ndarray  # positives in it


def find_tie_groups(scores: np.ndarray, positive: np.ndarray) -> TieGroups:
    """Cut a ranked, junk-free list into its runs of equal ``scores`` (n,); ``positive`` (n,) bool."""
    if not len(scores):
        return TieGroups(*np.zeros((3, 0), np.int64))
    starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])
    sizes = np.diff(np.r_[starts, len(scores)])
    positives = np.add.reduceat(positive.astype(np.int64), starts)
    kept = positives > 0
    return TieGroups(starts[kept], sizes[kept], positives[kept])


def count_negatives(thresholds: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count the items of one shard of a collection above and exactly at each threshold.

    Parameters
    ----------
    thresholds : ndarray, (g,) float
        The distinct scores of a query's positives.
    scores : ndarray, (m,) float
        Scores of the negatives of this shard, in any order.

    Returns
    -------
    above, equal : ndarray, (g,) int64
        Counts of different shards add up.
    """
    ordered = np.sort(scores)
    last = np.searchsorted(ordered, thresholds, side="right")
    return len(ordered) - last, last - np.searchsorted(ordered, thresholds, side="left")


def join_tie_groups(
    thresholds: np.ndarray, positives: np.ndarray, above: np.ndarray, equal: np.ndarray
) -> TieGroups:
    """Build the tie groups from summed `count_negatives`, without a ranking.

    ``thresholds`` (g,) are the distinct scores of the positives, ``positives`` (g,) how many have each.
    """
    order = np.argsort(-thresholds)
    positives, above, equal = positives[order], above[order], equal[order]
    return TieGroups(above + np.cumsum(positives) - positives, equal + positives, positives)


def ap_step_ties(groups: TieGroups, n_positives: int) -> float:
    """Give the exact mean of `ap_step` over all orders within the ties."""
    weight, after, _ = expected_precision(groups)
    return float((weight * after).sum() / n_positives) if n_positives else np.nan


def ap_trapezoid_ties(groups: TieGroups, n_positives: int) -> float:
    """Give the exact mean of `ap_trapezoid` over all orders within the ties."""
    weight, after, before = expected_precision(groups)
    return float((weight * (after + before)).sum() / (2 * n_positives)) if n_positives else np.nan


def expected_precision(groups: TieGroups) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the expected precision around each place of the tied runs, a positive standing there.

    Place i of a run of N with R positives, behind C0 items of which P0 positive, holds a positive with
    probability R / N; then (i - 1)(R - 1) / (N - 1) of the others stand before it on average. Both
    precisions are linear in that number, so its mean suffices.

    Returns
    -------
    weight, after, before : ndarray, (sum of sizes,) float64
    """
    starts, sizes, positives = groups
    run = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(len(run)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # i - 1
    earlier = (np.cumsum(positives) - positives)[run]  # P0
    share = (positives - 1) / np.maximum(sizes - 1, 1)
    found = earlier + within * share[run]
    place = starts[run] + within  # C0 + i - 1
    before = np.where(place == 0, 1.0, found / np.maximum(place, 1))
    return (positives / sizes)[run], (found + 1) / (place + 1), before
