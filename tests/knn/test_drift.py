import numpy as np
import pytest

from resight.knn.growth.drift import compare_graphs, distinct_lists, find_edges, probe_lists
from resight.knn.ivf import assign_lists, fit_centroids, rank_lists
from tests.search.collections import save_vectors
from tests.synthetic import planted

K = 5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Opened vectors with copies, the ordinals of distinct ones, and centroids."""
    X = planted(np.random.default_rng(0), k=12, m=9, n_distractors=30, n_copies=10, d=16).vectors
    opened = save_vectors(tmp_path_factory.mktemp("v"), np.arange(len(X)) * 3, X).open()
    first = opened.representatives(0, opened.n)
    return opened, first, fit_centroids(opened.gather(first), 8, seed=0)


def brute_lists(X, first, centroids, n_probes):
    """The nearest of each distinct vector among the lists that it visits."""
    V = X.gather(first).astype(np.float64)
    home, probes = assign_lists(V, centroids), rank_lists(V, centroids, n_probes)
    lists = {}
    for i, row in enumerate(V @ V.T):
        row = np.where(np.isin(home, probes[i]) & (np.arange(len(first)) != i), row, -np.inf)
        lists[int(first[i])] = set(first[np.argsort(-row, kind="stable")[:K]].tolist())
    return lists


@pytest.mark.parametrize("n_probes", [2, 8])
def test_lists_are_those_of_a_search_of_the_visited_lists(made, n_probes):
    X, first, centroids = made
    assert probe_lists(X, first, centroids, n_probes, k=K) == brute_lists(X, first, centroids, n_probes)


def test_shares_count_what_is_in_one_graph_alone(made):
    X, first, centroids = made
    few, full = (brute_lists(X, first, centroids, n_probes) for n_probes in (1, 8))
    sources = first[::7]
    assert compare_graphs(X, sources, full, centroids, 8, k=K) == (0, 0, len(sources))
    drift = compare_graphs(X, sources, few, centroids, 8, k=K)
    lost = [len(full[i] - few[i]) / K for i in sources.tolist()]
    assert drift.lists_differ == pytest.approx(np.mean(lost))
    a, b = (find_edges(sources, lists) for lists in (few, full))
    assert drift.edges_differ == pytest.approx(len(a ^ b) / len(a | b))
    assert 0 < drift.edges_differ < 1


def test_copies_in_written_lists_count_once(made):
    X, _, _ = made
    copy, original = X.copies[:, 0]
    src, dst = np.array([original, copy]), np.array([copy, 1, 2, original, 1, 2])
    assert distinct_lists(X, src, np.array([0, 3, 6]), dst) == {
        int(original): set(X.representative_of(np.array([1, 2])).tolist()) - {int(original)}
    }
