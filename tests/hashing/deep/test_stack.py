"""Stacks of layers: codes, margins, gradients, and what tuning by pairs must not make worse."""

from itertools import pairwise

import numpy as np
import pytest

from resight.hashing.deep.fit import fit_deephash, fit_rbmh, label_pairs
from resight.hashing.deep.rbm import sigmoid
from resight.hashing.deep.stack import StackModel, activate_layers
from resight.hashing.deep.tuning import (
    Pairs,
    choose_margins,
    measure_auc,
    pair_gradients,
    pair_neighbours,
    tune_layers,
)
from resight.hashing.kinds import read_model
from tests.hashing.deep.test_rbm import numeric


def families(seed, n=160, d=20):
    """Vectors in families of four that are near each other, and which rows match."""
    rng = np.random.default_rng(seed)
    X = np.repeat(rng.normal(size=(n // 4, d)), 4, axis=0) + 0.4 * rng.normal(size=(n, d))
    first = np.arange(0, n, 4)
    return X.astype(np.float32), np.concatenate([[first, first + k] for k in (1, 2, 3)], axis=1).T


def draw_stack(rng, widths=(6, 8, 8)):
    shapes = pairwise(widths)
    return tuple(rng.normal(size=shape) for shape in shapes), tuple(rng.normal(size=w) for w in widths[1:])


@pytest.fixture(scope="module")
def models():
    X, pairs = families(0)
    return X, {
        "rbmh": fit_rbmh(X, 16, epochs=8),
        "deephash": fit_deephash(X, 16, layers=(24,), pairs=pairs, epochs=8),
    }


@pytest.mark.parametrize("kind", ["rbmh", "deephash"])
def test_a_stored_model_gives_the_same_codes_row_by_row(models, kind):
    X, model = models[0], models[1][kind]
    again = read_model(model.to_bytes())
    codes = model.encode(X)
    assert (again.kind, again.n_bits, again.to_bytes()) == (kind, 16, model.to_bytes())
    assert np.array_equal(again.encode(X), codes)
    assert np.array_equal(np.concatenate([model.encode(X[i : i + 1]) for i in range(9)]), codes[:9])
    on = np.unpackbits(codes, axis=1).mean(0)
    assert on.min() > 0.3
    assert on.max() < 0.7
    assert abs(on.mean() - 0.5) < 0.05


def test_the_centre_takes_the_place_of_the_bias(rng):
    weights, biases = draw_stack(rng)
    X, center = rng.normal(size=(30, 6)), rng.normal(size=8)
    model = StackModel("rbmh", np.zeros(6, np.float32), weights, biases, center)
    below = sigmoid((X > 0) @ weights[0] + biases[0])
    expected = sigmoid(below @ weights[1] - center) > 0.5
    assert np.array_equal(np.unpackbits(model.encode(X), axis=1, bitorder="little"), expected)


def test_gradients_are_those_of_the_loss_and_nothing_pulls_within_the_margins(rng):
    weights, biases = draw_stack(rng)
    pairs = Pairs(rng.random((12, 6)), rng.random((12, 6)), np.arange(12) < 5)
    margins = np.array([0.35, 0.25])
    gW, gb, _ = pair_gradients(pairs, weights, biases, margins)

    def loss(number):
        return lambda W: pair_gradients(
            pairs, (*weights[:number], W, *weights[number + 1 :]), biases, margins
        )[2]

    for number, place in ((0, (2, 3)), (0, (5, 7)), (1, (1, 4))):
        slope = numeric(loss(number), weights[number], place)
        np.testing.assert_allclose(gW[number][place], slope, rtol=1e-4, atol=1e-9)
    biased = numeric(lambda b: pair_gradients(pairs, weights, (b, biases[1]), margins)[2], biases[0], 3)
    np.testing.assert_allclose(gb[0][3], biased, rtol=1e-4, atol=1e-9)
    layers = zip(*(activate_layers(V, weights, biases)[1:] for V in (pairs.A, pairs.B)), strict=True)
    worst = np.array([((a - b) ** 2).sum(1).max() for a, b in layers])
    matching = Pairs(pairs.A, pairs.B, np.ones(12, bool))
    still = pair_gradients(matching, weights, biases, worst)
    assert not any(g.any() for g in (*still[0], *still[1]))
    assert still[2] == 0
    turned = pair_gradients(Pairs(pairs.B, pairs.A, pairs.match), weights, biases, margins)
    np.testing.assert_allclose(turned[0][0], gW[0])


def test_margins_lie_between_the_medians_or_the_pairs_are_refused(rng):
    weights, biases = draw_stack(rng)
    A = rng.random((20, 6))
    match = np.arange(20) < 10
    B = np.where(match[:, None], A + 0.01, rng.random((20, 6)))
    margins = choose_margins(Pairs(A, B, match), weights, biases)
    assert (margins > 0).all()
    with pytest.raises(ValueError, match="matching pairs are as far apart as others"):
        choose_margins(Pairs(A, B, ~match), weights, biases)


def test_tuning_never_orders_pairs_worse_and_gives_even_bits(rng):
    X, matching = families(1)
    V = (X.mean(0) < X).astype(np.float32)
    trained, checked = label_pairs(V, matching, rng)
    assert checked.match.sum() == round(0.1 * len(matching))
    shapes = ((20, 24), (24, 16))
    weights = tuple((0.3 * rng.normal(size=shape)).astype(np.float32) for shape in shapes)
    biases = tuple(np.zeros(shape[1], np.float32) for shape in shapes)
    tuned, _, aucs = tune_layers(trained, checked, (weights, biases), rng, rate=0.02, epochs=6)
    assert max(aucs) > aucs[0]
    assert not np.array_equal(tuned[0], weights[0])


def test_areas_under_curves_count_ties_half_and_neighbours_are_near(rng):
    distance, match = rng.integers(0, 4, 60), rng.random(60) < 0.4
    pairs = [(a, b) for a in distance[match] for b in distance[~match]]
    expected = np.mean([(a < b) + (a == b) / 2 for a, b in pairs])
    assert measure_auc(distance, match) == pytest.approx(expected)
    X, _ = families(2)
    rows = pair_neighbours(X, rng)
    far = ((X[:, None] - X[None]) ** 2).sum(2)
    np.fill_diagonal(far, np.inf)
    assert (far[rows[:, 0], rows[:, 1]] <= np.sort(far, axis=1)[:, 9] + 1e-4).all()
    assert np.array_equal(rows[:, 0], np.arange(len(X)))
