import numpy as np
import pytest
import scipy.sparse as sp

from resight.diffusion.product import Passes, cut_rows, multiply
from tests.diffusion.graphs import scattered_affinity


@pytest.fixture(name="S", scope="module")
def draw_graph():
    return scattered_affinity(np.random.default_rng(1), 20_000, 12)  # seven blocks of rows


@pytest.mark.parametrize("s", [1, 2, 5, 16, 33])
def test_product_equals_scipy(S, rng, s):
    P = rng.standard_normal((S.shape[1], s))
    np.testing.assert_allclose(multiply(S, P), S @ P, rtol=1e-12, atol=1e-13)


def test_float32_product_rounds_to_float32(S, rng):
    P = rng.standard_normal((S.shape[1], 16), dtype=np.float32)
    out = multiply(S, P)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, S @ P.astype(np.float64), rtol=1e-5, atol=1e-5)


def test_rectangular_and_empty_rows(rng):
    S = sp.csr_array((np.array([2.0]), ([1], [4])), shape=(3, 5))
    P = rng.standard_normal((5, 3))
    np.testing.assert_array_equal(multiply(S, P), [[0] * 3, 2 * P[4], [0] * 3])
    assert multiply(sp.csr_array((0, 5)), P).shape == (0, 3)
    np.testing.assert_array_equal(multiply(sp.csr_array((4, 5)), P), np.zeros((4, 3)))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_product_is_the_same_for_any_threads_and_columns(S, rng, dtype):
    P = rng.standard_normal((S.shape[1], 16)).astype(dtype)
    whole = multiply(S, P)
    np.testing.assert_array_equal(multiply(S, P, threads=2), whole)
    np.testing.assert_array_equal(multiply(S, P, threads=3), whole)
    parts = [multiply(S, P[:, i : i + 3]) for i in range(0, 16, 3)]
    np.testing.assert_array_equal(np.hstack(parts), whole)


def test_read_only_arrays_with_wide_indices_give_the_same(S, rng):
    P = rng.standard_normal((S.shape[1], 4))
    wide = sp.csr_array((S.data, S.indices.astype(np.int64), S.indptr.astype(np.int64)), shape=S.shape)
    for part in (wide.data, wide.indices, wide.indptr):
        part.setflags(write=False)
    np.testing.assert_array_equal(multiply(wide, P), multiply(S, P))


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 1e-4)])
@pytest.mark.parametrize("lanes", [1, 8])
def test_passes_are_one_step_of_conjugate_gradient(S, rng, dtype, rtol, lanes):
    F, R, P, Q = (rng.standard_normal((S.shape[0], lanes)).astype(dtype) for _ in range(4))
    t, beta = rng.random((2, lanes))
    with Passes(S, dtype, threads=2) as passes:
        dots = passes.multiply(P, Q, alpha=0.9)
        expected = P - 0.9 * (S @ P.astype(np.float64))
        np.testing.assert_allclose(Q, expected, rtol=rtol, atol=rtol)
        np.testing.assert_allclose(dots, (P * expected).sum(0), rtol=rtol)
        f, r = F + t * P, R - t * Q
        p = r + beta * P
        square = passes.descend(R, Q, t)
        passes.advance(F, P, R, t, beta)
    for found, wanted in ((F, f), (R, r), (P, p)):
        np.testing.assert_allclose(found, wanted, rtol=rtol, atol=10 * rtol)
    np.testing.assert_allclose(square, (r**2).sum(0), rtol=rtol)


def test_some_rows_of_the_graph_act_on_their_own_rows_of_the_block(S, rng):
    P = rng.standard_normal((S.shape[1], 4))
    Q = np.empty((12_000, 4))
    with Passes(S[:12_000], threads=2) as passes:
        dots = passes.multiply(P, Q, alpha=0.9)
    np.testing.assert_allclose(Q, P[:12_000] - 0.9 * (S @ P)[:12_000], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dots, (P[:12_000] * Q).sum(0), rtol=1e-9)


def test_blocks_of_rows_have_about_the_same_cost(S):
    bounds = cut_rows(S.indptr.astype(np.int64))
    assert bounds[0] == 0
    assert bounds[-1] == S.shape[0]
    costs = np.diff(S.indptr[bounds] + 8 * bounds)
    assert len(costs) > 3
    assert costs[:-1].max() - costs[:-1].min() < 200


def test_wrong_shapes_and_columns_are_rejected(S):
    with pytest.raises(ValueError, match="shapes do not fit"):
        multiply(S, np.zeros((3, 2)))
    broken = sp.csr_array((3, 3))
    broken.data, broken.indices, broken.indptr = np.ones(1), np.array([7]), np.array([0, 1, 1, 1])
    with pytest.raises(ValueError, match="column numbers"):
        multiply(broken, np.zeros((3, 2)))
