"""Collections along curves, and the dense, slow way from vectors to pools."""

from typing import NamedTuple

import numpy as np

from resight.diffusion.normalize import normalize_affinity
from resight.diffusion.solve import solve_diffusion
from resight.mining.entries import Entries
from tests.diffusion.planted_curves import affinity_of, unit


class Planted(NamedTuple):
    X: np.ndarray
    labels: np.ndarray


def draw_arcs(rng, *, n_arcs=20, n_points=40, noise=0.05) -> Planted:
    """Points along arcs of 1.2 pi, each in a subspace of three dimensions of its own, out of sixteen."""
    points = []
    for _ in range(n_arcs):
        frame = np.linalg.qr(rng.standard_normal((16, 3)))[0].T
        t = np.linspace(0, 1.2 * np.pi, n_points)
        arc = np.stack([np.cos(t), np.sin(t), np.full(n_points, 0.3)], axis=1) @ frame
        points.append(unit(arc + noise / 4 * rng.standard_normal(arc.shape)))
    return Planted(np.vstack(points), np.repeat(np.arange(n_arcs), n_points))


def draw_moons(rng, *, n=300, noise=0.08, width=0.35, n_features=512) -> Planted:
    """Two moons seen through random Fourier features of a Gaussian kernel."""
    t = rng.uniform(0, np.pi, (2, n))
    upper = np.stack([np.cos(t[0]), np.sin(t[0])], axis=1)
    lower = np.stack([1 - np.cos(t[1]), 0.5 - np.sin(t[1])], axis=1)
    points = np.vstack([upper, lower]) + noise * rng.standard_normal((2 * n, 2))
    phases = points @ rng.standard_normal((2, n_features)) / width + rng.uniform(0, 2 * np.pi, n_features)
    return Planted(unit(np.cos(phases)), np.repeat([0, 1], n))


def sort_lists(scores, anchors) -> Entries:
    """All items of each row (s, n), the best first, equal ones by number; the anchor itself left out."""
    order = np.argsort(-scores, axis=1, kind="stable")
    kept = order != anchors[:, None]
    row = np.nonzero(kept)[0]
    return Entries(row, order[kept], np.take_along_axis(scores, order, 1)[kept])


def list_both(X, anchors, *, k, alpha=0.99) -> tuple[Entries, Entries]:
    """Rank everything for some rows of X by similarity and by diffusion over their mutual k neighbours."""
    S = normalize_affinity(affinity_of(X, k)).S
    Y = np.zeros((len(X), len(anchors)))
    Y[anchors, np.arange(len(anchors))] = 1
    F = solve_diffusion(S, Y, alpha=alpha, tol=1e-10).F
    return sort_lists(X[anchors] @ X.T, anchors), sort_lists(F.T, anchors)


def pure(entries, anchors, labels, *, same):
    """Share of the entries that show what their anchor shows, or something else."""
    agree = labels[entries.item] == labels[anchors][entries.row]
    return (agree == same).mean()
