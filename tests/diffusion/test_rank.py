import numpy as np
import pytest

from resight.diffusion.rank import Reached, rank_dense, rank_images


def rank_slowly(f, similarity, depth):
    """Sort tuples; what has no score follows by similarity."""
    nodes = range(len(f))
    reached = sorted((i for i in nodes if f[i] != 0), key=lambda i: (-f[i], -similarity[i], i))
    rest = sorted((i for i in nodes if f[i] == 0), key=lambda i: (-similarity[i], i))
    return (reached + rest)[:depth], len(reached[:depth])


@pytest.fixture
def scored(rng):
    f = rng.integers(-1, 4, 60) / 4 * (rng.random(60) < 0.6)  # many ties, some negative, some out of reach
    return f, rng.integers(0, 5, 60) / 5


@pytest.mark.parametrize("depth", [None, 1, 7, 30, 59, 60, 100])
def test_ranking_equals_sorted_tuples_and_drops_nothing(scored, depth):
    ranking = rank_dense(*scored, depth=depth)
    expected, n_reached = rank_slowly(*scored, depth)
    assert ranking.ordinals.tolist() == expected
    assert ranking.n_reached == n_reached


@pytest.mark.parametrize("depth", [1, 7, 30, 59])
def test_depth_best_of_a_plain_search_suffice(scored, depth):
    f, similarity = scored
    nodes = np.flatnonzero(f)
    plain = np.lexsort((np.arange(60), -similarity))[:depth]
    ranking = rank_images(Reached(nodes, f[nodes], similarity[nodes]), plain, similarity[plain], depth=depth)
    assert ranking.ordinals.tolist() == rank_slowly(f, similarity, depth)[0]


def test_scores_never_increase_and_keep_the_order_of_the_rest(scored):
    f, similarity = scored
    ranking = rank_dense(f, similarity)
    assert (np.diff(ranking.scores) <= 0).all()
    rest = ranking.ordinals[ranking.n_reached :]
    np.testing.assert_allclose(ranking.scores[ranking.n_reached :], f.min() + similarity[rest] - 2)


def test_order_does_not_depend_on_the_order_of_what_is_given(scored, rng):
    f, similarity = scored
    nodes, all_nodes = rng.permutation(np.flatnonzero(f)), rng.permutation(60)
    ranking = rank_images(Reached(nodes, f[nodes], similarity[nodes]), all_nodes, similarity[all_nodes])
    assert ranking.ordinals.tolist() == rank_slowly(f, similarity, None)[0]


def test_query_without_support_ranks_by_similarity():
    similarity = np.array([0.1, 0.9, 0.5, 0.9])
    ranking = rank_dense(np.zeros(4), similarity, depth=3)
    assert (ranking.ordinals.tolist(), ranking.n_reached) == ([1, 3, 2], 0)


def test_support_on_isolated_nodes_comes_first_then_similarity():
    f, similarity = np.array([0, 0.01, 0, 0.02]), np.array([0.99, 0.5, 0.7, 0.6])
    assert rank_dense(f, similarity).ordinals.tolist() == [3, 1, 0, 2]
