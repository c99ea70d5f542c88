import numpy as np
import pytest

from resight.diffusion.observe import QueryLists, observe_queries
from tests.diffusion.planted_curves import nearest_lists, unit


def observe_slowly(lists, k_q, gamma, power_first):
    """Dictionaries, one query after the other."""
    found = {}
    own = lists.own if lists.own is not None else [-1] * len(lists.query)
    for v, q in enumerate(lists.query):
        row = slice(lists.offsets[v], lists.offsets[v + 1])
        entries = list(zip(lists.ordinals[row], lists.similarity[row], strict=True))
        entries = [(own[v], 1.0)] * int(own[v] >= 0) + entries
        kept = {}
        for node, s in entries:
            if node not in kept and len(kept) < k_q:
                kept[node] = max(s, 0) ** gamma if power_first else s
        for node, value in kept.items():
            found.setdefault(q, {}).setdefault(node, []).append(value)
    return {q: best_of({i: sum(w) for i, w in y.items()}, k_q, gamma, power_first) for q, y in found.items()}


def best_of(y, k_q, gamma, power_first):
    best = sorted(y.items(), key=lambda item: (-item[1], item[0]))[:k_q]
    return {i: w if power_first else max(w, 0) ** gamma for i, w in best if w > 0}


@pytest.fixture
def lists(rng):
    X, Q = unit(rng.standard_normal((30, 5))), unit(rng.standard_normal((12, 5)))
    query = np.array([0, 1, 1, 0, 2, 2, 2, 5, 5, 5, 1, 0])
    own = np.array([-1, 3, -1, -1, -1, -1, 7, -1, -1, -1, -1, 0])
    return QueryLists(*nearest_lists(Q, X, 20), query, own)


@pytest.mark.parametrize("y_pool", ["sum_of_powers", "power_of_sum"])
@pytest.mark.parametrize("gamma", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("k_q", [1, 4, 18])
def test_observations_equal_a_double_loop(lists, y_pool, gamma, k_q):
    y = observe_queries(lists, k_q=k_q, gamma=gamma, y_pool=y_pool)
    expected = observe_slowly(lists, k_q, gamma, y_pool == "sum_of_powers")
    for q in range(6):
        row = slice(y.offsets[q], y.offsets[q + 1])
        found = dict(zip(y.ordinals[row].tolist(), y.weights[row].tolist(), strict=True))
        assert found == pytest.approx(expected.get(q, {}), rel=1e-12)
        assert len(found) <= k_q
    assert y.no_support.tolist() == [False, False, False, True, True, False]


def test_pools_agree_for_one_vector_and_differ_for_several(rng):
    X, Q = unit(rng.standard_normal((30, 5))), unit(rng.standard_normal((2, 5)))
    lists = QueryLists(*nearest_lists(Q, X, 10))
    powers, sums = (
        observe_queries(lists, y_pool=p).to_matrix(30).toarray() for p in ("sum_of_powers", "power_of_sum")
    )
    np.testing.assert_allclose(powers, sums, rtol=1e-12)
    joined = lists._replace(query=np.zeros(2, int))
    powers, sums = (
        observe_queries(joined, y_pool=p).to_matrix(30).toarray() for p in ("sum_of_powers", "power_of_sum")
    )
    assert np.abs(powers - sums).max() > 0.01


def test_query_of_the_collection_observes_itself_with_weight_one(rng):
    X = unit(rng.standard_normal((20, 5)))
    without_self = QueryLists(*nearest_lists(X, X, 5, exclude_self=True), own=np.arange(20))
    with_self = QueryLists(*nearest_lists(X, X, 5))
    a, b = (observe_queries(lists, k_q=5).to_matrix(20).toarray() for lists in (without_self, with_self))
    np.testing.assert_allclose(a, b, atol=1e-12)
    np.testing.assert_allclose(a.diagonal(), 1)


def test_query_without_positive_neighbours_has_no_support():
    lists = QueryLists(np.array([0, 2, 2, 3]), np.array([4, 1, 4]), np.array([-0.1, -0.5, 0.2]))
    y = observe_queries(lists)
    assert y.no_support.tolist() == [True, True, False]
    assert y.ordinals.tolist() == [4]
    assert y.to_matrix(5).toarray()[:, :2].sum() == 0


def test_repeats_count_once_and_make_room_for_others():
    lists = QueryLists(np.array([0, 4]), np.array([2, 2, 2, 5]), np.array([0.9, 0.9, 0.9, 0.5]))
    y = observe_queries(lists, k_q=2, gamma=1)
    assert y.ordinals.tolist() == [2, 5]
    assert y.weights.tolist() == [0.9, 0.5]


def test_no_query_gives_no_column():
    y = observe_queries(QueryLists(np.zeros(1, int), np.zeros(0, int), np.zeros(0)))
    assert y.to_matrix(3).shape == (3, 0)


@pytest.mark.parametrize("options", [{"k_q": 0}, {"y_pool": "max"}])
def test_unusable_settings_are_named(options):
    with pytest.raises(ValueError, match="k_q is"):
        observe_queries(QueryLists(np.array([0, 1]), np.array([0]), np.ones(1)), **options)


def test_lengths_that_do_not_fit_are_rejected():
    with pytest.raises(ValueError, match="2 entries for 1 lists"):
        observe_queries(QueryLists(np.array([0, 1]), np.array([0, 1]), np.ones(2)))
