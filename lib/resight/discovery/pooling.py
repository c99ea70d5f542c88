"""Vectors of boxes and patches of an activation map, whitened one by one or, for an image, as their sum.

C, sections 3.3 and 3.6, with maximum (MAC) or J's generalised mean (GeM) as pooling.
"""

from collections.abc import Sequence

import numpy as np

from resight.features.whitening import CovarianceSums, Whitening, fit_pca_whitening

__all__ = [
    "fit_box_whitening",
    "mean_in_boxes",
    "pool_boxes",
    "pool_patches",
    "sum_boxes",
    "unit_rows",
    "whiten_rows",
]

TINY = 1e-12
MAXIMUM = 0.0  # as an exponent: not a mean but the maximum
FLOOR = 1e-3  # of the largest eigenvalue: what few boxes span says little, and is not to be blown up


def unit_rows(X: np.ndarray) -> np.ndarray:
    """Divide rows (n, c) by their norms, float32; a zero row stays zero."""
    norms = np.sqrt(np.einsum("nc,nc->n", X, X, dtype=np.float64)).reshape(-1, 1)
    full = np.asarray(norms > TINY)
    return np.divide(X, norms, out=np.zeros(X.shape, np.float32), where=full, casting="same_kind")


def whiten_rows(X: np.ndarray, whitening: Sequence[Whitening]) -> np.ndarray:
    """Apply models one after the other to unit rows (n, c); zero rows stay zero."""
    found = np.asarray(X, np.float32)
    full = found.any(axis=1, keepdims=True)
    for model in whitening:
        found = model.apply(found) * full
    return found


def fit_box_whitening(sums: CovarianceSums, *, dims: int, power: float) -> Whitening:
    """Fit principal components to boxes, for boxes and patches.

    Fewer boxes than ``dims`` do not say which of the other directions to keep: then all of them are, alike.
    """
    d = sums.shift.size
    return fit_pca_whitening(sums, dims=min(dims, d) if sums.n > dims else d, power=power, floor=FLOOR)[0]


def mean_in_boxes(F: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Mean (r,) float32 of a map (h, w) inside each of ``boxes`` (r, 4), half-open cells."""
    means = [F[y0:y1, x0:x1].mean(dtype=np.float64) for y0, x0, y1, x1 in boxes]
    return np.array(means, np.float32)


def pool_boxes(A: np.ndarray, boxes: np.ndarray, *, p: float) -> np.ndarray:
    """Pool activations over boxes.

    Parameters
    ----------
    A : ndarray, (h, w, c) float32, not negative
        Activations.
    boxes : ndarray, (r, 4) int
        ``y0 x0 y1 x1``, half-open cells, none empty.
    p : float
        Exponent of the generalised mean; 0 takes the maximum.

    Returns
    -------
    ndarray, (r, c) float32
        Not normalised.
    """
    parts = [A[y0:y1, x0:x1].reshape(-1, A.shape[2]) for y0, x0, y1, x1 in boxes]
    if p == MAXIMUM:
        pooled = [part.max(axis=0) for part in parts]
    else:
        pooled = [generalised_mean(part, p) for part in parts]
    return np.array(pooled, np.float32).reshape(len(boxes), A.shape[2])


def generalised_mean(X: np.ndarray, p: float) -> np.ndarray:
    """Generalised mean (c,) of rows (n, c), scaled by the maxima against overflow."""
    top = X.max(axis=0)
    scaled = np.divide(X, top, out=np.zeros_like(X), where=top > 0)
    return raise_to(scaled, p).mean(axis=0, dtype=np.float64) ** (1 / p) * top


def raise_to(X: np.ndarray, p: float) -> np.ndarray:
    """Raise to a power; whole ones up to 4 by products, which is many times faster."""
    if p in (1, 2, 3, 4):
        square = X * X if p > 1 else X
        return square * X if p == 3 else square * square if p == 4 else square
    return X**p


def pool_patches(A: np.ndarray, *, side: int, p: float) -> np.ndarray:
    """Pool activations over a square around every cell, cut off where it leaves the grid.

    Parameters
    ----------
    A : ndarray, (h, w, c) float32, not negative
        Activations.
    side : int
        Of the square, in cells, odd.
    p : float
        As in `pool_boxes`.

    Returns
    -------
    ndarray, (h, w, c) float32
        Not normalised.
    """
    if side < 1 or side % 2 == 0:
        raise ValueError(f"the side of a patch is an odd number of cells, got {side}")
    if p == MAXIMUM:
        return slide(slide(A, side, np.maximum, 0), side, np.maximum, 1)
    top = A.max(axis=(0, 1))
    scaled = np.divide(A, top, out=np.zeros_like(A), where=top > 0)
    total = slide(slide(raise_to(scaled, p), side, np.add, 0), side, np.add, 1)
    reach = side // 2
    rows, columns = (
        np.minimum(np.arange(n) + reach + 1, n) - np.maximum(np.arange(n) - reach, 0) for n in A.shape[:2]
    )
    mean = total / np.outer(rows, columns).astype(np.float32)[:, :, None]
    root = np.cbrt(mean) if p == 3 else mean ** np.float32(1 / p)
    return root * top


def slide(A: np.ndarray, side: int, join: np.ufunc, axis: int) -> np.ndarray:
    """Join every cell with those up to ``side // 2`` away along an axis."""
    out, n = A.copy(), A.shape[axis]
    ahead, behind = (np.moveaxis(x, axis, 0) for x in (A, out))
    for step in range(1, min(side // 2, n - 1) + 1):
        join(behind[step:], ahead[:-step], out=behind[step:])
        join(behind[:-step], ahead[step:], out=behind[:-step])
    return out


def sum_boxes(pooled: np.ndarray, whitening: Sequence[Whitening]) -> np.ndarray:
    """Describe an image by the sum of its boxes' unit vectors (r, c), whitened once: (d,) float32."""
    total = pooled.sum(axis=0, dtype=np.float64, keepdims=True)
    return whiten_rows(unit_rows(total), whitening)[0]
