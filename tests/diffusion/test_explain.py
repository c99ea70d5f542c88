from itertools import pairwise, permutations

import numpy as np
import pytest
import scipy.sparse as sp

from resight.diffusion.explain import QUERY, explain_result, leave_from, rows_of


def best_product(A, y, target, max_hops):
    """The greatest product over all simple paths, by trying them all."""
    n, best = len(A), 0.0
    for length in range(max_hops):
        for inner in permutations([i for i in range(n) if i != target], length):
            path = (*inner, target)
            best = max(best, y[path[0]] * np.prod([A[i, j] for i, j in pairwise(path)]))
    return best


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("max_hops", [1, 2, 3, 6])
def test_path_has_the_greatest_product_of_all(seed, max_hops):
    rng = np.random.default_rng(seed)
    A = np.triu(rng.random((6, 6)) ** 0.3 * (rng.random((6, 6)) < 0.5), 1)
    A, y = A + A.T, rng.random(6) * 3 * (rng.random(6) < 0.4)
    for target in range(6):
        path = explain_result(rows_of(sp.csr_array(A)), np.arange(6), y, target, max_hops=max_hops)
        found = path.product[-1] if len(path.product) else 0.0
        assert found == pytest.approx(best_product(A, y, target, max_hops), rel=1e-12)
        assert len(path.src) <= max_hops


def test_each_hop_is_a_stored_edge():
    A = sp.csr_array(np.diag([0.5, 0.8, 0.9], 1) + np.diag([0.5, 0.8, 0.9], -1))
    path = explain_result(rows_of(A), np.array([1]), np.array([0.7]), 3)
    assert (path.src.tolist(), path.dst.tolist()) == ([-1, 1, 2], [1, 2, 3])
    np.testing.assert_allclose(path.affinity, [0.7, 0.8, 0.9])
    np.testing.assert_allclose(path.product, np.cumprod([0.7, 0.8, 0.9]))


def test_result_out_of_reach_has_no_hops():
    A = sp.csr_array(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0.0]]))
    for options in ({"target": 2}, {"target": 1, "max_hops": 1}, {"target": 1, "max_nodes": 0}):
        path = explain_result(rows_of(A), np.array([0]), np.array([0.5]), **options)
        assert [len(column) for column in path] == [0, 0, 0, 0]


def test_the_chain_of_a_query_that_is_a_node_begins_there():
    A = sp.csr_array(np.diag([0.5, 0.8, 0.9], 1) + np.diag([0.5, 0.8, 0.9], -1))
    path = explain_result(rows_of(A), np.array([1]), np.array([0.7]), 3)
    shorter = leave_from(path, 1)
    assert (shorter.src.tolist(), shorter.dst.tolist()) == ([QUERY, 2], [2, 3])
    np.testing.assert_allclose(shorter.product, np.cumprod([0.8, 0.9]))
    for own in (0, 2, 3):
        assert leave_from(path, own) is path
    alone = explain_result(rows_of(A), np.array([1]), np.array([0.7]), 1)
    assert leave_from(alone, 1) is alone  # the result is a copy of the query


def test_affinity_above_one_is_an_error():
    with pytest.raises(ValueError, match="affinities of node 0"):
        explain_result(rows_of(sp.csr_array(np.array([[0, 2], [2, 0.0]]))), np.array([0]), np.array([0.5]), 1)
