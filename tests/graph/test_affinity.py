import numpy as np
import pytest

from resight.diffusion.normalize import normalize_affinity
from resight.graph.affinity import mutual_affinity, power_similarity


def exact_lists(X, k):
    """The k nearest others of each unit row as CSR lists: offsets, dst, similarity."""
    S = (X @ X.T).astype(np.float32)
    np.fill_diagonal(S, -2)
    dst = np.argsort(-S, axis=1, kind="stable")[:, :k]
    offsets = np.arange(0, k * len(X) + 1, k)
    return offsets, dst.ravel(), np.take_along_axis(S, dst, 1).ravel()


@pytest.fixture
def lists(rng):
    X = rng.standard_normal((80, 6))
    return exact_lists(X / np.linalg.norm(X, axis=1, keepdims=True), 7)


def test_edges_are_the_mutual_pairs(lists):
    offsets, dst, similarity = lists
    A = mutual_affinity(offsets, dst, similarity).toarray()
    src = np.repeat(np.arange(80), np.diff(offsets)).tolist()
    found = {(i, j): s for i, j, s in zip(src, dst.tolist(), similarity.tolist(), strict=True)}
    expected = np.zeros((80, 80))
    for i, j in found:
        if (j, i) in found:
            expected[i, j] = max(min(found[i, j], found[j, i]), 0) ** 3
    np.testing.assert_allclose(A, expected, rtol=1e-12)
    assert (A == A.T).all()
    assert (np.count_nonzero(A, axis=1) <= 7).all()


@pytest.mark.parametrize("gamma", [1, 2, 3])
def test_negative_similarities_weigh_nothing_whatever_the_power(gamma):
    assert power_similarity(np.array([-0.5, 0, 0.5]), gamma).tolist() == [0, 0, 0.5**gamma]
    lists = np.array([0, 1, 2, 2]), np.array([1, 0]), np.array([-0.5, -0.5])
    assert mutual_affinity(*lists, gamma=gamma).nnz == 0


def test_normalised_affinity_has_radius_one(lists):
    A = mutual_affinity(*lists)
    S, d = normalize_affinity(A).S.toarray(), A.sum(axis=1)
    assert S.min() >= 0
    assert S.max() <= 1 + 1e-12
    assert np.abs(np.linalg.eigvalsh(S)).max() <= 1 + 1e-10
    np.testing.assert_allclose(S @ np.sqrt(d), np.sqrt(d), atol=1e-12)


def test_isolated_nodes_keep_empty_rows():
    A = mutual_affinity(np.array([0, 1, 2, 2]), np.array([1, 0]), np.array([0.5, 0.5]))
    S = normalize_affinity(A).S.toarray()
    np.testing.assert_allclose(S, [[0, 1, 0], [1, 0, 0], [0, 0, 0]], rtol=1e-12)


def test_scaling_the_affinity_leaves_the_normalised_one(lists):
    A = mutual_affinity(*lists)
    np.testing.assert_allclose(normalize_affinity(5 * A).S.toarray(), normalize_affinity(A).S.toarray())


def test_star_has_row_sum_above_one():
    offsets = np.array([0, 10, *range(11, 21)])
    dst = np.append(np.arange(1, 11), np.zeros(10, int))
    S = normalize_affinity(mutual_affinity(offsets, dst, np.ones(20))).S.toarray()
    assert S.sum(axis=1).max() == pytest.approx(10**0.5)


def test_repeated_and_own_entries_of_approximate_lists_are_ignored():
    A = mutual_affinity(np.array([0, 3, 4]), np.array([0, 1, 1, 0]), np.array([1, 0.5, 0.5, 0.5]), gamma=1)
    assert A.toarray().tolist() == [[0, 0.5], [0.5, 0]]
