import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from resight.diffusion.normalize import normalize_affinity
from tests.diffusion.graphs import patchy_affinity


@pytest.fixture(name="A")
def draw_affinity(rng):
    return patchy_affinity(rng)


def test_entries_are_affinities_over_roots_of_degrees(A):
    S, degrees, scale = normalize_affinity(A)
    d = A.toarray().sum(axis=1)
    inverse = np.array([x**-0.5 if x > 0 else 0.0 for x in d])
    np.testing.assert_allclose(S.toarray(), inverse[:, None] * A.toarray() * inverse, rtol=1e-12)
    np.testing.assert_allclose(degrees, d, rtol=1e-12)
    np.testing.assert_allclose(scale, inverse, rtol=1e-12)
    assert (degrees == 0).any()


def test_spectrum_counts_the_components_with_an_edge(A):
    S, degrees, _ = normalize_affinity(A)
    values = np.linalg.eigvalsh(S.toarray())
    labels = connected_components(A, directed=False)[1]
    assert np.abs(values).max() <= 1 + 1e-10
    assert (values > 1 - 1e-9).sum() == (np.bincount(labels) > 1).sum() > 1
    np.testing.assert_allclose(S @ np.sqrt(degrees), np.sqrt(degrees), atol=1e-12)


def test_entries_lie_in_the_unit_interval_and_are_symmetric_to_the_bit(A):
    S = normalize_affinity(A).S
    assert S.data.min() > 0
    assert S.data.max() <= 1
    assert (S != S.T).nnz == 0


def test_scaling_the_affinity_changes_nothing(A):
    for c in (1e-30, 5.0, 1e30):
        np.testing.assert_allclose(normalize_affinity(c * A).S.data, normalize_affinity(A).S.data, rtol=1e-12)


def test_explicit_zeros_make_no_edge_and_no_nan():
    A = sp.csr_array((np.array([0.5, 0.5, 0.0, 0.0]), ([0, 1, 2, 3], [1, 0, 3, 2])), shape=(5, 5))
    S, degrees, scale = normalize_affinity(A)
    assert A.nnz == 4
    np.testing.assert_allclose(S.toarray(), np.pad([[0, 1], [1, 0]], (0, 3)), rtol=1e-12)
    assert degrees.tolist() == [0.5, 0.5, 0, 0, 0]
    assert scale[2:].tolist() == [0, 0, 0]


def test_the_smallest_weights_stay_finite():
    A = sp.csr_array(np.array([[0, 5e-324, 1.0], [5e-324, 0, 0], [1.0, 0, 0]]))
    S = normalize_affinity(A).S
    assert np.isfinite(S.data).all()
    assert S.data.max() <= 1


def test_star_has_row_sum_above_one():
    A = np.zeros((11, 11))
    A[0, 1:] = A[1:, 0] = 1
    S = normalize_affinity(sp.csr_array(A)).S
    assert S.sum(axis=1).max() == pytest.approx(10**0.5)
    assert np.abs(np.linalg.eigvalsh(S.toarray())).max() == pytest.approx(1)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_graph_without_edges_stays_empty(n):
    S, degrees, scale = normalize_affinity(sp.csr_array((n, n)))
    assert (S.shape, S.nnz) == ((n, n), 0)
    assert degrees.tolist() == scale.tolist() == [0] * n


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 1, 0]], "square"),
        ([[0, -1], [-1, 0]], "negative"),
        ([[0, np.nan], [np.nan, 0]], "finite"),
        ([[1, 1], [1, 0]], "own neighbour"),
        ([[0, 1, 0], [0, 0, 1], [0, 1, 0]], "row 0 sums to 1, its column to 0"),
    ],
)
def test_what_is_no_affinity_is_rejected(rows, message):
    with pytest.raises(ValueError, match=message):
        normalize_affinity(sp.csr_array(np.array(rows, float)))
