"""Assignment against all distances in float64."""

from itertools import pairwise

import numpy as np
import pytest

from resight.codebook import quantize, visit
from resight.codebook.model import Codebook
from resight.codebook.quantize import Coarse, Quantizer, assign, lay_out, tune_probes
from tests.asmk import oracles


def draw(rng, n, k, d=8):
    C = rng.normal(size=(k, d)).astype(np.float32)
    return C, (C[rng.integers(k, size=n)] + 0.5 * rng.normal(size=(n, d))).astype(np.float32)


@pytest.mark.parametrize("m", [1, 3, 99])
def test_words_are_the_nearest_centroids(rng, m):
    C, X = draw(rng, 40, 12)
    found = assign(X, Codebook(C), m)
    assert (found.shape, found.dtype) == ((40, min(m, 12)), np.int32)
    assert found.tolist() == [oracles.nearest_words(x, C, m) for x in X]


@pytest.mark.parametrize("m", [1, 2, 4])
def test_equal_distances_go_to_the_smallest_word(m):
    C = np.array([[5, 5], [1, 0], [-1, 0], [0, 1], [0, -1], [1, 0]], np.float32)
    assert assign(np.zeros((1, 2), np.float32), Codebook(C), m)[0].tolist() == [1, 2, 3, 4][:m]


@pytest.mark.parametrize("tile", [1, 7, 1000])
def test_the_size_of_a_block_changes_nothing(rng, monkeypatch, tile):
    C, X = draw(rng, 50, 20)
    whole = assign(X, Codebook(C), 2)
    monkeypatch.setattr(quantize, "TILE_ROWS", tile)
    np.testing.assert_array_equal(assign(X, Codebook(C), 2), whole)


@pytest.mark.parametrize("n_probes", [0, 3])
def test_which_descriptors_are_assigned_together_changes_nothing(rng, monkeypatch, n_probes):
    C, X = draw(rng, 200, 64)
    whole = Quantizer(C, n_probes).assign(X)
    one_by_one = [Quantizer(C, n_probes).assign(x[None])[0] for x in X[:20]]
    np.testing.assert_array_equal(one_by_one, whole[:20])
    monkeypatch.setattr(quantize, "PRODUCT_ROWS", 7)
    np.testing.assert_array_equal(Quantizer(C, n_probes).assign(X), whole)


@pytest.mark.parametrize("n_probes", [0, 99])
def test_what_float32_cannot_tell_apart_is_settled_in_float64(rng, n_probes):
    base = rng.normal(size=(10, 16)).astype(np.float32)
    shifted = np.nextafter(base, np.float32(9))  # one bit of every component away
    C = np.concatenate([shifted, base, base])
    X = np.concatenate([base, shifted])
    found = Quantizer(C, n_probes).assign(X)[:, 0]
    assert found.tolist() == [*range(10, 20), *range(10)]


def test_visiting_all_groups_is_exact_and_few_are_as_good_as_measured(rng, monkeypatch):
    monkeypatch.setattr(quantize, "EXACT_WORDS", 100)
    C, X = draw(rng, 3000, 600)
    exact = Quantizer(C).assign(X)
    np.testing.assert_array_equal(Quantizer(C, 10**6).assign(X), exact)
    chosen = tune_probes(X[:1500], C, agreement=0.9)
    assert 0 < chosen.n_probes < 32
    assert chosen.share >= 0.9
    agreed = (Quantizer(C, chosen.n_probes).assign(X[1500:]) == exact[1500:]).mean()
    assert abs(agreed - chosen.share) < 0.05


def test_small_codebooks_are_compared_whole(rng):
    C, X = draw(rng, 10, 50)
    assert tune_probes(X, C) == (0, 1.0)


@pytest.mark.parametrize("m", [1, 2, 5])
@pytest.mark.parametrize("d", [5, 16, 33])
def test_groups_give_the_nearest_of_the_words_in_them(rng, m, d):
    C, X = draw(rng, 60, 90, d)
    quantizer = Quantizer(C, 3)
    centers, home = quantizer.coarse
    for x, found in zip(X, quantizer.assign(X, m), strict=True):
        visited = np.isin(home, oracles.nearest_words(x, centers, 3))
        candidates = np.flatnonzero(visited)
        expected = candidates[oracles.nearest_words(x, C[visited], m)]
        assert found.tolist() == expected.tolist()


def test_groups_with_fewer_words_than_asked_for_are_left_for_all_words(rng):
    C, X = draw(rng, 9, 20)
    assert np.bincount(Quantizer(C).coarse.home).min() < 12
    np.testing.assert_array_equal(Quantizer(C, 1).assign(X, 12)[:, 0].shape, (9,))
    few = Quantizer(C, 1, Coarse(C[:2], np.array([0] * 18 + [1] * 2, np.int32)))
    near_second = C[1:2].copy()
    np.testing.assert_array_equal(few.assign(near_second, 3), Quantizer(C).assign(near_second, 3))


def test_all_words_are_compared_where_that_is_asked_for(rng):
    C, X = draw(rng, 40, 64)
    exact = assign(X, Codebook(C), 3)
    assert (assign(X, Codebook(C, n_probes=1), 3) != exact).any()
    np.testing.assert_array_equal(assign(X, Codebook(C, n_probes=1), 3, exact=True), exact)


@pytest.mark.parametrize(("sizes", "starts"), [([3, 0, 17], [0, 16, 16, 48]), ([16, 1], [0, 16, 32])])
def test_a_layout_holds_every_vector_once_and_fills_groups_up(rng, sizes, starts):
    V = rng.normal(size=(sum(sizes), 3)).astype(np.float32)
    home = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    laid = lay_out(V, home, len(sizes))
    assert laid.starts.tolist() == starts
    held = laid.names[:-1] >= 0
    assert sorted(laid.names[:-1][held].tolist()) == list(range(len(V)))
    vectors = laid.tiles.transpose(0, 2, 1).reshape(-1, 3)
    np.testing.assert_array_equal(vectors[held], V[laid.names[:-1][held]])
    np.testing.assert_array_equal(np.isinf(laid.half_norms), ~held)
    for group, (a, b) in enumerate(pairwise(starts)):
        own = laid.names[a:b]
        assert (home[own[own >= 0]] == group).all()
    assert laid.names[-1] == -1


def test_products_beyond_float32_name_a_group_that_there_is():
    centers = lay_out(np.tile(np.float32([2, -2]), (3, 4)), np.zeros(3, np.int32), 1)
    X = np.full((5, 8), 3e38, np.float32)
    named = visit.choose_groups(X, centers.tiles, centers.half_norms, 2)
    assert named.min() >= 0
    assert named.max() < 3


def test_no_descriptors_have_no_words():
    assert assign(np.zeros((0, 3), np.float32), Codebook(np.ones((4, 3), np.float32)), 2).shape == (0, 2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused(value):
    X = np.full((2, 3), value, np.float32)
    with pytest.raises(ValueError, match="a NaN or an infinity"):
        assign(X, Codebook(np.ones((4, 3), np.float32)))
    with pytest.raises(ValueError, match=r"descriptors have shape \(2, 4\), the codebook has 3 dimensions"):
        assign(np.zeros((2, 4), np.float32), Codebook(np.ones((4, 3), np.float32)))
