import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import cg, spsolve

from resight.diffusion.normalize import normalize_affinity
from resight.diffusion.solve import bound_iterations, solve_diffusion
from tests.diffusion.graphs import observe_some, patchy_affinity, scattered_affinity
from tests.diffusion.planted_curves import affinity_of, draw_curves, solve_dense

PRECISIONS = pytest.mark.parametrize("precision", ["float64", "float32"])


@pytest.fixture(name="A")
def draw_affinity(rng):
    return patchy_affinity(rng)


@pytest.fixture(name="S")
def normalize(A):
    return normalize_affinity(A).S


@pytest.fixture(name="Y")
def observe(S, rng):
    return observe_some(rng, S.shape[0], 7)


@pytest.fixture(scope="module")
def one_component():
    """Property sheet's G1: 3,000 nodes, one giant component, and ten unseen queries."""
    rng = np.random.default_rng(0)
    X = draw_curves(rng, n_curves=10, n_points=250, sigma=1, arc=5.5, n_distractors=500).X
    similarity = X @ (X[:10] + 0.1 * rng.standard_normal((10, 64))).T
    Y = np.where(similarity >= np.sort(similarity, axis=0)[-10], similarity**3, 0.0)
    A = affinity_of(X, 50)
    return A, normalize_affinity(A), Y


def iterate_fixed_point(S, Y, alpha, n_steps):
    """``F <- alpha S F + (1 - alpha) Y`` from zero; the plain form of diffusion."""
    F = np.zeros_like(Y)
    for _ in range(n_steps):
        F = alpha * (S @ F) + (1 - alpha) * Y
    return F


def true_residuals(S, F, Y, alpha=0.99):
    B = (1 - alpha) * Y
    return np.linalg.norm(B - F + alpha * (S @ F), axis=0), np.linalg.norm(B, axis=0)


@PRECISIONS
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.99])
def test_scores_equal_a_dense_solve(S, Y, precision, alpha):
    solution = solve_diffusion(S, Y, alpha=alpha, tol=1e-10, precision=precision)
    expected = solve_dense(S, Y, alpha)
    np.testing.assert_allclose(solution.F, expected, rtol=1e-6, atol=1e-8 * expected.max())
    assert solution.converged.all()


def test_scores_equal_a_sparse_solve(S, Y):
    M = sp.csc_array(sp.eye_array(S.shape[0]) - 0.99 * S)
    expected = np.stack([spsolve(M, 0.01 * y) for y in Y.T], axis=1)
    np.testing.assert_allclose(solve_diffusion(S, Y, tol=1e-10).F, expected, rtol=1e-6, atol=1e-12)


@PRECISIONS
@pytest.mark.parametrize("tol", [1e-3, 1e-6, 1e-10])
def test_reported_residuals_are_those_of_the_scores(S, Y, precision, tol):
    solution = solve_diffusion(S, Y, tol=tol, precision=precision)
    sizes, norms = true_residuals(S, solution.F, Y)
    np.testing.assert_allclose(solution.residuals[:-1], sizes[:-1] / norms[:-1], rtol=1e-3)
    assert solution.residuals.max() <= tol
    assert solution.converged.all()


@pytest.mark.parametrize("max_iter", [1, 7, 20, 300])
def test_every_column_moves_as_scipy_moves_it_alone(one_component, max_iter):
    _, (S, _, _), Y = one_component
    M = sp.eye_array(S.shape[0]) - 0.99 * S
    solution = solve_diffusion(S, Y, tol=1e-6, max_iter=max_iter)
    for y, f, n_steps in zip(Y.T, solution.F.T, solution.iterations, strict=True):
        steps = []
        expected = cg(M, 0.01 * y, rtol=1e-6, atol=0, maxiter=max_iter, callback=steps.append)[0]
        np.testing.assert_allclose(f, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())
        assert n_steps == len(steps)


def test_columns_stop_one_by_one_and_report_what_they_reached(S, Y):
    needed = solve_diffusion(S, Y).iterations
    limit = int(np.median(needed))
    solution = solve_diffusion(S, Y, max_iter=limit)
    np.testing.assert_array_equal(solution.iterations, np.minimum(needed, limit))
    np.testing.assert_array_equal(solution.converged, needed <= limit)
    np.testing.assert_array_equal(solution.residuals <= 1e-6, needed <= limit)
    assert 1 < solution.converged[:-1].sum() < len(needed) - 1


@PRECISIONS
def test_scores_are_the_same_for_any_threads_and_columns(rng, precision):
    S = normalize_affinity(scattered_affinity(rng, 20_000, 6)).S
    Y = observe_some(rng, 20_000, 37)
    whole = solve_diffusion(S, Y, precision=precision).F
    np.testing.assert_array_equal(solve_diffusion(S, Y, precision=precision, threads=2).F, whole)
    for some in (slice(0, 1), slice(30, 37)):
        np.testing.assert_array_equal(solve_diffusion(S, Y[:, some], precision=precision).F, whole[:, some])
    np.testing.assert_array_equal(solve_diffusion(S, sp.csr_array(Y), precision=precision).F, whole)


def test_fixed_point_contracts_to_the_same_scores(S, Y):
    exact = solve_dense(S, Y)
    for n_steps in (10, 100):
        error = np.linalg.norm(iterate_fixed_point(S, Y, 0.99, n_steps) - exact, axis=0)
        assert (error <= 0.99**n_steps * np.linalg.norm(exact, axis=0) + 1e-12).all()
    limit = iterate_fixed_point(S, Y, 0.99, 2000)
    np.testing.assert_allclose(solve_diffusion(S, Y, tol=1e-10).F, limit, rtol=1e-6, atol=1e-9)


def test_scores_conserve_what_is_observed_per_component(A, rng):
    S, degrees, _ = normalize_affinity(A)
    Y = rng.random((S.shape[0], 3))
    roots, labels = np.sqrt(degrees)[:, None], connected_components(A, directed=False)[1]
    F = solve_diffusion(S, Y, tol=1e-14, max_iter=500).F
    for label in set(labels[degrees > 0].tolist()):
        here = labels == label
        np.testing.assert_allclose((roots * F)[here].sum(0), (roots * Y)[here].sum(0), rtol=1e-10)


def test_scores_reach_exactly_the_components_that_are_observed(A, S, Y):
    labels = connected_components(A, directed=False)[1]
    F = solve_diffusion(S, Y, tol=1e-12).F
    for f, y in zip(F.T, Y.T, strict=True):
        reached = np.isin(labels, labels[y > 0])
        np.testing.assert_array_equal(f > 0, reached)
        assert (f[~reached] == 0).all()
        assert np.linalg.norm(y) * 0.01 / 1.99 <= np.linalg.norm(f) <= np.linalg.norm(y)


def test_isolated_nodes_keep_their_share_and_zero_columns_stay_zero(S, Y):
    solution = solve_diffusion(S, Y, start=np.ones_like(Y))
    isolated = np.diff(S.indptr) == 0
    assert isolated.any()
    np.testing.assert_allclose(solution.F[isolated], 0.01 * Y[isolated], atol=1e-8)
    assert (solution.F[:, -1] == 0).all()
    assert (solution.iterations[-1], solution.residuals[-1], solution.converged[-1]) == (0, 0, True)


def test_permuting_nodes_permutes_scores(S, Y, rng):
    order = rng.permutation(S.shape[0])
    permuted = solve_diffusion(sp.csr_array(S[order][:, order]), Y[order], tol=1e-12).F
    np.testing.assert_allclose(permuted, solve_diffusion(S, Y, tol=1e-12).F[order], rtol=1e-9, atol=1e-14)


def test_a_pair_shares_its_score():
    S = sp.csr_array(np.array([[0, 1], [1, 0.0]]))
    F = solve_diffusion(S, np.array([[1.0], [0.0]]), tol=1e-12).F
    np.testing.assert_allclose(F.ravel(), [1 / 1.99, 0.99 / 1.99], rtol=1e-10)


def test_normalised_and_degree_systems_give_the_same_scores(one_component):
    A, (S, degrees, scale), Y = one_component
    laplacian = np.diag(degrees) - 0.99 * A.toarray()
    G = np.linalg.solve(laplacian, 0.01 * np.sqrt(degrees)[:, None] * Y)
    expected = G / np.where(scale > 0, scale, 1)[:, None]
    np.testing.assert_allclose(solve_diffusion(S, Y, tol=1e-14, max_iter=400).F, expected, rtol=1e-9)


def test_iterations_stay_within_the_bound_and_few_of_them_rank_well(one_component):
    _, (S, _, _), Y = one_component
    for tol, most in ((1e-3, 40), (1e-6, 65)):
        iterations = solve_diffusion(S, Y, tol=tol).iterations
        assert (iterations <= most).all()
        assert most < bound_iterations(0.99, tol)
    exact, early = solve_dense(S, Y), solve_diffusion(S, Y, max_iter=20).F
    assert (np.linalg.norm(early - exact, axis=0) <= 0.05 * np.linalg.norm(exact, axis=0)).all()
    for f, g in zip(exact.T, early.T, strict=True):
        assert np.isin(np.argsort(-f)[:50], np.argsort(-g)[:50]).mean() >= 0.96


def test_normalising_saves_a_third_of_the_iterations(one_component):
    A, (S, degrees, _), Y = one_component
    steps = []
    load = 0.01 * np.sqrt(degrees) * Y[:, 0]
    cg(sp.diags_array(degrees) - 0.99 * A, load, rtol=1e-6, atol=0, callback=steps.append)
    assert solve_diffusion(S, Y[:, :1]).iterations[0] <= 0.75 * len(steps)


def test_twenty_iterations_rank_as_a_hundred_and_ten_of_the_fixed_point_do(one_component):
    _, (S, _, _), Y = one_component
    best = [set(np.argsort(-f)[:50]) for f in solve_dense(S, Y).T]

    def overlap(F):
        return np.mean([len(kept & set(np.argsort(-f)[:50])) for kept, f in zip(best, F.T, strict=True)]) / 50

    early = overlap(solve_diffusion(S, Y, max_iter=20).F)
    plain = [overlap(iterate_fixed_point(S, Y, 0.99, n)) for n in (20, 110)]
    assert plain[0] < min(early, plain[1]) - 0.02
    assert min(early, plain[1]) >= 0.97


def test_bound_is_that_of_the_condition_number():
    assert [bound_iterations(0.99, tol) for tol in (1e-3, 1e-6)] == [73, 121]
    assert bound_iterations(0.0, 1e-6) == 1


@PRECISIONS
def test_a_start_near_the_solution_saves_iterations(S, Y, precision):
    first = solve_diffusion(S, Y, tol=1e-3)
    going_on = solve_diffusion(S, Y, start=first.F, precision=precision)
    assert going_on.converged.all()
    assert going_on.iterations.sum() < solve_diffusion(S, Y, precision=precision).iterations.sum()
    again = solve_diffusion(S, Y, start=going_on.F, precision=precision)
    assert again.iterations.tolist() == [0] * Y.shape[1]
    np.testing.assert_array_equal(again.F, going_on.F)


def test_columns_that_cannot_reach_the_tolerance_say_so(S, Y):
    solution = solve_diffusion(S, Y, tol=1e-30, max_iter=1000)
    assert not solution.converged[:-1].any()
    assert (solution.residuals < 1e-13).all()
    assert (solution.iterations < 1000).all()


@PRECISIONS
def test_a_matrix_that_is_not_normalised_ends_and_says_so(precision):
    S = sp.csr_array(np.array([[0, 5.0], [5.0, 0]]))
    solution = solve_diffusion(S, np.array([[1.0], [0.0]]), precision=precision)
    assert not solution.converged[0]
    sizes, norms = true_residuals(S, solution.F, np.array([[1.0], [0.0]]))
    np.testing.assert_allclose(solution.residuals, sizes / norms, rtol=1e-9)


@pytest.mark.parametrize(("n", "s"), [(0, 0), (0, 3), (4, 0), (1, 1)])
def test_empty_systems_give_empty_or_scaled_scores(n, s):
    solution = solve_diffusion(sp.csr_array((n, n)), np.ones((n, s)))
    np.testing.assert_allclose(solution.F, np.full((n, s), 0.01))
    assert solution.converged.shape == (s,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 1.0}, "alpha must lie"),
        ({"tol": 0.0}, "tol be positive"),
        ({"Y": np.ones((3, 1))}, "shapes do not fit"),
        ({"start": np.ones((2, 2))}, "start"),
        ({"Y": np.array([[np.inf], [0]])}, "finite"),
        ({"precision": "float16"}, "precision"),
    ],
)
def test_what_is_no_system_is_rejected(changes, message):
    arguments = {"S": sp.csr_array((2, 2)), "Y": np.ones((2, 1))} | changes
    with pytest.raises(ValueError, match=message):
        solve_diffusion(arguments.pop("S"), arguments.pop("Y"), **arguments)
