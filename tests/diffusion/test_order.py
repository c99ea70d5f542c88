import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components, reverse_cuthill_mckee

from resight.diffusion.normalize import normalize_affinity
from resight.diffusion.order import arrange_graph, order_nodes
from resight.diffusion.solve import solve_diffusion
from tests.diffusion.graphs import observe_some, patchy_affinity


def clustered_affinity(rng, n, *, size):
    """Clusters of ``size`` nodes under scattered numbers, one link in fifty to anywhere."""
    src = rng.integers(0, n, 6 * n)
    dst = np.where(rng.random(len(src)) < 0.02, rng.integers(0, n, len(src)), src // size * size)
    dst = np.where(dst == src // size * size, dst + rng.integers(0, size, len(src)), dst)
    names = rng.permutation(n)
    half = sp.csr_array((np.where(src == dst, 0, 1.0), (names[src], names[dst])), shape=(n, n))
    return sp.csr_array(half + half.T)


def share_of_near_links(A, order, near):
    """Share of the entries whose ends lie less than ``near`` places apart."""
    place = np.argsort(order)
    src, dst = A.nonzero()
    return (np.abs(place[src] - place[dst]) < near).mean()


def test_order_holds_every_node_once_and_keeps_components_together(rng):
    A = patchy_affinity(rng)
    order = order_nodes(A)
    np.testing.assert_array_equal(np.sort(order), np.arange(A.shape[0]))
    labels = connected_components(A, directed=False)[1][order]
    assert (np.diff(labels) != 0).sum() == labels.max()


def test_known_components_come_in_the_order_of_their_numbers(rng):
    A = patchy_affinity(rng)
    component = -connected_components(A, directed=False)[1]
    ordered = component[order_nodes(A, component)]
    np.testing.assert_array_equal(ordered, np.sort(component))


def test_neighbours_lie_closer_than_after_reverse_cuthill_mckee(rng):
    A = clustered_affinity(rng, 6000, size=30)
    rcm = reverse_cuthill_mckee(sp.csr_matrix(A), symmetric_mode=True)
    assert share_of_near_links(A, np.arange(6000), 60) < 0.05
    ours, theirs = share_of_near_links(A, order_nodes(A), 60), share_of_near_links(A, rcm, 60)
    assert ours > 0.9
    assert ours > theirs + 0.2


def test_arranged_graph_gives_the_scores_of_the_graph(rng):
    S = normalize_affinity(patchy_affinity(rng)).S
    Y = observe_some(rng, S.shape[0], 5)
    graph = arrange_graph(S)
    np.testing.assert_array_equal(graph.S.toarray(), S.toarray()[graph.order][:, graph.order])
    assert graph.S.indices.dtype == graph.S.indptr.dtype == np.int32
    expected = solve_diffusion(S, Y, tol=1e-12).F
    for observed in (Y, sp.csr_array(Y), sp.csc_array(Y)):
        F = graph.restore(solve_diffusion(graph.S, graph.arrange(observed), tol=1e-12).F)
        np.testing.assert_allclose(F, expected, rtol=1e-9, atol=1e-14)


def test_order_does_not_depend_on_scale_and_ignores_zero_and_own_links(rng):
    A = patchy_affinity(rng)
    order = order_nodes(A)
    np.testing.assert_array_equal(order_nodes(4 * A), order)
    n = A.shape[0]
    extra = sp.coo_array((np.append(np.ones(n), 0.0), (np.r_[:n, 0], np.r_[:n, n - 1])), shape=(n, n))
    np.testing.assert_array_equal(order_nodes(sp.csr_array(A + extra)), order)


@pytest.mark.parametrize("n", [0, 1, 4])
def test_a_graph_without_edges_keeps_its_order(n):
    assert order_nodes(sp.csr_array((n, n))).tolist() == list(range(n))


@pytest.mark.parametrize("order", [[0, 0, 1], [0, 1], [1, 2, 3]])
def test_an_order_that_is_no_permutation_is_rejected(order):
    with pytest.raises(ValueError, match="every number"):
        arrange_graph(sp.csr_array((3, 3)), np.array(order))
