"""One Boltzmann machine: what the specification promises of its targets, gradients and bits."""

import numpy as np
import pytest

from resight.hashing.deep.rbm import Layer, cd_gradients, even_penalty, rank_targets, sigmoid, train_layer


def toy_bits(rng, n=600, d=24):
    """Correlated bits: signs of vectors with a falling spectrum, turned."""
    X = rng.normal(size=(n, d)) / np.sqrt(1 + np.arange(d))
    turn, _ = np.linalg.qr(rng.normal(size=(d, d)))
    return (X @ turn > 0.05).astype(np.float32)


def test_targets_are_even_over_rows_and_nearly_over_columns(rng):
    P = sigmoid(rng.normal(size=(100, 64)) * 3)
    P[:, 5] = 0.7  # a unit that says the same of every image
    T = rank_targets(P, np.random.default_rng(1))
    np.testing.assert_allclose(np.sort(T, axis=1), np.tile((np.arange(64) + 0.5) / 64, (100, 1)))
    even = (np.arange(100) + 0.5) / 100
    for column in np.sort(T, axis=0).T:
        assert np.abs(column - even).max() < 0.08 + 1 / 64
    assert abs(T.mean() - 0.5) < 1e-12
    assert np.array_equal(T, rank_targets(P, np.random.default_rng(1)))


def test_the_pull_is_the_gradient_of_the_penalty(rng):
    V = toy_bits(rng, 40, 6).astype(np.float64)
    layer = Layer(rng.normal(size=(6, 8)), rng.normal(size=8), rng.normal(size=6))
    T = rank_targets(layer.activate(V), np.random.default_rng(3))

    def penalty(W, b):
        return even_penalty(sigmoid(V @ W + b), T)

    with_pull, without = (cd_gradients(V, layer, np.random.default_rng(2), weight=w) for w in (0.3, 0.0))
    P = layer.activate(V)
    expected = -np.array([numeric(lambda b: penalty(layer.W, b), layer.b, j) for j in range(8)]) / len(V)
    np.testing.assert_allclose((T - P).mean(0), expected, rtol=1e-5)
    slope = -numeric(lambda W: penalty(W, layer.b), layer.W, (2, 3)) / len(V)
    np.testing.assert_allclose((V.T @ (T - P))[2, 3] / len(V), slope, rtol=1e-5)
    assert np.abs(with_pull[1] - without[1]).max() <= 0.3
    np.testing.assert_array_equal(with_pull[2], without[2])  # visible units do not feel it


def numeric(of, at, place, step=1e-5):
    """Slope of a function of an array in one of its values."""
    values = []
    for sign in (1, -1):
        moved = at.copy()
        moved[place] += sign * step
        values.append(of(moved))
    return (values[0] - values[1]) / (2 * step)


@pytest.fixture(scope="module")
def trained():
    V = toy_bits(np.random.default_rng(0))
    options = {"epochs": 25, "rate": 0.1, "batch": 50}
    return V, {w: train_layer(V, 16, np.random.default_rng(0), weight=w, **options) for w in (0.0, 0.3)}


def test_a_layer_learns_to_rebuild(trained):
    _, by_weight = trained
    for _, errors in by_weight.values():
        assert errors[-1] < 0.85 * errors[0]


def test_the_pull_makes_bits_even_without_a_new_centre(trained):
    V, by_weight = trained
    spread = {w: np.ptp((layer.activate(V) > 0.5).mean(0)) for w, (layer, _) in by_weight.items()}
    means = by_weight[0.3][0].activate(V).mean(0)
    assert spread[0.3] < spread[0.0]
    assert 0.4 < means.min() <= means.max() < 0.6


def test_too_few_rows_and_bits_that_are_no_bytes_are_refused(rng):
    with pytest.raises(ValueError, match="31 descriptors, 8 units: 32 at least"):
        train_layer(np.zeros((31, 4), np.float32), 8, rng)
    with pytest.raises(ValueError, match="a multiple of 8"):
        train_layer(np.zeros((40, 4), np.float32), 12, rng)
