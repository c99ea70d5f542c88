import numpy as np
import pytest
import scipy.sparse as sp

from resight.diffusion.normalize import normalize_affinity
from resight.diffusion.truncate import list_regions, slice_matrix, solve_truncated, truncate_graph
from tests.diffusion.planted_curves import affinity_of, draw_curves, solve_dense

EXACT = {"tol": 1e-12, "max_iter": 600}


@pytest.fixture(scope="module")
def affinity():
    rng = np.random.default_rng(2)
    return affinity_of(draw_curves(rng, n_curves=5, n_points=30, sigma=0.3, arc=3, n_distractors=30).X, 8)


@pytest.mark.parametrize("size", [0, 1, 60, 180])
def test_slice_equals_scipy(affinity, rng, size):
    nodes = rng.choice(180, size, replace=False)
    small = slice_matrix(affinity, nodes)
    np.testing.assert_array_equal(small.toarray(), affinity.toarray()[np.ix_(nodes, nodes)])
    assert small.has_canonical_format


def test_early_truncation_normalises_anew_and_keeps_the_radius(affinity, rng):
    nodes = rng.choice(180, 70, replace=False)
    early, late = truncate_graph(affinity, nodes), affinity.toarray()[np.ix_(nodes, nodes)]
    degrees = late.sum(1)
    scale = np.where(degrees > 0, 1 / np.sqrt(np.where(degrees > 0, degrees, 1)), 0)
    np.testing.assert_allclose(early.toarray(), scale[:, None] * late * scale, rtol=1e-12)
    assert np.abs(np.linalg.eigvalsh(early.toarray())).max() <= 1 + 1e-10


def test_late_truncation_is_a_slice(affinity, rng):
    S, nodes = normalize_affinity(affinity).S, rng.choice(180, 70, replace=False)
    Y = rng.random((70, 3)) * (rng.random((70, 3)) < 0.1)
    found = solve_truncated(S, nodes, Y, renormalise=False, **EXACT)
    np.testing.assert_allclose(found.F, solve_dense(slice_matrix(S, nodes), Y), atol=1e-9)


@pytest.mark.parametrize("renormalise", [True, False])
def test_a_shortlist_of_everything_changes_nothing(affinity, rng, renormalise):
    S, nodes = normalize_affinity(affinity).S, rng.permutation(180)
    Y = rng.random((180, 3)) * (rng.random((180, 3)) < 0.05)
    graph = affinity if renormalise else S
    found = solve_truncated(graph, nodes, Y[nodes], renormalise=renormalise, **EXACT)
    np.testing.assert_allclose(found.F, solve_dense(S, Y)[nodes], atol=1e-10)


def test_a_long_walk_is_solved_to_its_end(rng):
    links = (np.arange(399), np.arange(1, 400))
    path = sp.coo_array((rng.uniform(0.5, 1, 399), links), shape=(400, 400)).tocsr()
    Y = np.eye(400)[:, [0]]
    found = solve_truncated(path + path.T, np.arange(400), Y, alpha=0.9999)
    assert found.iterations[0] > 100
    assert found.residuals[0] <= 1e-6


def test_regions_of_shortlisted_images_are_listed_image_by_image():
    nodes, offsets = list_regions(np.array([0, 3, 3, 5, 9]), np.array([3, 1, 0]))
    assert nodes.tolist() == [5, 6, 7, 8, 0, 1, 2]
    assert offsets.tolist() == [0, 4, 4, 7]


def test_a_node_listed_twice_is_an_error(affinity):
    with pytest.raises(ValueError, match="names a node twice"):
        slice_matrix(affinity, np.array([3, 5, 3]))
