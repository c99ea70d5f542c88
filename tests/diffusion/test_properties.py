"""Properties of the method as a whole: linearity, limits, the derivation of y, duplicates, orderings."""

import numpy as np
import pytest

from resight.diffusion.normalize import normalize_affinity
from resight.diffusion.observe import QueryLists, observe_queries
from resight.diffusion.pooling import gmp_weights, pool_regions
from resight.diffusion.rank import rank_dense
from resight.diffusion.solve import solve_diffusion
from tests.diffusion.planted_curves import (
    add_noise,
    affinity_of,
    draw_curves,
    nearest_lists,
    solve_dense,
    step_average_precision,
    unit,
)

EXACT = {"tol": 1e-13, "max_iter": 800}


@pytest.fixture(scope="module")
def curves():
    rng = np.random.default_rng(3)
    return draw_curves(rng, n_curves=6, n_points=30, sigma=0.3, arc=2.5, n_distractors=30)


@pytest.fixture(scope="module")
def graph(curves):
    return normalize_affinity(affinity_of(curves.X, 10)).S


def test_scores_are_linear_and_decouple(graph, rng):
    Y = rng.random((210, 2)) * (rng.random((210, 2)) < 0.05)
    both = np.column_stack([Y, Y @ [1, 2]])
    F = solve_diffusion(graph, both, alpha=0.99, **EXACT).F
    np.testing.assert_allclose(F[:, 2], F[:, 0] + 2 * F[:, 1], atol=1e-10)
    units = solve_diffusion(graph, np.eye(210), alpha=0.99, **EXACT).F
    np.testing.assert_allclose(units @ Y, F[:, :2], atol=1e-10)


def test_little_diffusion_leaves_the_order_of_the_support(curves, graph, rng):
    q = add_noise(curves.X[:1], 0.5, rng)
    y = observe_queries(QueryLists(*nearest_lists(q, curves.X, 10))).to_matrix(210).toarray()
    f = solve_diffusion(graph, y, alpha=1e-6, tol=1e-14).F[:, 0]
    similarity = (curves.X @ q[0]).astype(np.float64)
    plain = np.lexsort((np.arange(210), -similarity))
    ranking = rank_dense(f, similarity).ordinals
    assert ranking[:10].tolist() == plain[:10].tolist()
    spread = (graph @ y)[:, 0] * (y[:, 0] == 0)
    reached = np.flatnonzero(spread)
    assert len(reached) > 3
    assert ranking[10 : 10 + len(reached)].tolist() == reached[np.argsort(-spread[reached])].tolist()


def test_everything_observed_and_no_diffusion_is_the_plain_ranking(curves, graph, rng):
    q = add_noise(curves.X[:1], 0.5, rng)
    similarity = curves.X @ q[0]
    y = observe_queries(QueryLists(*nearest_lists(q, curves.X, 210)), k_q=210).to_matrix(210).toarray()
    ranking = rank_dense(y[:, 0], similarity).ordinals
    assert ranking.tolist() == np.argsort(-similarity, kind="stable").tolist()


def test_observations_are_queries_that_only_send(graph, rng):
    m, alpha = 4, 0.99
    B = rng.random((210, m)) * (rng.random((210, m)) < 0.05)
    joint = np.zeros((210 + m, 210 + m))
    joint[:210, :210], joint[:210, 210:] = graph.toarray(), B
    y = np.append(np.zeros(210), np.ones(m))
    full = np.linalg.solve(np.eye(210 + m) - alpha * joint, (1 - alpha) * y)[:210]
    expected = alpha * solve_dense(graph, B.sum(1), alpha)
    np.testing.assert_allclose(full, expected, rtol=1e-12, atol=1e-15)


def test_copies_beyond_k_fall_off_the_graph_unless_they_are_collapsed(rng):
    X = np.vstack([np.tile(unit(rng.standard_normal(16)), (31, 1)), unit(rng.standard_normal((40, 16)))])
    exact = nearest_lists(X, X, 10, exclude_self=True)[1].reshape(71, 10)
    assert exact[20].tolist() == list(range(10))
    degrees = normalize_affinity(affinity_of(X, 10)).degrees
    assert np.flatnonzero(degrees[:31] == 0).tolist() == list(range(11, 31))
    assert normalize_affinity(affinity_of(X[30:], 10)).degrees[0] > 0


def test_isolated_nodes_score_what_they_observe(graph):
    isolated = np.flatnonzero(np.diff(graph.indptr) == 0)
    Y = np.eye(210)[:, isolated[:2]]
    F = solve_diffusion(graph, Y, alpha=0.99).F
    np.testing.assert_allclose(F, 0.01 * Y, rtol=1e-12)


def mean_precisions(k):
    """Mean average precision of similarity and of diffusion on 12 curves among distractors."""
    rng = np.random.default_rng(4)
    curves = draw_curves(rng, n_curves=12, n_points=40, sigma=0.8, arc=3, n_distractors=500)
    queries = np.arange(0, 480, 20)
    Q = add_noise(curves.X[queries], 0.8, rng)
    Y = observe_queries(QueryLists(*nearest_lists(Q, curves.X, 10))).to_matrix(980).toarray()
    F = solve_diffusion(normalize_affinity(affinity_of(curves.X, k)).S, Y, alpha=0.99, max_iter=100).F
    similarity = curves.X @ Q.T
    plain, spread = [], []
    for j, q in enumerate(queries):
        relevant = np.flatnonzero(curves.labels == curves.labels[q])
        plain.append(step_average_precision(np.argsort(-similarity[:, j]), relevant))
        spread.append(step_average_precision(rank_dense(F[:, j], similarity[:, j]).ordinals, relevant))
    return np.mean(plain), np.mean(spread)


def test_diffusion_beats_similarity_on_curves_and_k_has_an_optimum():
    few, some, many = (mean_precisions(k) for k in (3, 12, 150))
    assert some[1] > some[0] + 0.2
    assert some[1] > few[1] + 0.02
    assert some[1] > many[1] + 0.02


def test_regions_find_small_objects_that_the_whole_image_hides(rng):
    n_images, n_regions = 60, 6
    objects = unit(rng.standard_normal((12, 48)))
    regions = unit(rng.standard_normal((n_images, n_regions, 48)))
    labels = np.repeat(np.arange(12), 5)
    regions[:, 0] = add_noise(objects[labels], 1.2, rng)  # one region of six shows the object
    whole, queries = unit(regions.sum(1)), add_noise(objects, 1.2, rng)
    flat, offsets = regions.reshape(-1, 48), np.arange(0, 361, n_regions)
    precisions = []
    for X, k in ((whole, 8), (flat, 8)):
        Y = observe_queries(QueryLists(*nearest_lists(queries, X, 5)), k_q=5).to_matrix(len(X)).toarray()
        precisions.append(solve_diffusion(normalize_affinity(affinity_of(X, k)).S, Y, alpha=0.9).F)
    scores = {
        "global": precisions[0],
        "sum": pool_regions(precisions[1], offsets).scores,
        "gmp": pool_regions(precisions[1], offsets, gmp_weights(flat, offsets)).scores,
    }
    relevant = [np.flatnonzero(labels == q) for q in range(12)]
    best = {
        name: np.mean([step_average_precision(np.argsort(-F[:, q]), relevant[q]) for q in range(12)])
        for name, F in scores.items()
    }
    assert min(best["sum"], best["gmp"]) > best["global"] + 0.1
    assert best["gmp"] >= best["sum"] - 0.01
