import faiss
import numpy as np
import pytest

from resight.knn import blocks
from resight.knn.blocks import multiply_bytes, search_blocks, search_crowded
from resight.knn.coarse import product_errors, round_rows, row_error, step_of, turn_rows, turning
from resight.knn.ivf import assign_lists, fit_centroids, tune_probes
from resight.knn.plan import choose_method
from resight.knn.recall import recall_of_lists, wilson_interval


def unit_rows(rng, n, d):
    X = rng.standard_normal((n, d)).astype(np.float32)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def tied_rows(rng, n, d):
    """Corners of a cube: a handful of distinct similarities, so that every k cuts through ties."""
    X = rng.choice([-1.0, 1.0], (n, d)).astype(np.float32)
    return X / np.sqrt(np.float32(d))


def exact_graph(X, k, size):
    pieces = [(np.arange(i, min(i + size, len(X))), X[i : i + size]) for i in range(0, len(X), size)]
    lists = [search_blocks(piece, pieces, pieces, lambda o: X[o], k=k) for piece in pieces]
    return np.concatenate([c for _, c, _ in lists]), np.concatenate([s for _, _, s in lists])


def sorted_graph(X, k):
    S = np.einsum("nd,md->nm", X.astype(np.float64), X.astype(np.float64))
    S = np.minimum(S, 1).astype(np.float32)
    np.fill_diagonal(S, -2)
    order = np.argsort(-S, axis=1, kind="stable")[:, :k]
    return order.ravel(), np.take_along_axis(S, order, 1).ravel()


def spiky_rows(rng, n, d):
    """Vectors of one large component, some of them a row of the map that turns them back."""
    X = 0.01 * rng.standard_normal((n, d)).astype(np.float32)
    X[np.arange(n), rng.integers(0, d, n)] = 1
    order, signs, matrix = turning(d)
    X[: n // 2, order] = signs * np.resize(matrix[:1], d)
    return X / np.linalg.norm(X, axis=1, keepdims=True)


@pytest.mark.parametrize("make", [unit_rows, tied_rows, spiky_rows])
@pytest.mark.parametrize("size", [37, 150, 1000])
@pytest.mark.parametrize(("tile", "coarse_rows"), [((16, 40), 1), ((16, 40), 10**9), ((250, 1000), 1)])
def test_graph_equals_sorted_matrix_whatever_the_blocks(rng, monkeypatch, make, size, tile, coarse_rows):
    monkeypatch.setattr(blocks, "TILE_ROWS", tile[0])
    monkeypatch.setattr(blocks, "TILE_COLUMNS", tile[1])
    monkeypatch.setattr(blocks, "COARSE_ROWS", coarse_rows)
    X = make(rng, 300, 8)
    columns, similarities = exact_graph(X, 9, size)
    expected = sorted_graph(X, 9)
    np.testing.assert_array_equal(similarities, expected[1])
    np.testing.assert_array_equal(columns, expected[0])


@pytest.mark.parametrize("coarse_rows", [1, 10**9])
def test_rows_crowded_with_ties_are_searched_again(rng, monkeypatch, coarse_rows):
    monkeypatch.setattr(blocks, "COARSE_ROWS", coarse_rows)
    X = tied_rows(rng, 2000, 4)  # 16 corners: every list is cut inside some 125 equal similarities
    everything = [(np.arange(2000), X)]
    crowded = []
    monkeypatch.setattr(
        blocks, "search_crowded", lambda *a, **b: crowded.append(len(a[0][0])) or search_crowded(*a, **b)
    )
    found = search_blocks((np.arange(2000), X), everything, everything, lambda o: X[o], k=5)
    assert sum(crowded) > 1800
    np.testing.assert_array_equal(found[1], sorted_graph(X, 5)[0])


@pytest.mark.parametrize("d", [5, 64, 200])
@pytest.mark.parametrize("make", [unit_rows, spiky_rows])
def test_products_of_bytes_err_less_than_their_bound(rng, make, d):
    X = make(rng, 400, d)
    codes, errors = round_rows(X)
    smooth = errors <= row_error(d)
    assert (make is spiky_rows) == (smooth.mean() <= 0.5)
    products = multiply_bytes(codes, codes, np.empty((400, 400), np.int32)) * step_of(d) ** 2
    differences = np.abs(products - X.astype(np.float64) @ X.T.astype(np.float64))[:, smooth]
    assert (differences < product_errors(errors, d, always=True)[:, None]).all()
    if make is unit_rows and d > 5:
        assert (differences < product_errors(errors, d, always=False)[:, None]).all()


def test_products_of_bytes_equal_those_of_numpy(rng):
    A, B = (rng.integers(-127, 128, (n, 128)).astype(np.int8) for n in (7, 13))
    out = multiply_bytes(A, B, np.empty((7, 13), np.int32))
    np.testing.assert_array_equal(out, A.astype(np.int32) @ B.T.astype(np.int32))


def test_turning_keeps_dot_products(rng):
    X = unit_rows(rng, 50, 100)
    np.testing.assert_allclose(turn_rows(X) @ turn_rows(X).T, X @ X.T, atol=1e-5)


def test_graph_equals_faiss(rng):
    X = unit_rows(rng, 3000, 32)
    S, ids = faiss.knn(X, X, 21, metric=faiss.METRIC_INNER_PRODUCT)
    columns, similarities = exact_graph(X, 20, 1100)
    np.testing.assert_allclose(similarities.reshape(-1, 20), S[:, 1:], atol=1e-6)
    same = [len(set(a) & set(b)) for a, b in zip(columns.reshape(-1, 20), ids[:, 1:], strict=True)]
    assert np.mean(same) > 19.99


@pytest.mark.parametrize("k", [1, 5, 29, 50])
def test_fewer_vectors_than_k_give_shorter_lists(rng, k):
    X = unit_rows(rng, 30, 4)
    offsets, columns, _ = search_blocks((np.arange(30), X), [(np.arange(30), X)], [], lambda o: X[o], k=k)
    assert np.diff(offsets).tolist() == [min(k, 29)] * 30
    np.testing.assert_array_equal(columns, sorted_graph(X, min(k, 29))[0])


def test_probes_are_the_fewest_that_reach_the_recall(rng):
    X = unit_rows(rng, 500, 6)
    exact = search_blocks((np.arange(500), X), [(np.arange(500), X)], [], lambda o: X[o], k=5)
    centroids = fit_centroids(X, 20, seed=0)
    n_probes, recall = tune_probes(X, exact, lambda o: X[o], centroids, recall=0.9)
    nearest = np.argsort(-(X @ centroids.T), axis=1, kind="stable")
    home = assign_lists(X, centroids)[exact[1]].reshape(500, 5)
    shares = [(home[:, :, None] == nearest[:, None, :p]).any(2).mean(1) for p in (n_probes - 1, n_probes)]
    bounds = [share.mean() - share.std() / 500**0.5 for share in shares]
    assert bounds[0] < 0.9 <= bounds[1]
    assert recall == pytest.approx(shares[1].mean())


def test_recall_forgives_exchanged_ties_only():
    exact = np.array([0.9, 0.5, 0.5, 0.9, 0.8], np.float32)
    found = np.array([0.9, 0.5, 0.5, 0.8, 0.7], np.float32)
    offsets = np.array([0, 3, 5, 5])
    assert recall_of_lists(offsets, found, offsets, exact).tolist() == [1, 0.5, 1]


def test_wilson_interval_of_a_perfect_sample_stays_open():
    low, high = wilson_interval(1.0, 400)
    assert (low, high) == pytest.approx((0.99049, 1), abs=1e-5)
    assert wilson_interval(0.5, 100) == pytest.approx((0.40383, 0.59617), abs=1e-5)


def test_plan_changes_with_size_and_obeys():
    assert choose_method(100_000, 128).method == "exact"
    assert choose_method(1_000_000, 256).method == "ivf"
    assert choose_method(10, 4, method="ivf").method == "ivf"
    with pytest.raises(ValueError, match="expected auto, exact or ivf"):
        choose_method(10, 4, method="best")
