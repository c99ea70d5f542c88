"""Figures over pairs and predictions: ROC AUC, micro-average precision, GAP and accuracy.

Copy detection puts the predictions of all queries into one list (Douze et al., "The 2021 Image Similarity
Dataset and Challenge", 2021); ties count worst first, wrong before right. So everything that matters is how
many right and wrong predictions share each score: counts of shards add up. GAP is the same formula
with one prediction per query (Ypsilantis et al., "The Met Dataset", NeurIPS D&B 2021, eq. 4).
"""

import numpy as np


def roc_auc(match_scores: np.ndarray, nonmatch_scores: np.ndarray) -> float:
    """Probability that a matching pair scores above another, ties counting half; (m,) and (u,) float."""
    from scipy.stats import rankdata  # slow to import: not for every --help

    m, u = len(match_scores), len(nonmatch_scores)
    if not m or not u:
        return np.nan
    scores = np.concatenate([match_scores, nonmatch_scores]).astype(np.float64)
    check_scores(scores)
    return float((rankdata(scores)[:m].sum() - m * (m + 1) / 2) / (m * u))


def count_by_score(scores: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count right and wrong predictions at each distinct score, best first.

    Parameters
    ----------
    scores : ndarray, (n,) float
    correct : ndarray, (n,) bool

    Returns
    -------
    n_right, n_wrong : ndarray, (g,) int64
    """
    scores, correct = np.asarray(scores), np.asarray(correct, bool)
    check_scores(scores)
    values, group = np.unique(scores, return_inverse=True)
    n_right = np.bincount(group[correct], minlength=len(values))
    n_wrong = np.bincount(group[~correct], minlength=len(values))
    return n_right[::-1], n_wrong[::-1]


def check_scores(scores: np.ndarray) -> None:
    """Refuse scores that have no place in an order."""
    if np.isnan(scores).any():
        raise ValueError(f"{np.count_nonzero(np.isnan(scores))} of {len(scores)} scores are NaN")


def micro_average_precision(n_right: np.ndarray, n_wrong: np.ndarray, n_truth: int) -> float:
    """Sum of precision times gain of recall over one global list, ties worst first.

    ``n_right``, ``n_wrong`` (g,) int64 come from `count_by_score`; ``n_truth`` is the number of true pairs,
    predicted or not (NaN without any).
    """
    if not n_truth:
        return np.nan
    group = np.repeat(np.arange(len(n_right)), n_right)  # of each right prediction
    place = np.arange(1, len(group) + 1)  # right predictions up to and with it
    return float((place / (place + np.cumsum(n_wrong)[group])).sum() / n_truth)


def recall_at_precision(
    n_right: np.ndarray, n_wrong: np.ndarray, n_truth: int, *, precision: float = 0.9
) -> float:
    """Highest recall of any score threshold that keeps at least this precision; 0 where none does."""
    if not n_truth:
        return np.nan
    right, total = np.cumsum(n_right), np.cumsum(n_right + n_wrong)
    kept = right[right >= precision * total]
    return float(kept.max(initial=0) / n_truth)


def score_counts(n_right: np.ndarray, n_wrong: np.ndarray, n_truth: int) -> dict[str, float]:
    """Figures of a list of predicted pairs; precision and recall are those of the whole list."""
    right, total = int(n_right.sum()), int(n_right.sum() + n_wrong.sum())
    return {
        "micro_ap": micro_average_precision(n_right, n_wrong, n_truth),
        "recall@p90": recall_at_precision(n_right, n_wrong, n_truth),
        "precision": right / total if total else np.nan,
        "recall": right / n_truth if n_truth else np.nan,
    }


def score_pairs(pairs: np.ndarray, scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Score predicted pairs (n, 2) int64 with ``scores`` (n,) against true pairs (t, 2) int64.

    A pair that is given twice, predicted or true, raises ``ValueError``. Pairs are ordered: (query, image).
    """
    both = np.concatenate([pairs, truth]).astype(np.int64).reshape(-1, 2)
    _, code = np.unique(both, axis=0, return_inverse=True)  # one number per pair
    predicted, true = np.split(code.ravel(), [len(pairs)])
    check_distinct(predicted, pairs, "predicted")
    check_distinct(true, truth, "true")
    return score_counts(*count_by_score(scores, np.isin(predicted, true)), len(truth))


def check_distinct(code: np.ndarray, pairs: np.ndarray, kind: str) -> None:
    """Refuse a pair that appears twice; ``code`` (n,) int64 numbers the ``pairs`` (n, 2)."""
    _, first = np.unique(code, return_index=True)
    if len(first) < len(code):
        again = np.setdiff1d(np.arange(len(code)), first)[0]
        raise ValueError(f"the {kind} pair {tuple(np.asarray(pairs)[again].tolist())} appears twice")


def classify_neighbors(
    similarity: np.ndarray, class_ids: np.ndarray, *, tau: float, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Predict a class from the nearest training images (Met, eq. 2 and 3).

    Parameters
    ----------
    similarity : ndarray, (s, k) float
        To the k nearest training images.
    class_ids : ndarray, (s, k) int64
        Their classes.
    tau : float
        Inverse temperature of the soft-max.
    n_classes : int
        All training classes; each that no neighbour has adds ``exp(0)`` to the sum.

    Returns
    -------
    predicted : ndarray, (s,) int64
    confidence : ndarray, (s,) float64
    """
    from scipy.special import logsumexp

    order = np.argsort(-similarity, axis=1, kind="stable")
    scaled = tau * np.take_along_axis(similarity, order, 1).astype(np.float64)
    classes = np.take_along_axis(class_ids, order, 1)
    same = classes[:, :, None] == classes[:, None, :]  # (s, k, k)
    best = ~np.tril(same, -1).any(2)  # (s, k) the nearest image of its class
    absent = np.log(np.maximum(n_classes - best.sum(1), 1e-300))
    exponents = np.column_stack([np.where(best, scaled, -np.inf), absent])
    return classes[:, 0], np.exp(scaled[:, 0] - logsumexp(exponents, axis=1))


def global_average_precision(
    predicted: np.ndarray, confidence: np.ndarray, truth: np.ndarray, known: np.ndarray
) -> dict[str, float]:
    """GAP over all queries, GAP- over the known ones, and the accuracy on those.

    Parameters
    ----------
    predicted, truth : ndarray, (s,) int64
        Classes; ``truth`` of an unknown query is not looked at.
    confidence : ndarray, (s,) float
    known : ndarray, (s,) bool
        False for distractor queries, which no prediction gets right.
    """
    correct, n_known = (predicted == truth) & known, int(known.sum())
    every = count_by_score(confidence, correct)
    among = count_by_score(confidence[known], correct[known])
    return {
        "gap": micro_average_precision(*every, n_known),
        "gap_minus": micro_average_precision(*among, n_known),
        "acc": float(correct[known].mean()) if n_known else np.nan,
    }
