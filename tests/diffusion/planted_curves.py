"""Points along curves: what lies far along a curve is found by a walk and not by similarity."""

from typing import NamedTuple

import numpy as np

from resight.graph.affinity import mutual_affinity


class Curves(NamedTuple):
    """Unit ``X`` (n, 64), the curve of each row in ``labels`` (n,), -1 for a distractor."""

    X: np.ndarray
    labels: np.ndarray


def draw_curves(rng, *, n_curves, n_points, sigma, arc, n_distractors):
    """Draw points ``(cos t, sin t, cos(2t) / 2, sin(2t) / 2)`` in a frame per curve, with noise."""
    points = []
    for _ in range(n_curves):
        frame = np.linalg.qr(rng.standard_normal((64, 4)))[0].T
        t = rng.uniform(0, arc, n_points)
        curve = np.stack([np.cos(t), np.sin(t), 0.5 * np.cos(2 * t), 0.5 * np.sin(2 * t)], axis=1)
        points.append(add_noise(unit(curve) @ frame, sigma, rng))
    labels = np.repeat(np.arange(n_curves), n_points)
    distractors = unit(rng.standard_normal((n_distractors, 64)))
    return Curves(np.vstack([*points, distractors]), np.append(labels, np.full(n_distractors, -1)))


def add_noise(X, sigma, rng):
    return unit(X + sigma / 8 * rng.standard_normal(X.shape))


def unit(X):
    return X / np.linalg.norm(X, axis=-1, keepdims=True)


def nearest_lists(Q, X, k, *, exclude_self=False):
    """The k nearest rows of X for each of Q, as CSR lists, by sorting everything."""
    S = np.round(Q @ X.T, 12)  # equal vectors get equal similarities, whatever the matrix product does
    if exclude_self:
        np.fill_diagonal(S, -2)
    order = np.argsort(-S, axis=1, kind="stable")[:, :k]
    offsets = np.arange(0, order.size + 1, order.shape[1])
    return offsets, order.ravel(), np.take_along_axis(S, order, 1).ravel()


def affinity_of(X, k):
    return mutual_affinity(*nearest_lists(X, X, k, exclude_self=True))


def solve_dense(S, Y, alpha=0.99):
    """(I - alpha S)^-1 (1 - alpha) Y."""
    return np.linalg.solve(np.eye(S.shape[0]) - alpha * S.toarray(), (1 - alpha) * Y)


def step_average_precision(order, relevant):
    hits = np.isin(order, relevant)
    return (np.cumsum(hits)[hits] / (np.flatnonzero(hits) + 1)).sum() / len(relevant)
