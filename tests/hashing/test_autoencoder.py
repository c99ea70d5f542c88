"""The binary autoencoder: its objective, its bits against a loop, its codes against ITQ."""

import numpy as np
import pytest

from resight.hashing.autoencoder import Autoencoder, fit_rba, solve_autoencoder, sweep_bits
from resight.hashing.learned import HashModel, fit_itq


def clustered(seed, n, d=24):
    """Vectors around 20 centres with falling variances, off the origin."""
    rng = np.random.default_rng(seed)
    spread = (1 + np.arange(d)) ** -0.5
    centres = rng.normal(size=(20, d)) * spread
    X = 0.7 * centres[rng.integers(20, size=n)] + 0.5 * rng.normal(size=(n, d)) * spread + 0.3
    return X.astype(np.float32)


def quality(model, X):
    """Mean share of the 10 exact neighbours among the first 10 by code."""
    codes = np.unpackbits(model.encode(X), axis=1).astype(int)
    exact = ((X[:60, None] - X[None]) ** 2).sum(2).argsort(1)[:, 1:11]
    coded = (codes[:60, None] != codes[None]).sum(2).argsort(1, kind="stable")[:, 1:11]
    return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, coded, strict=True)])


def test_the_objective_never_grows():
    X = clustered(0, 300).T.astype(np.float64)
    B = np.where(np.random.default_rng(1).normal(size=(16, 300)) >= 0, 1.0, -1.0)
    parts, objective = solve_autoencoder(X, B, weight=0.01, ridge=0.1, iterations=6)
    assert (np.diff(objective) <= 1e-9 * objective[:-1]).all()
    assert objective[-1] < 0.8 * objective[0]
    assert set(np.unique(parts.B)) == {-1.0, 1.0}


def test_a_sweep_is_that_of_a_loop_over_samples(rng):
    parts = Autoencoder(
        np.where(rng.normal(size=(6, 9)) >= 0, 1.0, -1.0),
        rng.normal(size=(6, 5)),
        rng.normal(size=(5, 6)),
        rng.normal(size=(6, 1)),
        rng.normal(size=(5, 1)),
    )
    X, B = rng.normal(size=(5, 9)), parts.B.copy()
    Q = parts.W2.T @ (X - parts.c2) + 0.3 * (parts.W1 @ X + parts.c1)
    for i in range(9):
        for k in range(6):
            others = [j for j in range(6) if j != k]
            B[k, i] = np.sign(Q[k, i] - parts.W2[:, k] @ parts.W2[:, others] @ B[others, i])
    assert sweep_bits(X, parts, 0.3) > 0
    assert np.array_equal(parts.B, B)


@pytest.mark.parametrize("seed", [0, 1])
def test_codes_are_about_as_good_as_those_of_itq(seed):
    X = clustered(seed, 600)
    assert abs(quality(fit_rba(X, 16, seed=seed), X) - quality(fit_itq(X, 16, seed=seed), X)) < 0.08


def test_a_stored_model_gives_the_same_codes_row_by_row():
    X = clustered(2, 200)
    model = fit_rba(X, 16)
    again = HashModel.from_bytes(model.to_bytes())
    codes = model.encode(X)
    assert again.kind == "rba"
    assert np.array_equal(again.encode(X), codes)
    assert np.array_equal(np.concatenate([model.encode(X[i : i + 1]) for i in range(20)]), codes[:20])
    assert 0.25 < np.unpackbits(codes, axis=1).mean() < 0.75


def test_more_bits_than_dimensions_are_refused():
    with pytest.raises(ValueError, match="at most one per dimension"):
        fit_rba(clustered(0, 50), 32)
