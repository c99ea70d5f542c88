"""k-means as sums, against one descriptor after the other."""

import numpy as np
import pytest

from resight.codebook import kmeans
from resight.codebook.kmeans import (
    STEP,
    WordSums,
    fit_centroids,
    move_centroids,
    sum_parts,
    sum_points,
)
from resight.codebook.quantize import Quantizer, count_groups
from tests.asmk import oracles


def draw(rng, n=200, k=6, d=5):
    centers = 4 * rng.normal(size=(k, d))
    return (centers[rng.integers(k, size=n)] + rng.normal(size=(n, d))).astype(np.float32)


def test_sums_are_those_of_the_members(rng):
    X = draw(rng)
    C = X[:6].copy()
    words = np.array([oracles.nearest_words(x, C)[0] for x in X])
    found = sum_points(X, Quantizer(C))
    for c in range(6):
        np.testing.assert_allclose(found.sums[c], X[words == c].astype(np.float64).sum(0), atol=1e-9)
    np.testing.assert_array_equal(found.counts, np.bincount(words, minlength=6))
    assert found.error == pytest.approx(((X.astype(np.float64) - C[words]) ** 2).sum())


def test_parts_add_up(rng):
    X, quantizer = draw(rng), Quantizer(draw(rng)[:4])
    parts = sum_parts([X[:70], X[70:70], X[70:]], quantizer)
    whole = sum_points(X, quantizer)
    np.testing.assert_allclose(parts.sums, whole.sums, atol=1e-9)
    np.testing.assert_array_equal(parts.counts, whole.counts)


def fit(X, start, n_iter):
    return fit_centroids(lambda q: sum_points(X, q), start, n_iter=n_iter, sample=X)


def test_the_error_never_grows_and_planted_centres_are_found(rng):
    centers = 50 * rng.normal(size=(4, 3))
    X = (np.repeat(centers, 50, axis=0) + rng.normal(size=(200, 3))).astype(np.float32)
    start = X[[0, 50, 100, 150]]
    fitted = fit(X, start, 5)
    assert (np.diff(fitted.errors) <= 1e-9).all()
    np.testing.assert_allclose(fitted.centroids, X.reshape(4, 50, 3).mean(1), rtol=1e-5)


def test_an_empty_word_takes_half_of_the_largest_one():
    C = np.array([[0, 0], [10, 0], [99, 99]], np.float32)
    total = WordSums(np.array([[4.0, 8.0], [300.0, 0.0], [0.0, 0.0]]), np.array([4, 30, 0]), 0.0)
    moved = move_centroids(C, total)
    np.testing.assert_allclose(moved[0], [1, 2])
    np.testing.assert_allclose(moved[[1, 2]].mean(0), [10, 0], atol=1e-6)
    assert 0 < np.abs(moved[1] - moved[2]).max() <= 2.01 * STEP * 10


def test_no_word_stays_empty_where_there_are_enough_distinct_descriptors(rng):
    X = draw(rng, n=80)
    start = np.repeat(X[:1], 8, axis=0)
    fitted = fit(X, start, 12)
    counts = sum_points(X, Quantizer(fitted.centroids)).counts
    assert (counts > 0).all()
    assert len(np.unique(fitted.centroids, axis=0)) == 8


def test_fewer_descriptors_than_words_leave_words_where_they_were():
    start = np.array([[0.0], [5.0], [6.0]], np.float32)
    moved = move_centroids(start, WordSums(np.array([[1.0], [0], [0]]), np.array([1, 0, 0]), 0.0))
    assert moved.tolist() == [[1.0], [5.0], [6.0]]


def exact_error(X, C):
    wide = ((X[:, None].astype(np.float64) - C.astype(np.float64)) ** 2).sum(2)
    return wide.min(1).mean()


def test_groups_reach_the_error_of_exact_iterations(rng, monkeypatch):
    X = draw(rng, n=900, k=40, d=6)
    start = X[:120]
    exact = fit(X, start, 8)
    monkeypatch.setattr(kmeans, "TRAINING_EXACT_WORDS", 50)
    visited = []

    def step(quantizer):
        visited.append(quantizer.n_probes)
        return sum_points(X, quantizer)

    fitted = fit_centroids(step, start, n_iter=8, sample=X)
    n_groups = count_groups(120)
    assert all(0 < n < n_groups for n in visited)
    assert visited == sorted(visited)
    assert exact_error(X, fitted.centroids) <= 1.02 * exact_error(X, exact.centroids)
