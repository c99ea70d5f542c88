"""The k best of a row, and the merge of partial lists.

THE tie rule: score descending, then id ascending.
"""

import numpy as np


def rank_order(scores: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Order (n,) of ``scores`` (n,) from best to worst; equal scores by ascending ``ids`` (n,)."""
    return np.lexsort((ids, -scores))


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
