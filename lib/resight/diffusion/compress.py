"""Fewer regions per image: the means of a Gaussian mixture of its own region vectors.

Iscen et al., CVPR 2017, keep the normalised means of g = 5 components and say no more. Here
the components are spherical, with a floor under the variance, and start by k-means++ from a fixed seed.
"""

from itertools import pairwise

import numpy as np

FLOOR = 1e-6  # variance per dimension
TINY = 1e-12


def compress_regions(X: np.ndarray, *, g: int = 5, seed: int = 0, n_iter: int = 30) -> np.ndarray:
    """Replace the regions of one image by at most ``g`` vectors.

    Parameters
    ----------
    X : ndarray, (m, d) float
        Unit region vectors.
    g : int
        Components. An image with no more than ``g`` distinct regions keeps these, in their order.
    seed : int
        Of the choice of the first centres.

    Returns
    -------
    ndarray, (min(g, distinct), d) float32
        Unit vectors.
    """
    if g < 1:
        raise ValueError(f"g is {g}: want at least one component")
    distinct = X[np.sort(np.unique(X, axis=0, return_index=True)[1])]
    if len(distinct) <= g:
        return np.asarray(distinct, np.float32)
    wide = np.asarray(X, np.float64)
    means = fit_mixture(wide, choose_centres(wide, g, np.random.default_rng(seed)), n_iter)
    norms = np.linalg.norm(means, axis=1)
    means[norms < TINY] = wide[0]  # regions that cancel have no direction in common
    return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


def compress_images(
    X: np.ndarray, offsets: np.ndarray, *, g: int = 5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Compress image by image: vectors (n', d) float32 and their offsets (n_images + 1,) int64."""
    pieces = [compress_regions(X[start:stop], g=g, seed=seed) for start, stop in pairwise(offsets)]
    counts = [len(piece) for piece in pieces]
    empty = np.zeros((0, X.shape[1]), np.float32)
    return np.concatenate([empty, *pieces]), np.cumsum([0, *counts], dtype=np.int64)


def choose_centres(X: np.ndarray, g: int, rng: np.random.Generator) -> np.ndarray:
    """Draw ``g`` rows of ``X`` (m, d), each with probability as its squared distance from those before."""
    chosen = [int(rng.integers(len(X)))]
    nearest = square_distances(X, X[chosen])[:, 0]
    for _ in range(g - 1):
        chosen.append(int(rng.choice(len(X), p=nearest / nearest.sum())))
        nearest = np.minimum(nearest, square_distances(X, X[chosen[-1:]])[:, 0])
    return X[chosen]


def square_distances(X: np.ndarray, M: np.ndarray) -> np.ndarray:
    """Squared distances (m, g) of rows of ``X`` (m, d) from rows of ``M`` (g, d)."""
    return np.square(X[:, None] - M[None]).sum(2)


def fit_mixture(X: np.ndarray, means: np.ndarray, n_iter: int) -> np.ndarray:
    """Run expectation-maximisation of spherical Gaussians from ``means`` (g, d); returns the means."""
    d = X.shape[1]
    nearest = square_distances(X, means).min(axis=1)
    variances = np.full(len(means), max(nearest.mean() / d, FLOOR))
    shares = np.full(len(means), 1 / len(means))
    for _ in range(n_iter):
        D = square_distances(X, means)
        log_p = np.log(shares) - 0.5 * (d * np.log(variances) + D / variances)  # (m, g)
        R = np.exp(log_p - log_p.max(axis=1, keepdims=True))
        R /= R.sum(axis=1, keepdims=True)
        mass = R.sum(axis=0) + TINY
        before, means = means, (R.T @ X + TINY * means) / mass[:, None]  # an empty component stays put
        variances = np.maximum((R * square_distances(X, means)).sum(axis=0) / (d * mass), FLOOR)
        shares = mass / mass.sum()
        if np.abs(means - before).max() < FLOOR:
            break
    return means
