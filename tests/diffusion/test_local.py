import numpy as np
import pytest

from resight.diffusion.lanes import LANES
from resight.diffusion.local import INDEX_MASK, conjugate_gradient, sort_best


@pytest.mark.parametrize("n", [0, 1, 2, 300, INDEX_MASK + 2])
@pytest.mark.parametrize("kind", ["wide", "tied", "close"])
def test_order_equals_lexsort(rng, n, kind):
    scores = {
        "wide": rng.standard_normal(n) * 10.0 ** rng.integers(-12, 1, n),
        "tied": np.round(rng.standard_normal(n), 1) if n < 1000 else rng.permutation(n) * 1.0,
        "close": 1 + rng.permutation(n) * 1e-15 if n < 1000 else rng.permutation(n) * -1.0,
    }[kind]
    nodes = rng.permutation(n).astype(np.uint32)
    np.testing.assert_array_equal(sort_best(scores, nodes), np.lexsort((nodes, -scores)))


def test_lanes_solve_different_systems_of_one_matrix(rng):
    upper = np.triu(rng.random((40, 40)) * (rng.random((40, 40)) < 0.2), 1)
    M = 0.9 * (upper + upper.T) / (upper + upper.T).sum(1).max()
    rows, columns = np.nonzero(upper)
    starts = np.searchsorted(rows, np.arange(41)).astype(np.uint64)
    matrix = (starts, columns.astype(np.uint32), np.triu(M)[rows, columns])
    mask = (rng.random((40, LANES)) < 0.7).astype(float)
    work = np.full((5, 48, LANES), np.nan)[:, :40]
    work[0] = 0
    work[0, 0, :3], mask[0] = 0.5, 1  # the last lane has nothing to solve
    iterations, residuals = conjugate_gradient(matrix, mask, 0.5, (1e-12, 200), work)
    for j in range(LANES):
        system = np.eye(40) - mask[:, j, None] * M * mask[:, j]
        np.testing.assert_allclose(work[1, :, j], np.linalg.solve(system, work[0, :, j]), atol=1e-11)
    assert residuals.max() <= 1e-11
    assert iterations[3] == 0
    assert (iterations[:3] > 5).all()
