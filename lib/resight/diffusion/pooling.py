"""From the scores of regions to scores of images: sum, or generalised max-pooling.

``F(X) = sum_j w_j f_j`` over the regions of image X. Generalised max-pooling weighs a region by how little
the others say the same: ``w = (Phi Phi^T + lambda I)^-1 1`` (Iscen et al., CVPR 2017; Murray and
Perronnin, CVPR 2014). The weights belong to the image, not to the query, and may be negative.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np


class Pooled(NamedTuple):
    """``scores`` (n_images, s) float64 and the region of each image that contributes most.

    ``best`` (n_images, s) int64 is its row among the regions, the first of equal ones, -1 for an image
    without regions, whose score is 0.
    """

    scores: np.ndarray
    best: np.ndarray


def gmp_weights(Phi: np.ndarray, offsets: np.ndarray, *, lam: float = 1.0) -> np.ndarray:
    """Weigh the regions of each image by generalised max-pooling.

    Parameters
    ----------
    Phi : ndarray, (n, d) float
        Region vectors, those of one image together.
    offsets : ndarray, (n_images + 1,) int64
        Where the regions of each image begin; an image may have any number of them.
    lam : float
        Regularisation, above 0; a large one makes weights equal.

    Returns
    -------
    w : ndarray, (n,) float64

    Raises
    ------
    ValueError
        ``lam`` is not positive, or ``offsets`` do not end at n.
    """
    from scipy.linalg import cho_factor, cho_solve

    if not lam > 0 or offsets[-1] != len(Phi):
        raise ValueError(f"lambda is {lam}, offsets end at {offsets[-1]} for {len(Phi)} regions")
    w = np.zeros(len(Phi))
    for start, stop in pairwise(offsets):
        if stop > start:
            regions = Phi[start:stop].astype(np.float64)
            gram = regions @ regions.T + lam * np.eye(stop - start)
            w[start:stop] = cho_solve(cho_factor(gram), np.ones(stop - start))
    return w


def pool_regions(f: np.ndarray, offsets: np.ndarray, weights: np.ndarray | None = None) -> Pooled:
    """Add the weighted scores of each image's regions.

    Parameters
    ----------
    f : ndarray, (n,) or (n, s) float64
        Scores of the regions, one column per query.
    offsets : ndarray, (n_images + 1,) int64
        Where the regions of each image begin.
    weights : ndarray, (n,) float64, optional
        Of `gmp_weights`; ones (sum pooling) by default.

    Returns
    -------
    Pooled
        With the trailing shape of ``f``.
    """
    if len(f) != offsets[-1]:
        raise ValueError(f"{len(f)} scores for {offsets[-1]} regions")
    shape = (len(offsets) - 1, *f.shape[1:])
    scores, best = np.zeros(shape), np.full(shape, -1)
    there = np.flatnonzero(np.diff(offsets))
    if not len(there):
        return Pooled(scores, best)
    weighted = f if weights is None else f * weights.reshape(-1, *[1] * (f.ndim - 1))
    scores[there] = np.add.reduceat(weighted, offsets[there])
    highest = np.maximum.reduceat(weighted, offsets[there])
    image = np.repeat(np.arange(len(there)), np.diff(offsets)[there])
    rows = np.arange(len(f)).reshape(-1, *[1] * (f.ndim - 1))
    winners = np.where(weighted == highest[image], rows, len(f))
    best[there] = np.minimum.reduceat(winners, offsets[there])
    return Pooled(scores, best)
