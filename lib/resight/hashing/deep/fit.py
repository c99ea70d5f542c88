"""Fit a stack: layer after layer without labels, then all of them by pairs."""

from collections.abc import Sequence

import numpy as np

from resight.hashing.deep.rbm import BATCH, Layer, train_layer
from resight.hashing.deep.stack import StackModel, center_stack
from resight.hashing.deep.tuning import Pairs, pair_neighbours, tune_layers

__all__ = ["fit_deephash", "fit_rbmh", "label_pairs"]

EPOCHS, STEPS = 30, 3000  # over the sample: so many, or more until there are so many steps
CHECKED = 0.1  # share of the pairs that say which weights are best


def fit_rbmh(
    X: np.ndarray, n_bits: int, *, seed: int = 0, weight: float = 0.1, epochs: int = 0
) -> StackModel:
    """Fit one layer of ``n_bits`` on ``X`` (n, d).

    ``weight`` is that of the pull towards even bits; without a number of ``epochs`` there are 30 of them, or
    more of a small sample.

    Raises
    ------
    ValueError
        A sample of less than 32 rows.
    """
    mean, V = binarize(X)
    rng, epochs = np.random.default_rng(seed), epochs or count_epochs(len(X))
    layer, _ = train_layer(V, n_bits, rng, weight=weight, epochs=epochs)
    return center_stack("rbmh", mean, (layer.W,), (layer.b,), X)


def fit_deephash(
    X: np.ndarray,
    n_bits: int,
    *,
    seed: int = 0,
    layers: Sequence[int] = (),
    pairs: np.ndarray | None = None,
    weight: float = 0.1,
    epochs: int = 0,
) -> StackModel:
    """Fit a stack on ``X`` (n, d) and tune it by matching pairs.

    Parameters
    ----------
    layers : sequence of int
        Units of the layers below the last; by default one of twice the bits.
    pairs : ndarray, (p, 2) int64
        Rows of ``X`` that match; by default each row and one of its ten nearest, which keeps the order of
        distances and needs no labels.

    Raises
    ------
    ValueError
        A sample of less than 32 rows, or pairs that are no nearer than others.
    """
    rng, epochs = np.random.default_rng(seed), epochs or count_epochs(len(X))
    mean, V = binarize(X)
    made, below = list[Layer](), V
    for width in (*(layers or (2 * n_bits,)), n_bits):
        layer, _ = train_layer(below, width, rng, weight=weight, epochs=epochs)
        made.append(layer)
        below = layer.activate(below)
    weights, biases = tuple(layer.W for layer in made), tuple(layer.b for layer in made)
    matching = pair_neighbours(X, rng) if pairs is None else pairs
    trained, checked = label_pairs(V, matching, rng)
    weights, biases, _ = tune_layers(trained, checked, (weights, biases), rng)
    return center_stack("deephash", mean, weights, biases, X)


def count_epochs(n: int) -> int:
    """Give the epochs over ``n`` rows."""
    return max(EPOCHS, -(-STEPS // max(1, n // BATCH)))


def binarize(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the mean (d,) float32 of ``X`` (n, d), and which components are above it (n, d) float32."""
    mean = X.mean(0, dtype=np.float64).astype(np.float32)
    return mean, (X.astype(np.float32) > mean).astype(np.float32)


def label_pairs(V: np.ndarray, matching: np.ndarray, rng: np.random.Generator) -> tuple[Pairs, Pairs]:
    """Add two pairs that do not match to each that does, and set some aside: trained and checked.

    ``matching`` (p, 2) int64 are rows of ``V`` (n, I). Both ends of a pair are paired with a random row.
    """
    matching = rng.permutation(matching)
    strangers = rng.integers(len(V), size=len(matching))
    n_checked = max(1, round(CHECKED * len(matching)))

    def label(part: slice) -> Pairs:
        (a, b), r = matching[part].T, strangers[part]
        ends = np.concatenate([[a, b], [a, r], [b, r]], axis=1)
        is_other = ends[0] != ends[1]
        match = np.arange(ends.shape[1]) < len(a)
        return Pairs(V[ends[0][is_other]], V[ends[1][is_other]], match[is_other])

    return label(slice(n_checked, None)), label(slice(n_checked))
