"""How well the network ranks the photos of the validation: mean average precision over its anchors."""

import numpy as np

from resight.evaluation.average_precision import ap_step
from resight.training.examples import Examples, Part

__all__ = ["evaluate_part"]


def evaluate_part(X: np.ndarray, part: Part, examples: Examples) -> float:
    """Rank, for every anchor, its positives among photos that are known to show something else.

    These are its listed negatives and the photos of other clusters. Copies of the anchor, and photos of
    its own cluster that nobody has judged, take no part.

    Parameters
    ----------
    X : ndarray, (m, d) float32
        Unit vectors of all rows; NaN where there is none.
    part : Part
        Anchors, positives, listed negatives.
    examples : Examples
        Clusters and copies.

    Returns
    -------
    float
        Mean over the anchors of the average precision (step form; equal similarities by row); NaN without
        any anchor.
    """
    found = []
    for anchor, positives, listed in zip(part.anchors, part.positives, part.negatives, strict=True):
        others = part.rows[examples.clusters[part.rows] != examples.clusters[anchor]]
        rows = np.union1d(positives, np.union1d(others, listed))
        rows = rows[(examples.copies[rows] != examples.copies[anchor]) & ~np.isnan(X[rows, 0])]
        is_positive = np.isin(rows, positives)
        order = np.argsort(-(X[rows] @ X[anchor]), kind="stable")
        if is_positive.any() and not is_positive.all():
            found.append(ap_step(np.flatnonzero(is_positive[order]), int(is_positive.sum())))
    return float(np.mean(found)) if found else np.nan
