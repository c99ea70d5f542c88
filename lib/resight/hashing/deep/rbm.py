"""One restricted Boltzmann machine, trained by contrastive divergence with a pull towards even bits."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Layer", "cd_gradients", "even_penalty", "rank_targets", "sigmoid", "train_layer"]

LEAST_BATCH = 32  # rows whose ranks are fine enough to be targets
BATCH = 100
MOMENTUM = 0.9
START = 0.01  # standard deviation of weights at first
TIE = 1e-9  # noise that breaks ties of activations


@dataclass
class Layer:
    """Weights between visible and hidden units.

    ``W`` (I, J), ``b`` (J,) of the hidden and ``c`` (I,) of the visible units, float32.
    """

    W: np.ndarray
    b: np.ndarray
    c: np.ndarray

    def activate(self, V: np.ndarray) -> np.ndarray:
        """Give the chance (n, J) that hidden units are on, of visible ones (n, I)."""
        return sigmoid(V @ self.W + self.b)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Map real values to (0, 1), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def rank_targets(P: np.ndarray, rng: np.random.Generator, *, rounds: int = 3) -> np.ndarray:
    """Give activations that are spread evenly over the batch for every unit, and over the units of every row.

    Parameters
    ----------
    P : ndarray, (B, J)
        Activations of a batch.
    rng : Generator
        Breaks ties.
    rounds : int
        How often columns and rows are ranked in turn; rows, which come last, are exactly even.

    Returns
    -------
    T : ndarray, (B, J) float64
        Every row holds the values (k + 0.5) / J.
    """
    B, J = P.shape
    T = P + TIE * rng.random(P.shape)
    for _ in range(rounds):
        T = (rank(T, 0) + 0.5) / B
        T = (rank(T + TIE * rng.random(P.shape), 1) + 0.5) / J
    return T


def rank(values: np.ndarray, axis: int) -> np.ndarray:
    """Give the place of every value along an axis, from 0."""
    return np.argsort(np.argsort(values, axis=axis, kind="stable"), axis=axis, kind="stable")


def even_penalty(P: np.ndarray, T: np.ndarray) -> float:
    """Cross-entropy of activations ``P`` and their targets ``T``, summed: h of the objective."""
    P = np.clip(P.astype(np.float64), 1e-12, 1 - 1e-12)
    return float(-(T * np.log(P) + (1 - T) * np.log(1 - P)).sum())


def cd_gradients(
    V: np.ndarray, layer: Layer, rng: np.random.Generator, *, weight: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Give the directions of ascent of W, b and c for a batch ``V`` (B, I), and the error of rebuilding it.

    ``weight`` is lambda, that of the pull towards even bits; its targets have no gradient.
    """
    P = layer.activate(V)
    hidden = (rng.random(P.shape) < P).astype(V.dtype)
    rebuilt = sigmoid(hidden @ layer.W.T + layer.c)
    again = layer.activate(rebuilt)
    pulled = P + (weight * (rank_targets(P, rng) - P)).astype(P.dtype) if weight else P
    gW = (V.T @ pulled - rebuilt.T @ again) / len(V)
    error = float(((V - rebuilt) ** 2).mean(dtype=np.float64))
    return gW, (pulled - again).mean(0), (V - rebuilt).mean(0), error


def train_layer(
    V: np.ndarray,
    n_units: int,
    rng: np.random.Generator,
    *,
    weight: float = 0.1,
    rate: float = 0.01,
    epochs: int = 30,
    batch: int = BATCH,
) -> tuple[Layer, np.ndarray]:
    """Train a layer of ``n_units`` on visible units ``V`` (n, I) float32 in [0, 1].

    Returns
    -------
    layer : Layer
    errors : ndarray, (epochs,) float64
        Mean squared error of rebuilding, by epoch.

    Raises
    ------
    ValueError
        Less rows than ranks need, or bits that are no bytes.
    """
    if len(V) < LEAST_BATCH or n_units % 8:
        raise ValueError(
            f"{len(V)} descriptors, {n_units} units: {LEAST_BATCH} at least, and a multiple of 8"
        )
    on = np.clip(V.mean(0, dtype=np.float64), 0.01, 0.99)
    W = rng.normal(size=(V.shape[1], n_units)) * START
    start = (W, np.zeros(n_units), np.log(on / (1 - on)))
    layer = Layer(*(part.astype(np.float32) for part in start))
    speeds = [np.zeros_like(part) for part in (layer.W, layer.b, layer.c)]
    batches = np.array_split(np.arange(len(V)), max(1, len(V) // batch))
    errors = []
    for _ in range(epochs):
        order, sums = rng.permutation(len(V)), 0.0
        for rows in batches:
            *gradients, error = cd_gradients(V[order[rows]], layer, rng, weight=weight)
            sums += error * len(rows)
            for part, speed, gradient in zip((layer.W, layer.b, layer.c), speeds, gradients, strict=True):
                speed *= MOMENTUM
                speed += rate * gradient
                part += speed
        errors.append(sums / len(V))
    return layer, np.array(errors)
