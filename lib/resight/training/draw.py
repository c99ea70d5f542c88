"""The tuples of an epoch: anchors in random order, a positive of each, hard negatives.

Every draw depends on the seed, the epoch and the anchor's place only, never on how many processes train.
"""

from typing import NamedTuple

import numpy as np

from resight.training.examples import Part

__all__ = ["Drawn", "draw_anchors", "pick_negatives"]


class Drawn(NamedTuple):
    """Anchors of an epoch with a positive each.

    Parameters
    ----------
    chosen : ndarray, (t,) int64
        Numbers of anchors of the part, in the order of the epoch.
    positives : ndarray, (t,) int64
        Rows.
    weights : ndarray, (t,) float64
        Of the positives, with mean 1.
    """

    chosen: np.ndarray
    positives: np.ndarray
    weights: np.ndarray


def draw_anchors(part: Part, *, n: int, weighted: bool, seed: int, epoch: int) -> Drawn:
    """Shuffle the anchors, keep ``n`` (0: all), draw one of each one's positives, all equally likely."""
    rng = np.random.default_rng([seed, epoch])
    shares = rng.random(len(part.anchors))
    chosen = rng.permutation(len(part.anchors))[: n or None]
    counts = np.array([len(rows) for rows in part.positives], np.int64)
    places = (shares * counts).astype(np.int64)
    positives = np.array([part.positives[i][places[i]] for i in chosen], np.int64)
    weights = np.array([part.weights[i][places[i]] for i in chosen], np.float64)
    mean = weights.mean() if len(weights) else 0.0
    return Drawn(chosen, positives, weights / mean if weighted and mean > 0 else np.ones(len(chosen)))


def pick_negatives(found: np.ndarray, *, n: int, seed: int, epoch: int, part: int) -> np.ndarray:
    """Take ``n`` of the negatives ``found`` (t, q), nearest first: all where q is n, else drawn.

    A tuple with fewer than ``n`` keeps all that it has; -1 fills up. Returns (t, n) int64.
    """
    if found.shape[1] == n:
        return found
    rng = np.random.default_rng([seed, epoch, 1 + part])
    keys = np.where(found >= 0, rng.random(found.shape), 2.0)  # what is absent comes last
    order = np.argsort(keys, axis=1)[:, :n]
    return np.take_along_axis(found, np.sort(order, axis=1), axis=1)
