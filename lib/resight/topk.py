"""The k best of a row, and the merge of partial lists.

THE tie rule: score descending, then id ascending.
"""

import numpy as np


def rank_order(scores: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Order (n,) of ``scores`` (n,) from best to worst; equal scores by ascending ``ids`` (n,)."""
    return np.lexsort((ids, -scores))


def rankings_agree(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray], *, tol: float = 1e-6
) -> bool:
    """Whether two answers are one ranking, up to exchange among scores that are closer than ``tol``.

    This is what distribution, batching and another number of threads may change, and nothing more.

    Parameters
    ----------
    first, second : ids (m,) int64 without repetition, scores (m,) float in descending order
        Cut at the same length: of equals at the end, either may be there.

    Examples
    --------
    >>> a = np.array([7, 8, 9]), np.array([0.9, 0.5, 0.4])
    >>> b = np.array([8, 7, 3]), np.array([0.9, 0.9, 0.4])
    >>> rankings_agree(a, (np.array([7, 8, 3]), a[1])), rankings_agree(a, b)
    (True, False)
    """
    (ids, scores), (other_ids, other_scores) = first, second
    if len(ids) != len(other_ids) or not np.allclose(scores, other_scores, rtol=0, atol=tol):
        return False
    for (a, a_scores), (b, b_scores) in ((first, second), (second, first)):
        order = np.argsort(b)
        at = np.minimum(np.searchsorted(b, a, sorter=order), max(len(b) - 1, 0))
        there = b[order[at]] == a
        if (np.abs(a_scores[there] - b_scores[order[at[there]]]) > tol).any():
            return False
        if (a_scores[~there] > (b_scores[-1] if len(b) else 0) + tol).any():
            return False
    return True


def top_k(scores: np.ndarray, ids: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Select the ``k`` best columns of each row, exactly by the tie rule.

    Parameters
    ----------
    scores : ndarray, (n, m) float
        Higher is better; ``-inf`` marks an absent entry.
    ids : ndarray, (m,) or (n, m) int64
        The id of each column, or of each entry.

    Returns
    -------
    scores, ids : ndarray, (n, min(k, m))
    """
    m = scores.shape[1]
    ids = np.broadcast_to(ids, scores.shape)
    k = min(k, m)
    if k < m:
        kth = np.partition(scores, m - k, axis=1)[:, m - k]  # (n,) the k-th best score
        tied = scores == kth[:, None]
        if (tied.sum(1) + (scores > kth[:, None]).sum(1) > k).any():
            order = np.lexsort((ids, -scores), axis=1)[:, :k]
            return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)
        chosen = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        scores, ids = np.take_along_axis(scores, chosen, 1), np.take_along_axis(ids, chosen, 1)
    order = np.lexsort((ids, -scores), axis=1)
    return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)
