"""The figures of one query, from its ranked images and its ground truth."""

from collections.abc import Iterable, Sequence

import numpy as np

from resight.evaluation.average_precision import (
    ap_step,
    ap_step_ties,
    ap_trapezoid,
    ap_trapezoid_ties,
    find_tie_groups,
    precision_at,
    recall_at,
    ukb_score,
)
from resight.evaluation.protocols import IGNORED, POSITIVE, Protocol, QueryTruth

DEFAULT_KS = (1, 5, 10, 100)


def score_relevance(
    relevance: np.ndarray, scores: np.ndarray, n_positives: int, *, ks: Sequence[int] = DEFAULT_KS
) -> dict[str, float]:
    """Score one ranked list; every figure is NaN where the ground truth has no positive.

    Parameters
    ----------
    relevance : ndarray, (n,) int8
        1 positive, 0 negative, -1 ignored, best first.
    scores : ndarray, (n,) float
        Neighbouring equal scores are a tie; only the ``_ties`` figures look at them.
    n_positives : int
        Positives in the ground truth, ranked or not.
    """
    kept = relevance != IGNORED
    positive = relevance[kept] == POSITIVE
    ranks, groups = np.flatnonzero(positive), find_tie_groups(scores[kept], positive)
    figures = {
        "ap_step": ap_step(ranks, n_positives),
        "ap_trapezoid": ap_trapezoid(ranks, n_positives),
        "ap_step_ties": ap_step_ties(groups, n_positives),
        "ap_trapezoid_ties": ap_trapezoid_ties(groups, n_positives),
    }
    figures |= {f"p@{k}": precision_at(ranks, n_positives, k) for k in ks}
    figures |= {f"recall@{k}": recall_at(ranks, n_positives, k) for k in ks}
    return figures | {"ukb": ukb_score(ranks, n_positives)}


def evaluate_ranking(
    image_ids: np.ndarray,
    scores: np.ndarray,
    truth: QueryTruth,
    *,
    protocols: Iterable[Protocol],
    ks: Sequence[int] = DEFAULT_KS,
    n_images: int | None = None,
) -> dict[str, dict[str, float]]:
    """Score one query's answer under several protocols: figures by name, by protocol.

    Parameters
    ----------
    image_ids : ndarray, (n,) int64
        Ranked images, best first; an image that appears twice raises ``ValueError``.
    scores : ndarray, (n,) float
        Their scores.
    truth : QueryTruth
        The labelled images.
    n_images : int, optional
        Size of the collection. ``cut`` is 1 where the list is shorter than it; the query's own image may
        be left out. Without it ``cut`` is 1 where a positive was never reached.

    Under a protocol that counts the query's own image as a positive, a list that leaves it out is scored as
    if it were the first.
    """
    values, counts = np.unique(image_ids, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"image {values[counts > 1][0]} is ranked twice for one query")
    codes = truth.label_ranking(image_ids)
    left_out = truth.own is not None and truth.own not in image_ids
    figures = {}
    for protocol in protocols:
        relevance, n_positives = protocol.relevance[codes], truth.count_positives(protocol)
        if left_out and protocol.own == "positive":  # nothing is more like a photo than itself
            relevance = np.insert(relevance, 0, POSITIVE)
        above = np.full(len(relevance) - len(image_ids), np.inf)
        found = score_relevance(relevance, np.concatenate([above, scores]), n_positives, ks=ks)
        if protocol.own != "positive":
            del found["ukb"]
        short = np.count_nonzero(relevance == POSITIVE) < n_positives
        cut = short if n_images is None else len(image_ids) + left_out < n_images
        depth = {"depth": float(len(image_ids)), "cut": float(cut)}
        figures[protocol.name] = found | (depth if n_positives else dict.fromkeys(depth, np.nan))
    return figures
