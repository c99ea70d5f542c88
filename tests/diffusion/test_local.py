import numpy as np
import pytest
import scipy.sparse as sp

from resight.diffusion.lanes import LANES
from resight.diffusion.local import copy_rows, solve_lanes
from resight.diffusion.sort import INDEX_MASK, choose_best, sort_best, sort_nodes


@pytest.mark.parametrize("n", [0, 1, 2, 300, INDEX_MASK + 2])
@pytest.mark.parametrize("kind", ["wide", "tied", "close"])
def test_order_equals_lexsort(rng, n, kind):
    scores = {
        "wide": rng.standard_normal(n) * 10.0 ** rng.integers(-12, 1, n),
        "tied": np.round(rng.standard_normal(n), 1) if n < 1000 else rng.permutation(n) * 1.0,
        "close": 1 + rng.permutation(n) * 1e-15 if n < 1000 else rng.permutation(n) * -1.0,
    }[kind]
    nodes = rng.permutation(n).astype(np.uint32)
    order = np.lexsort((nodes, -scores))
    np.testing.assert_array_equal(sort_best(scores, nodes), order)
    for k in (1, 7, n // 4, n + 1):
        np.testing.assert_array_equal(choose_best(scores, nodes, k), order[:k])


@pytest.mark.parametrize("largest", [1, 2047, 2048, 10**6, 2**32])
def test_nodes_are_sorted_digit_by_digit(rng, largest):
    for n in (0, 1, 500):
        nodes = rng.integers(0, largest, n).astype(np.uint32)
        expected = np.sort(nodes)
        sort_nodes(nodes, np.empty(n + 3, np.uint32))
        np.testing.assert_array_equal(nodes, expected)


@pytest.mark.parametrize(("dtype", "tol"), [(np.float64, 1e-12), (np.float32, 1e-9), (np.float32, 1e-3)])
def test_lanes_solve_different_systems_of_one_matrix(rng, dtype, tol):
    n, size = 38, 40  # the last slice has two rows of its own
    upper = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 0.2), 1)
    M = 0.9 * (upper + upper.T) / (upper + upper.T).sum(1).max()
    S = sp.csr_array(M)
    graph = S.indptr.view(np.uint32), S.indices.view(np.uint32), S.data
    matrix = np.empty(11, np.int64), np.empty(9999, np.int32), np.empty(9999)
    m = copy_rows(graph, np.arange(n, dtype=np.uint32), 1.0, np.zeros(n, np.int32), matrix)
    mask = (rng.random((size, LANES)) < 0.7).astype(float)
    mask[0], mask[n:] = 1, 0
    work = np.full((3, size, LANES), np.nan)
    work[0] = 0
    work[0, 0, :3] = 0.5  # the other lanes have nothing to solve
    room = np.full((4, size, LANES), np.nan, dtype)
    loads = np.where(np.arange(LANES) < 3, 0.5, 0.0)
    matrices = matrix, (*matrix[:2], matrix[2][:m].astype(dtype))
    masks = mask, mask.astype(dtype)
    iterations, residuals = solve_lanes(matrices, masks, loads, (tol, 200), (tuple(work), room))
    for j in range(5):
        system = np.eye(n) - mask[:n, j, None] * M * mask[:n, j]
        expected = np.linalg.solve(system, work[0, :n, j])
        np.testing.assert_allclose(work[1, :n, j], expected, atol=10 * tol)
        true = np.linalg.norm(work[0, :n, j] - system @ work[1, :n, j]) / 0.5
        assert residuals[j] == pytest.approx(true, rel=1e-6, abs=1e-15)
    assert residuals.max() <= tol
    assert iterations[3:].tolist() == [0] * 5
    assert (iterations[:3] > 2).all()
