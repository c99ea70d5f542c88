import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import cg

from resight.diffusion.normalize import normalize_affinity
from resight.diffusion.observe import QueryLists, observe_queries
from resight.diffusion.offline import Shortlists, answer_offline, solve_offline
from tests.diffusion.planted_curves import affinity_of, draw_curves, nearest_lists, solve_dense

EXACT = {"tol": 1e-13, "max_iter": 500}


@pytest.fixture(scope="module")
def curves():
    rng = np.random.default_rng(0)
    return draw_curves(rng, n_curves=6, n_points=25, sigma=0.25, arc=2.2, n_distractors=40)


@pytest.fixture(scope="module")
def graph(curves):
    """Several components and isolated nodes."""
    return normalize_affinity(affinity_of(curves.X, 8)).S


@pytest.fixture
def shortlists(rng):
    sizes = rng.integers(0, 60, 190)
    ordinals = np.concatenate([rng.choice(190, size, replace=False) for size in sizes])
    return Shortlists(np.arange(190), np.cumsum([0, *sizes]), ordinals)


def dense(rows, n):
    Z = np.zeros((len(rows.seeds), n))
    Z[np.repeat(np.arange(len(rows.seeds)), np.diff(rows.offsets)), rows.ordinals] = rows.scores
    return Z


@pytest.mark.parametrize("max_iter", [1, 2, 5, 20])
def test_rows_equal_scipy_on_each_small_system(graph, shortlists, max_iter):
    Z = dense(solve_offline(graph, shortlists, max_iter=max_iter), 190)
    for i in range(190):
        listed = shortlists.ordinals[shortlists.offsets[i] : shortlists.offsets[i + 1]]
        nodes = np.union1d(listed, [i])
        system = sp.eye_array(len(nodes)) - 0.99 * graph[nodes][:, nodes]
        load = 0.01 * (nodes == i)
        expected, _ = cg(system, load, rtol=1e-6, atol=0, maxiter=max_iter)
        np.testing.assert_allclose(Z[i, nodes], expected, rtol=1e-9, atol=1e-14)
        assert np.count_nonzero(Z[i]) <= len(nodes)


def test_rows_of_all_nodes_are_the_inverse(graph):
    rows = solve_offline(graph, Shortlists(np.arange(190)), **EXACT)
    np.testing.assert_allclose(dense(rows, 190), solve_dense(graph, np.eye(190)), atol=1e-10)
    assert rows.residuals.max() <= 1e-12
    assert (rows.scores > 0).all()


def test_residuals_are_those_of_the_scores(graph, shortlists):
    rows = solve_offline(graph, shortlists, max_iter=4)
    Z = dense(rows, 190)
    for i in range(0, 190, 7):
        listed = shortlists.ordinals[shortlists.offsets[i] : shortlists.offsets[i + 1]]
        nodes = np.union1d(listed, [i])
        z, e = Z[i, nodes], (nodes == i).astype(float)
        residual = np.linalg.norm(0.01 * e - z + 0.99 * (graph[nodes][:, nodes] @ z)) / 0.01
        assert rows.residuals[i] == pytest.approx(residual, abs=1e-13)
    assert rows.iterations.max() == 4
    assert ((rows.residuals <= 1e-6) | (rows.iterations == 4)).all()


@pytest.mark.parametrize("y_pool", ["sum_of_powers", "power_of_sum"])
def test_answers_equal_the_online_solution(curves, graph, rng, y_pool):
    Q = curves.X[rng.choice(150, 9)] + 0.1 * rng.standard_normal((9, 64))
    lists = QueryLists(*nearest_lists(Q, curves.X, 10), query=np.array([0, 0, 0, 1, 1, 2, 3, 4, 5]))
    Y = observe_queries(lists, y_pool=y_pool).to_matrix(190)
    rows = solve_offline(graph, Shortlists(rng.permutation(190)), **EXACT)
    F = answer_offline(rows, Y)
    np.testing.assert_allclose(F.toarray(), solve_dense(graph, Y.toarray()), atol=1e-9)
    assert F.has_sorted_indices


def test_float32_reaches_the_residual_of_float64(graph, shortlists):
    rows, wide = (
        solve_offline(graph, shortlists, precision=p, tol=1e-10, max_iter=300) for p in ("float32", "float64")
    )
    assert rows.residuals.max() <= 1e-10
    np.testing.assert_allclose(dense(rows, 190), dense(wide, 190), atol=1e-10)
    few, expected = (solve_offline(graph, shortlists, precision=p) for p in ("float32", "float64"))
    np.testing.assert_allclose(few.residuals, expected.residuals, rtol=1e-2, atol=2e-6)
    np.testing.assert_allclose(dense(few, 190), dense(expected, 190), atol=1e-7)


def test_isolated_seed_keeps_its_own_score(graph):
    isolated = np.flatnonzero(np.diff(graph.indptr) == 0)
    rows = solve_offline(graph, Shortlists(isolated))
    assert len(isolated) > 1
    np.testing.assert_array_equal(rows.ordinals, isolated)
    np.testing.assert_allclose(rows.scores, 0.01, rtol=1e-12)


def test_nodes_of_other_components_have_no_entry(graph):
    labels = sp.csgraph.connected_components(graph)[1]
    rows = solve_offline(graph, Shortlists(np.arange(190)), max_iter=200)
    assert (labels[rows.ordinals] == np.repeat(labels, np.diff(rows.offsets))).all()
    assert np.diff(rows.offsets).tolist() == np.bincount(labels)[labels].tolist()


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize(("block", "threads"), [(1, 1), (7, 3), (190, 3)])
def test_rows_do_not_depend_on_blocks_threads_or_the_order_of_lists(
    graph, shortlists, rng, block, threads, precision
):
    expected = solve_offline(graph, shortlists, precision=precision)
    parts = []
    for start in range(0, 190, block):
        seeds = np.arange(start, min(start + block, 190))
        lists = [shortlists.ordinals[shortlists.offsets[i] : shortlists.offsets[i + 1]] for i in seeds]
        offsets = np.cumsum([0, *map(len, lists)])
        shuffled = np.concatenate([rng.permutation(x) for x in lists])
        lists = Shortlists(seeds, offsets, shuffled)
        parts.append(solve_offline(graph, lists, threads=threads, precision=precision))
    for column in ("seeds", "ordinals", "scores", "iterations", "residuals"):
        joined = np.concatenate([getattr(part, column) for part in parts])
        np.testing.assert_array_equal(joined, getattr(expected, column))


def test_depth_keeps_the_best_of_each_row(graph):
    full, cut = (solve_offline(graph, Shortlists(np.arange(190)), depth=depth) for depth in (None, 5))
    for i in range(190):
        row, best = (slice(r.offsets[i], r.offsets[i + 1]) for r in (full, cut))
        order = np.lexsort((full.ordinals[row], -full.scores[row]))
        assert (order == np.arange(len(order))).all()
        assert cut.ordinals[best].tolist() == full.ordinals[row][:5].tolist()


def test_equal_scores_are_ordered_by_ordinal():
    star = np.zeros((6, 6))
    star[3] = star[:, 3] = 1
    star[3, 3] = 0
    S = normalize_affinity(sp.csr_array(star)).S
    assert solve_offline(S, Shortlists(np.array([3]))).ordinals.tolist() == [3, 0, 1, 2, 4, 5]


def test_answer_needs_a_row_of_every_observed_node(graph):
    rows = solve_offline(graph, Shortlists(np.array([3, 1])))
    Y = sp.csc_array(np.eye(190)[:, [1, 5]])
    with pytest.raises(ValueError, match=r"no offline row for nodes \[5\]"):
        answer_offline(rows, Y)
    assert answer_offline(rows, sp.csc_array((190, 2))).nnz == 0


def test_no_seed_gives_no_row(graph):
    rows = solve_offline(graph, Shortlists(np.zeros(0, int)))
    assert rows.offsets.tolist() == [0]


@pytest.mark.parametrize(
    ("lists", "options", "message"),
    [
        (Shortlists(np.array([190])), {}, "seeds name nodes from 190"),
        (Shortlists(np.array([0]), np.array([0, 1]), np.array([-1])), {}, "lists name nodes from -1"),
        (Shortlists(np.array([0]), np.array([0, 2]), np.array([1])), {}, "1 seeds need 2 offsets"),
        (Shortlists(np.array([0])), {"alpha": 1.0}, "alpha 1.0"),
        (Shortlists(np.array([0])), {"max_iter": 0}, "max_iter 0"),
    ],
)
def test_unusable_input_is_named(graph, lists, options, message):
    with pytest.raises(ValueError, match=message):
        solve_offline(graph, lists, **options)
