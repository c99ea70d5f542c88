"""Labels of a few nodes spread to all others, with a certainty for each and a weight for each class.

Iscen, Tolias, Avrithis, Chum, "Label propagation for deep semi-supervised learning", CVPR 2019, section 4.
"""

from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from resight.diffusion.solve import solve_diffusion

__all__ = ["Propagated", "judge_scores", "merge_scores", "plant_seeds", "propagate_labels", "score_block"]

NOBODY = -1  # no class
BLOCK = 32  # classes that are solved together


class Scores(NamedTuple):
    """What is kept of the scores of some classes, per node; two of these add up to those of all.

    Parameters
    ----------
    total : ndarray, (n,) float64
        Sum of the scores z.
    entropy : ndarray, (n,) float64
        Sum of z log z.
    best, second : ndarray, (n,) float64
        The two largest scores.
    first_class : ndarray, (n,) int64
        Class of the largest, of equal ones the lowest; -1 where all are zero.
    residual : float
        The largest of the systems that were solved.
    """

    total: np.ndarray
    entropy: np.ndarray
    best: np.ndarray
    second: np.ndarray
    first_class: np.ndarray
    residual: float


class Propagated(NamedTuple):
    """Labels of n nodes.

    Parameters
    ----------
    labels : ndarray, (n,) int64
        The given class, or the one propagated; -1 where no label reaches.
    certainty : ndarray, (n,) float64
        In [0, 1]: 1 of given labels, 0 where none reaches.
    propagated : ndarray, (n,) int64
        What the graph alone says, also of the nodes whose class is given.
    margin : ndarray, (n,) float64
        Share of the largest score in the sum, less that of the second largest.
    class_weights : ndarray, (c,) float64
        With mean 1 over the classes that any node has; 0 of the others.
    residual : float
        The largest of the systems that were solved.
    """

    labels: np.ndarray
    certainty: np.ndarray
    propagated: np.ndarray
    margin: np.ndarray
    class_weights: np.ndarray
    residual: float


def propagate_labels(
    S: sp.csr_array,
    given: np.ndarray,
    *,
    n_classes: int,
    alpha: float = 0.99,
    tol: float = 1e-6,
    per_class: bool = True,
) -> Propagated:
    """Spread labels over a graph: ``(I - alpha S) Z = Y``, a column per class.

    Parameters
    ----------
    S : csr_array, (n, n) float64
        Symmetrically normalised affinity.
    given : ndarray, (n,) int64
        Class of a labelled node, from 0; -1 of the others.
    n_classes : int
        Two at least.
    alpha : float
        Weight of the neighbours.
    tol : float
        Relative residual of the systems.
    per_class : bool
        Whether the labels of a class together count as much as those of any other; else each label counts
        the same, and a class with many of them takes over.

    Returns
    -------
    Propagated
    """
    if n_classes < 2:
        raise ValueError(f"labels of two classes at least are needed, got {n_classes}")
    if S.shape != (len(given), len(given)):
        raise ValueError(f"S has shape {S.shape}, given has {len(given)} rows")
    blocks = (np.arange(i, min(i + BLOCK, n_classes)) for i in range(0, n_classes, BLOCK))
    options: dict[str, Any] = {"alpha": alpha, "tol": tol, "per_class": per_class}
    found = reduce(merge_scores, (score_block(S, given, classes, **options) for classes in blocks))
    return judge_scores(found, given, n_classes)


def plant_seeds(given: np.ndarray, classes: np.ndarray, *, per_class: bool) -> np.ndarray:
    """Give the right-hand sides Y (n, s) of ``classes`` (s,), where ``given`` (n,) holds a class or -1."""
    Y = (given[:, None] == classes).astype(np.float64)
    return Y / np.maximum(Y.sum(0), 1) if per_class else Y


def score_block(
    S: sp.csr_array, given: np.ndarray, classes: np.ndarray, *, alpha: float, tol: float, per_class: bool
) -> Scores:
    """Solve the systems of some ``classes`` (s,) ascending, and keep what `judge_scores` needs."""
    Y = plant_seeds(given, classes, per_class=per_class)
    solved = solve_diffusion(S, Y, alpha=alpha, tol=tol)
    Z = np.maximum(solved.F / (1 - alpha), 0)  # (n, s); rounding leaves some a little below zero
    Z[~reached_nodes(S, Y)] = 0  # what no seed of a class can reach
    logs = np.log(Z, out=np.zeros_like(Z), where=Z > 0)
    best = Z.argmax(1)
    ordered = np.sort(Z, axis=1)
    second = ordered[:, -2] if Z.shape[1] > 1 else np.zeros(len(Z))
    first_class = np.where(ordered[:, -1] > 0, classes[best], NOBODY)
    residual = float(solved.residuals.max(initial=0))
    return Scores(Z.sum(1), (Z * logs).sum(1), ordered[:, -1], second, first_class, residual)


def reached_nodes(S: sp.csr_array, Y: np.ndarray) -> np.ndarray:
    """Mark the nodes of components that hold a seed: (n, s) bool."""
    from scipy.sparse.csgraph import connected_components

    _, component = connected_components(S, directed=False)
    held = np.zeros((component.max(initial=-1) + 1, Y.shape[1]), bool)
    rows, columns = np.nonzero(Y)
    held[component[rows], columns] = True
    return held[component]


def merge_scores(a: Scores, b: Scores) -> Scores:
    """Join the scores of two blocks of classes; those of ``a`` are the lower ones where scores are equal."""
    swap = b.best > a.best
    second = np.where(swap, np.maximum(a.best, b.second), np.maximum(a.second, b.best))
    return Scores(
        a.total + b.total,
        a.entropy + b.entropy,
        np.maximum(a.best, b.best),
        second,
        np.where(swap, b.first_class, a.first_class),
        max(a.residual, b.residual),
    )


def judge_scores(scores: Scores, given: np.ndarray, n_classes: int) -> Propagated:
    """Turn scores into labels, certainty (1 less the relative entropy, the largest being 1) and weights."""
    reached = scores.total > 0
    total = np.where(reached, scores.total, 1.0)
    entropy = np.log(total) - scores.entropy / total
    certainty = np.where(reached, np.clip(1 - entropy / np.log(n_classes), 0, 1), 0.0)
    largest = certainty.max(initial=0)
    certainty = certainty / largest if largest > 0 else certainty
    is_given = given >= 0
    labels = np.where(is_given, given, scores.first_class)
    counts = np.bincount(labels[labels >= 0], minlength=n_classes)
    inverse = np.divide(1.0, counts, out=np.zeros(n_classes), where=counts > 0)
    mean = inverse[counts > 0].mean() if counts.any() else 1.0
    return Propagated(
        labels,
        np.where(is_given, 1.0, certainty),
        scores.first_class,
        np.where(reached, (scores.best - scores.second) / total, 0.0),
        inverse / mean,
        scores.residual,
    )
