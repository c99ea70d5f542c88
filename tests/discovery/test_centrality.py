from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp

from resight.diffusion.normalize import normalize_affinity
from resight.diffusion.order import arrange_graph
from resight.discovery.centrality import cut_blocks, solve_katz, take_block
from tests.discovery.oracles import dense_katz, dense_normalised


def random_graph(rng, n=60, share=0.12):
    A = np.triu(rng.uniform(0.2, 1, size=(n, n)) * (rng.uniform(size=(n, n)) < share), 1)
    return A + A.T


def clusters(rng, sizes):
    parts = [random_graph(rng, n, 0.9) for n in sizes]
    return sp.block_diag(parts).toarray()


def katz(A, **options):
    return solve_katz(normalize_affinity(sp.csr_array(A)).S, **options).g


@pytest.mark.parametrize("alpha", [0.3, 0.9, 0.99])
def test_centrality_is_that_of_a_dense_solve(rng, alpha):
    A = random_graph(rng)
    np.testing.assert_allclose(katz(A, alpha=alpha, tol=1e-10), dense_katz(A, alpha), rtol=1e-6)
    S, d = dense_normalised(A), A.sum(1)
    np.testing.assert_allclose(S @ np.sqrt(d), np.sqrt(d))
    assert (katz(A, alpha=alpha) >= 1 - alpha - 1e-6).all()


def test_regular_components_have_centrality_one_and_isolated_nodes_what_is_left():
    A = np.zeros((8, 8))
    A[:4, :4] = 0.5 * (1 - np.eye(4))
    A[4, 5] = A[5, 4] = 0.2
    np.testing.assert_allclose(katz(A, tol=1e-10), [1] * 6 + [0.01] * 2, atol=1e-8)


def test_the_hub_of_a_star_is_more_central_than_its_leaves():
    A = np.zeros((11, 11))
    A[0, 1:] = A[1:, 0] = 1
    np.testing.assert_allclose(katz(A, tol=1e-10)[:2], [2.08, 0.66], atol=5e-3)


@pytest.mark.parametrize(("alpha", "error"), [(0.99, 2e-2), (0.9999, 2e-4)])
def test_centrality_tends_to_the_root_of_the_degree(rng, alpha, error):
    A = clusters(rng, [9, 14])
    g, d = katz(A, alpha=alpha, tol=1e-12), A.sum(1)
    for part in (slice(0, 9), slice(9, 23)):
        limit = np.sqrt(d[part]) * np.sqrt(d[part]).sum() / d[part].sum()
        np.testing.assert_allclose(g[part], limit, atol=error)


def test_centrality_goes_with_the_degree_on_random_graphs(rng):
    A = random_graph(rng, n=150)
    assert np.corrcoef(katz(A), A.sum(1))[0, 1] > 0.9


@pytest.mark.parametrize("block_nodes", [1, 3, 1000])
def test_blocks_hold_whole_components_and_are_solved_alike(rng, block_nodes):
    A = clusters(rng, [5, 1, 7, 1, 4])
    S = arrange_graph(normalize_affinity(sp.csr_array(A)).S).S
    cuts = cut_blocks(S, block_nodes=block_nodes)
    assert cuts[0] == 0
    assert cuts[-1] == 18
    parts = [take_block(S, a, b) for a, b in pairwise(cuts)]
    for part, (a, b) in zip(parts, pairwise(cuts), strict=True):
        assert (part != sp.csr_array(S[a:b, a:b])).nnz == 0
    assert sum(part.nnz for part in parts) == S.nnz
    together = np.concatenate([solve_katz(part, tol=1e-12).g for part in parts])
    np.testing.assert_allclose(together, solve_katz(S, tol=1e-12).g, atol=1e-9)
    assert len(cuts) == {1: 6, 3: 4, 1000: 2}[block_nodes]


def test_no_graph_has_no_centrality():
    assert solve_katz(sp.csr_array((0, 0))).g.shape == (0,)
