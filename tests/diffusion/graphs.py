"""Graphs and observations for the tests of the solver."""

import numpy as np
import scipy.sparse as sp

from tests.diffusion.planted_curves import affinity_of, draw_curves


def patchy_affinity(rng) -> sp.csr_array:
    """275 nodes of mutual neighbours: several components, isolated nodes, five exact copies."""
    X = draw_curves(rng, n_curves=10, n_points=25, sigma=0.25, arc=2.2, n_distractors=20).X
    return affinity_of(np.vstack([X, X[:5]]), 8)


def observe_some(rng, n: int, s: int) -> np.ndarray:
    """About ten positive observations per column; the last column is zero."""
    Y = np.where(rng.random((n, s)) < 10 / n, rng.random((n, s)), 0.0)
    Y[:, -1] = 0
    return Y


def scattered_affinity(rng, n: int, degree: int) -> sp.csr_array:
    """Symmetric random weights, about ``degree`` per row; large enough for several blocks of rows."""
    src, dst = rng.integers(0, n, (2, n * degree // 2))
    half = sp.csr_array((rng.random(len(src)) + 0.1, (src, dst)), shape=(n, n))
    half.setdiag(0)
    A = sp.csr_array(half + half.T)
    A.eliminate_zeros()
    return A
