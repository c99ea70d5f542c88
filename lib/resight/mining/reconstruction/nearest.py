"""Hard negatives: the images of other models that look most alike, hardest first."""

import numpy as np

from resight.mining.entries import ranks


def find_negatives(
    similarity: np.ndarray,
    forbidden: np.ndarray,
    models: np.ndarray,
    ids: np.ndarray,
    *,
    n: int,
    per_model: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the ``n`` best images of every query, at most one of each model.

    Parameters
    ----------
    similarity : ndarray, (q, m) float
        Of queries and candidates.
    forbidden : ndarray, (q, m) bool
        Candidates of the query's own model, and its copies.
    models, ids : ndarray, (m,) int64
        Of the candidates; ids decide among equals.
    per_model : bool
        Rule N2 of the paper; otherwise N1, the nearest whatever their models.

    Returns
    -------
    row, column : ndarray, (r,) int64
        Query and candidate, by query, the hardest first; fewer than n where there are no more.
    """
    scores = np.where(forbidden, -np.inf, similarity)
    row, column = np.nonzero(np.isfinite(scores))
    order = np.lexsort((ids[column], -scores[row, column], row))
    row, column = row[order], column[order]
    if per_model and len(row):
        key = row * (int(models.max()) + 1) + models[column]
        first = np.sort(np.unique(key, return_index=True)[1])
        row, column = row[first], column[first]
    kept = ranks(row) < n
    return row[kept], column[kept]
