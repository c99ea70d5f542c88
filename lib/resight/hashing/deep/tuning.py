"""Tune a stack by pairs: matching ones come within a margin, others stay beyond it, in every layer.

The double margin of DeepHash, equation 8: unlike a single one, it leaves alone what is near or far enough, so
that matching pairs do not pull everything together.
"""

from dataclasses import dataclass

import numpy as np

from resight.hashing.deep.rbm import MOMENTUM
from resight.hashing.deep.stack import Arrays, activate_layers

__all__ = ["Pairs", "choose_margins", "measure_auc", "pair_gradients", "pair_neighbours", "tune_layers"]

K = 10  # nearest descriptors, of which one matches where no pairs are given
OTHERS = 2  # pairs that do not match, for each that does: (a, r) and (b, r) of a random image r
BLOCK = 1024  # descriptors whose distances to all are held


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of visible units: ``A`` and ``B`` (p, I), and whether they match (p,) bool."""

    A: np.ndarray
    B: np.ndarray
    match: np.ndarray

    def take(self, rows: np.ndarray) -> "Pairs":
        """Give some of the pairs."""
        return Pairs(self.A[rows], self.B[rows], self.match[rows])


def pair_neighbours(X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pair every row of ``X`` (n, d) with one of its `K` nearest: rows (n, 2) int64."""
    X = X.astype(np.float32)
    squares, k = (X * X).sum(1), min(K, len(X) - 1)
    chosen = np.empty(len(X), np.int64)
    for start in range(0, len(X), BLOCK):
        part = slice(start, start + BLOCK)
        distance = squares[None] - 2 * X[part] @ X.T
        distance[np.arange(len(distance)), np.arange(len(X))[part]] = np.inf
        near = np.argpartition(distance, k - 1, axis=1)[:, :k]
        chosen[part] = near[np.arange(len(near)), rng.integers(k, size=len(near))]
    return np.stack([np.arange(len(X)), chosen], axis=1)


def pair_distances(pairs: Pairs, weights: Arrays, biases: Arrays) -> list[np.ndarray]:
    """Give the squared distances (p,) of the pairs in every layer."""
    A, B = (activate_layers(V, weights, biases)[1:] for V in (pairs.A, pairs.B))
    return [((a - b) ** 2).sum(1) for a, b in zip(A, B, strict=True)]


def choose_margins(pairs: Pairs, weights: Arrays, biases: Arrays) -> np.ndarray:
    """Give the margin of every layer (L,): between the medians of pairs that match and that do not.

    Raises
    ------
    ValueError
        Matching pairs are no nearer: nothing is to be learned from them.
    """
    margins = []
    for distances in pair_distances(pairs, weights, biases):
        near, far = np.median(distances[pairs.match]), np.median(distances[~pairs.match])
        if not near < far:
            raise ValueError(f"matching pairs are as far apart as others: medians {near:.3g} and {far:.3g}")
        margins.append((near + far) / 2)
    return np.array(margins)


def pair_gradients(
    pairs: Pairs, weights: Arrays, biases: Arrays, margins: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray], float]:
    """Give the gradients of weights and biases, and the loss, mean over pairs, summed over layers."""
    layers = [activate_layers(V, weights, biases) for V in (pairs.A, pairs.B)]
    pulls, loss = list[np.ndarray](), 0.0
    for a, b, margin in zip(layers[0][1:], layers[1][1:], margins, strict=True):
        over = ((a - b) ** 2).sum(1) - margin
        violated = np.where(pairs.match, over > 0, over < 0)
        sign = np.where(pairs.match, 1.0, -1.0) * violated / len(over)
        loss += float((sign * over).sum())
        pulls.append((2 * sign[:, None] * (a - b)).astype(a.dtype))
    gW, gb = [np.zeros_like(W) for W in weights], [np.zeros_like(b) for b in biases]
    for side, own in enumerate(layers):
        below = np.zeros_like(pulls[-1])
        for i in reversed(range(len(weights))):
            z = own[i + 1]
            delta = ((pulls[i] if side == 0 else -pulls[i]) + below) * z * (1 - z)
            gW[i] += own[i].T @ delta
            gb[i] += delta.sum(0)
            below = delta @ weights[i].T
    return gW, gb, loss


def measure_auc(distance: np.ndarray, match: np.ndarray) -> float:
    """Give the chance that a matching pair is nearer than another; ties count half."""
    values, at, counts = np.unique(distance, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[at.ravel()]
    n, m = int(match.sum()), int((~match).sum())
    return 1 - float((ranks[match].sum() - n * (n + 1) / 2) / (n * m)) if n and m and len(values) else 0.5


def tune_layers(
    trained: Pairs,
    checked: Pairs,
    start: tuple[Arrays, Arrays],
    rng: np.random.Generator,
    *,
    rate: float = 1e-3,
    epochs: int = 10,
    batch: int = 99,
) -> tuple[Arrays, Arrays, np.ndarray]:
    """Tune all layers, ``start`` with weights and biases, together.

    Those of the epoch are kept that order the ``checked`` pairs best.

    Returns
    -------
    weights, biases : tuple of ndarray
        Those given, where no epoch was better.
    aucs : ndarray, (epochs + 1,) float64
        Of ``checked``, by the distance of bits; that of the weights given first.
    """
    margins, n = choose_margins(trained, *start), len(start[0])
    parts = [part.copy() for part in (*start[0], *start[1])]
    speeds = [np.zeros_like(part) for part in parts]
    best, aucs = start, [bit_auc(checked, *start)]
    batches = np.array_split(np.arange(len(trained.match)), max(1, len(trained.match) // batch))
    for _ in range(epochs):
        order = rng.permutation(len(trained.match))
        for rows in batches:
            gW, gb, _ = pair_gradients(trained.take(order[rows]), (*parts[:n],), (*parts[n:],), margins)
            for part, speed, gradient in zip(parts, speeds, gW + gb, strict=True):
                speed *= MOMENTUM
                speed -= rate * gradient
                part += speed
        aucs.append(bit_auc(checked, (*parts[:n],), (*parts[n:],)))
        if aucs[-1] > max(aucs[:-1]):
            copies = [part.copy() for part in parts]
            best = (*copies[:n],), (*copies[n:],)
    return *best, np.array(aucs)


def bit_auc(pairs: Pairs, weights: Arrays, biases: Arrays) -> float:
    """Measure how well the bits of the last layer, each above its mean, tell matching pairs from others."""
    A, B = (activate_layers(V, weights[:-1], biases[:-1])[-1] @ weights[-1] for V in (pairs.A, pairs.B))
    center = np.concatenate([A, B]).mean(0)
    return measure_auc(((center < A) != (center < B)).sum(1), pairs.match)
