"""The properties that the paper's method has, on collections whose truth is known."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from resight.diffusion.normalize import normalize_affinity
from resight.diffusion.solve import solve_diffusion
from resight.mining.entries import Entries
from resight.mining.manifold import choose_anchors, find_modes, find_stationary, mine_pools
from tests.diffusion.graphs import patchy_affinity
from tests.diffusion.planted_curves import affinity_of, solve_dense
from tests.mining.planted import draw_arcs, draw_moons, list_both, pure, sort_lists


@pytest.fixture(scope="module")
def arcs():
    return draw_arcs(np.random.default_rng(3))


@pytest.fixture(scope="module")
def arc_lists(arcs):
    anchors = np.arange(0, len(arcs.X), 8)
    return anchors, *list_both(arcs.X, anchors, k=10)


def test_similarity_on_the_manifold_is_symmetric_and_its_sums_are_known(rng):
    A = patchy_affinity(rng)
    S, degrees, _ = normalize_affinity(A)
    n = A.shape[0]
    F = solve_diffusion(S, np.eye(n), alpha=0.99, tol=1e-9).F
    np.testing.assert_allclose(F, solve_dense(S, np.eye(n)), atol=1e-5)
    np.testing.assert_allclose(F, F.T, atol=1e-5)
    assert F.min() > -1e-9
    joined = degrees > 0
    np.testing.assert_allclose((np.sqrt(degrees) @ F)[joined], np.sqrt(degrees)[joined], rtol=1e-5)
    label = connected_components(A)[1]
    assert np.abs(F[label[:, None] != label]).max() == 0


def slow_pools(anchors, euclidean, manifold, k_positive, k_negative, most):
    """Sets and loops, from the definition."""
    positive, negative = [], []
    for row, anchor in enumerate(anchors.tolist()):
        near = [i for i in euclidean.item[euclidean.row == row].tolist() if i != anchor]
        kept = (manifold.row == row) & (manifold.item != anchor) & (manifold.value > 1e-12)
        reached = manifold.item[kept].tolist()
        positive += [(row, i) for i in reached[:k_positive] if i not in set(near[:k_positive])]
        far = [i for i in near[:k_negative] if i not in set(reached[:k_negative])]
        negative += [(row, i) for i in far[:most]]
    return positive, negative


def draw_lists(rng, n_anchors, n_items):
    values = np.round(rng.random((2, n_anchors, n_items)), 1) - 0.2  # ties, and nothing reached
    anchors = rng.permutation(n_items)[:n_anchors]
    return anchors, *(sort_lists(v, np.full(n_anchors, -1)) for v in np.maximum(values, 0))


@pytest.mark.parametrize(
    ("k_positive", "k_negative", "most"), [(5, 9, 3), (1, 1, 50), (20, 20, 50), (9, 4, 2)]
)
def test_pools_are_the_differences_of_sets(rng, k_positive, k_negative, most):
    anchors, euclidean, manifold = draw_lists(rng, 12, 30)
    limits = {"k_positive": k_positive, "k_negative": k_negative, "max_negatives": most}
    pools = mine_pools(anchors, euclidean, manifold, **limits)
    expected = slow_pools(anchors, euclidean, manifold, k_positive, k_negative, most)
    for entries, pairs in zip(pools, expected, strict=True):
        assert list(zip(entries.row.tolist(), entries.item.tolist(), strict=True)) == pairs


def test_pools_are_disjoint_ordered_and_without_the_anchor(arc_lists):
    anchors, euclidean, manifold = arc_lists
    for k_negative in (30, 60):
        positive, negative = mine_pools(anchors, euclidean, manifold, k_positive=30, k_negative=k_negative)
        keys = [entries.row * 10_000 + entries.item for entries in (positive, negative)]
        assert not np.isin(*keys).any()
        for entries in (positive, negative):
            assert (entries.item != anchors[entries.row]).all()
            assert (np.diff(entries.value)[np.diff(entries.row) == 0] <= 0).all()
        assert np.bincount(negative.row).max() <= 50


def test_full_lists_of_one_length_differ_by_as_many_on_both_sides(arc_lists):
    anchors, euclidean, manifold = arc_lists
    k = 12  # every anchor reaches more
    pools = mine_pools(anchors, euclidean, manifold, k_positive=k, k_negative=k)
    counts = [np.bincount(entries.row, minlength=len(anchors)) for entries in pools]
    np.testing.assert_array_equal(*counts)


def test_shorter_lists_by_similarity_give_the_beginning_of_the_negatives(arc_lists):
    anchors, euclidean, manifold = arc_lists
    whole = mine_pools(anchors, euclidean, manifold, k_positive=30, k_negative=60).negative
    part = mine_pools(anchors, euclidean.first(35), manifold, k_positive=30, k_negative=60).negative
    for row in range(len(anchors)):
        some = part.item[part.row == row]
        np.testing.assert_array_equal(some, whole.item[whole.row == row][: len(some)])


def test_pools_follow_a_permutation_of_the_items(arc_lists, rng):
    anchors, euclidean, manifold = arc_lists
    new = rng.permutation(800)
    moved = [lists._replace(item=new[lists.item]) for lists in (euclidean, manifold)]
    before, after = mine_pools(anchors, euclidean, manifold), mine_pools(new[anchors], *moved)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(new[a.item], b.item)


def test_a_clique_has_empty_pools_and_no_positive_leads_to_another():
    block = np.ones((6, 6)) - np.eye(6)
    A = sp.csr_array(np.kron(np.eye(2), block))
    F = solve_dense(normalize_affinity(A).S, np.eye(12))
    everyone = np.arange(12)
    manifold, euclidean = (sort_lists(np.round(v, 9), everyone) for v in (F, A.toarray()))
    positive, negative = mine_pools(everyone, euclidean, manifold, k_positive=5, k_negative=5)
    assert len(positive.row) == len(negative.row) == 0
    positive = mine_pools(everyone, euclidean.first(2), manifold, k_positive=11, k_negative=11).positive
    assert len(positive.row) > 0
    assert (positive.item // 6 == everyone[positive.row] // 6).all()


def test_an_isolated_anchor_has_no_positives():
    lists = Entries(np.zeros(2, np.int64), np.array([4, 5]), np.array([0.9, 0.8]))
    alone = Entries(np.zeros(3, np.int64), np.array([7, 1, 2]), np.array([0.01, 0.0, 1e-13]))
    positive, negative = mine_pools(np.array([7]), lists, alone, k_positive=2, k_negative=2)
    assert len(positive.item) == 0
    assert negative.item.tolist() == [4, 5]


def test_pools_on_arcs_are_pure_and_positives_look_less_alike_than_negatives(arcs, arc_lists):
    anchors, euclidean, manifold = arc_lists
    X, labels = arcs
    positive, negative = mine_pools(anchors, euclidean, manifold, k_positive=30, k_negative=60)
    assert pure(positive, anchors, labels, same=True) >= 0.99
    assert pure(negative, anchors, labels, same=False) >= 0.99
    assert pure(euclidean.first(30), anchors, labels, same=True) < 0.75
    cosine = [np.einsum("md,md->m", X[e.item], X[anchors[e.row]]).mean() for e in (positive, negative)]
    assert cosine[0] < cosine[1]
    assert euclidean.first(5).value.mean() > 0.9


def test_on_two_moons_more_neighbours_make_negatives_purer(rng):
    moons = draw_moons(rng)
    anchors = np.arange(0, 600, 5)
    euclidean, manifold = list_both(moons.X, anchors, k=15)
    purity = []
    for k_negative in (100, 200, 300):
        options = {"k_positive": 50, "k_negative": k_negative, "max_negatives": 600}
        positive, negative = mine_pools(anchors, euclidean, manifold, **options)
        assert pure(positive, anchors, moons.labels, same=True) >= 0.97
        purity.append(pure(negative, anchors, moons.labels, same=False))
        assert purity[-1] > pure(euclidean.first(k_negative), anchors, moons.labels, same=False) + 0.2
    assert purity[0] < purity[1] < purity[2]
    assert purity[2] > 0.9


def walk_lazily(A, n_steps):
    """Power iteration of the lazy walk; an isolated node keeps what it has."""
    degrees = A.sum(axis=1)
    P = sp.csr_array(sp.diags_array(np.divide(1, degrees, where=degrees > 0, out=np.zeros_like(degrees))) @ A)
    P = P + sp.diags_array((degrees == 0).astype(float))
    pi = np.full(A.shape[0], 1 / A.shape[0])
    for _ in range(n_steps):
        pi = (pi + pi @ P) / 2
    return pi


def test_the_stationary_distribution_is_what_the_lazy_walk_converges_to(rng):
    dense = np.triu(rng.random((40, 40)) * (rng.random((40, 40)) < 0.4), 1)
    well = sp.block_array([[sp.csr_array(dense + dense.T), None], [None, sp.csr_array((3, 3))]], format="csr")
    np.testing.assert_allclose(find_stationary(well), walk_lazily(well, 400), atol=1e-12)
    star = sp.csr_array((np.ones(8), ([0, 0, 0, 0, 1, 2, 3, 4], [1, 2, 3, 4, 0, 0, 0, 0])), shape=(5, 5))
    np.testing.assert_allclose(find_stationary(star), [0.5, *[0.125] * 4])
    assert abs(find_stationary(patchy_affinity(rng)).sum() - 1) < 1e-12


def test_anchors_are_independent_and_in_every_component(rng):
    A = patchy_affinity(rng)
    n, ids = A.shape[0], rng.permutation(A.shape[0])
    pi, is_mode = find_stationary(A), find_modes(A, ids)
    assert A[is_mode][:, is_mode].nnz == 0
    label = connected_components(A)[1]
    large = np.bincount(label) > 1
    np.testing.assert_array_equal(np.bincount(label, is_mode) > 0, large)
    grown = sp.csr_array((A.data, A.indices, np.append(A.indptr, A.nnz)), shape=(n + 1, n + 1))
    np.testing.assert_array_equal(find_modes(grown, np.append(ids, n)), np.append(is_mode, False))
    anchors = choose_anchors(pi, is_mode, ids)
    assert (np.diff(pi[anchors]) <= 0).all()
    np.testing.assert_array_equal(choose_anchors(pi, is_mode, ids, n=3), anchors[:3])


def test_of_equal_maxima_the_smallest_id_is_the_anchor():
    ring = sp.csr_array(np.roll(np.eye(6), 1, 1) + np.roll(np.eye(6), -1, 1))
    ids = np.array([5, 3, 9, 1, 7, 2])
    assert np.flatnonzero(find_modes(ring, ids)).tolist() == [1, 3, 5]  # no neighbour has a smaller id
    assert affinity_of(np.eye(3), 2).nnz == find_modes(affinity_of(np.eye(3), 2), np.arange(3)).sum() == 0
