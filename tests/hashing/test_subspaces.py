"""Codewords of subspaces: k-means hashing and product quantisation."""

from functools import partial

import numpy as np
import pytest

from resight.hashing.kinds import ALL_FITS, read_model
from resight.hashing.subspaces import (
    SubspaceModel,
    fit_kmh,
    fit_part,
    fit_pq,
    measure_affinity,
    nearest_words,
    split_directions,
)
from tests.hashing.test_autoencoder import clustered


def falling(n=400, s=6):
    X = np.random.default_rng(5).normal(size=(n, s)) * (1 + np.arange(s)) ** -0.5
    return X - X.mean(0)


def hypercube(X, b):
    scale = np.abs(X[:, :b]).mean()
    index = np.arange(1 << b)
    C = np.zeros((1 << b, X.shape[1]))
    C[:, :b] = scale * np.where(index[:, None] >> np.arange(b) & 1, 1, -1)
    wanted = 2 * scale * np.sqrt([[bin(i ^ j).count("1") for j in index] for i in index])
    return C, wanted


def test_at_the_start_distances_are_those_of_the_indices():
    X = falling()
    C, wanted = hypercube(X, 3)
    words = nearest_words(X, C)
    error = ((X - C[words]) ** 2).sum(1).mean()
    assert measure_affinity(X, C, words, wanted, 1e6) == pytest.approx(error, abs=1e-9)


def test_moving_codewords_never_raises_the_objective():
    _, steps = fit_part(falling(), 3, weight=10.0, iterations=8)
    assert all(after <= before * (1 + 1e-12) for before, after in steps)
    assert steps[-1][1] < 0.98 * steps[0][0]


def test_the_weight_decides_between_error_and_hypercube():
    X = falling()
    start, _ = hypercube(X, 3)
    errors = {}
    for weight in (0.0, 10.0, 1e5):
        C, _ = fit_part(X, 3, weight=weight, iterations=15)
        errors[weight] = ((X - C[nearest_words(X, C)]) ** 2).sum(1).mean()
        shape = np.linalg.norm(C[:, None] - C[None], axis=2)
    assert errors[0.0] <= errors[10.0] + 1e-9
    assert errors[10.0] < errors[1e5]
    np.testing.assert_allclose(shape, np.linalg.norm(start[:, None] - start[None], axis=2), rtol=0.02)


def test_directions_are_shared_out_evenly():
    parts = split_directions(np.array([100.0, 50, 20, 10, 5, 2, 1]), 3)
    assert parts.tolist() == [[0, 5], [1, 4], [2, 3]]


@pytest.mark.parametrize(("fit", "n_bits"), [(partial(fit_kmh, iterations=4), 16), (fit_pq, 32)])
def test_codes_are_the_nearest_codewords_and_survive_storage(fit, n_bits):
    X = clustered(3, 300)
    model = fit(X, n_bits)
    codes = model.encode(X)
    assert codes.shape == (300, n_bits // 8)
    parts = model.project(X)
    decoded = model.decode(codes).reshape(parts.shape)
    for i, C in enumerate(model.codewords):
        distances = ((parts[:, i, None] - C[None]) ** 2).sum(2)
        np.testing.assert_allclose(((parts[:, i] - decoded[:, i]) ** 2).sum(1), distances.min(1), atol=1e-9)
    again = read_model(model.to_bytes())
    assert isinstance(again, SubspaceModel)
    assert np.array_equal(again.encode(X[:7]), codes[:7])
    assert again.to_bytes() == model.to_bytes()


def test_more_blocks_rebuild_better():
    X = clustered(4, 600)
    errors = [((fit_pq(X, bits).decode(fit_pq(X, bits).encode(X)) - X) ** 2).mean() for bits in (8, 24, 48)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 3


@pytest.mark.parametrize(
    ("fit", "n", "n_bits", "message"),
    [
        (fit_kmh, 50, 32, "at most one per dimension"),
        (fit_pq, 300, 40, "equal blocks"),
        (fit_pq, 99, 8, "99 v"),
    ],
)
def test_what_cannot_be_fitted_is_refused(fit, n, n_bits, message):
    with pytest.raises(ValueError, match=message):
        fit(clustered(0, n), n_bits)


def test_every_kind_gives_codes_of_its_length():
    X = clustered(6, 300)
    for kind, fit in ALL_FITS.items():
        model = read_model(fit(X, 16, seed=1).to_bytes())
        assert (model.kind, model.n_bits) == (kind, 16)
        assert model.encode(X).shape == (300, 2)
