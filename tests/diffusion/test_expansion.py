import numpy as np
import pytest

from resight.diffusion.expansion import average_queries, expand_queries, match_regions
from tests.diffusion.planted_curves import nearest_lists, unit


@pytest.fixture
def search(rng):
    X, Q = unit(rng.standard_normal((30, 4))), unit(rng.standard_normal((6, 4)))
    return Q.astype(np.float32), nearest_lists(Q, X, 30), X.astype(np.float32)


@pytest.mark.parametrize(("n", "alpha"), [(1, 3), (5, 1), (30, 3), (99, 2)])
@pytest.mark.parametrize("include_query", [True, False])
def test_expansion_equals_a_loop(search, n, alpha, include_query):
    Q, lists, X = search
    found = expand_queries(Q, lists, lambda i: X[i], n=n, alpha=alpha, include_query=include_query)
    for q, row, got in zip(Q, (Q @ X.T).astype(np.float64), found, strict=True):
        best = np.argsort(-row)[:n]
        expected = include_query * q + sum(max(row[i], 0) ** alpha * X[i] for i in best)
        np.testing.assert_allclose(got, expected / np.linalg.norm(expected), atol=1e-5)


def test_alpha_zero_is_average_query_expansion(search):
    Q, lists, X = search
    best = lists[1].reshape(6, 30)[:, :20]  # some of these similarities are negative
    assert (lists[2].reshape(6, 30)[:, :20] < 0).any()
    means = unit(Q + X[best].sum(1))
    np.testing.assert_allclose(expand_queries(Q, lists, lambda i: X[i], n=20, alpha=0), means, atol=1e-5)
    np.testing.assert_allclose(average_queries(Q, lists, lambda i: X[i], n=20), means, atol=1e-5)


def test_query_whose_weights_are_zero_stays(rng):
    Q = unit(rng.standard_normal((2, 4))).astype(np.float32)
    lists = np.array([0, 1, 1]), np.array([0]), np.array([-0.5])
    found = expand_queries(Q, lists, lambda i: -Q[i], alpha=3, include_query=False)
    np.testing.assert_array_equal(found, Q)


def test_database_image_equal_to_the_query_weighs_one():
    Q = np.array([[1.0, 0]], np.float32)
    X = np.array([[1, 0], [0.6, 0.8]], np.float32)
    found = expand_queries(
        Q, (np.array([0, 2]), np.array([0, 1]), np.array([1, 0.6])), lambda i: X[i], alpha=1
    )
    np.testing.assert_allclose(found, unit(np.array([[2 + 0.36, 0.48]])), rtol=1e-6)


@pytest.mark.parametrize("block", [1, 3, 100])
def test_region_matching_equals_a_double_loop(rng, block):
    X, Q = unit(rng.standard_normal((20, 5))), unit(rng.standard_normal((4, 5)))
    offsets = np.array([0, 3, 3, 4, 11, 20])
    found = match_regions(Q, X, offsets, block=block)
    for image, score in enumerate(found):
        rows = range(offsets[image], offsets[image + 1])
        best = [max((float(q @ X[j]) for j in rows), default=-np.inf) for q in Q]
        assert score == pytest.approx(sum(best))


@pytest.mark.parametrize("options", [{"n": 0}, {"alpha": -1}])
def test_unusable_settings_are_named(search, options):
    Q, lists, X = search
    with pytest.raises(ValueError, match="n is"):
        expand_queries(Q, lists, lambda i: X[i], **options)
