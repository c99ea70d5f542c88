"""Cleaning by a graph network: the properties of its paper on planted classes."""

import numpy as np
import pytest
import scipy.sparse as sp

from resight.labels.clean import average_graph, clean_class, reciprocal_graph
from tests.synthetic import unit

N_NOISY = 300


def planted_class(rng, n_clean=1, d=64):
    """One class of three modes among noise of another class and of junk: unit rows, which are right."""
    centres = unit(rng.normal(size=(2, d)))
    modes = [unit(centre + 0.7 * unit(rng.normal(size=(3, d)))) for centre in centres]
    junk = unit(rng.normal(size=(2, d)))
    kinds = rng.choice(3, N_NOISY, p=[0.35, 0.43, 0.22])
    sources = [modes[0], modes[1], junk]
    middles = [sources[0][0]] * n_clean + [sources[kind][rng.integers(len(sources[kind]))] for kind in kinds]
    return unit(np.array(middles) + unit(rng.normal(size=(len(middles), d)))), kinds == 0


def auc(relevance, right):
    a, b = relevance[right][:, None], relevance[~right]
    return np.mean((a > b) + 0.5 * (a == b))


@pytest.fixture
def planted(rng):
    return planted_class(rng)


def test_the_graph_links_those_that_are_each_others_nearest(planted):
    X, _ = planted
    A = reciprocal_graph(X, k=20)
    s = np.maximum(X @ X.T, 0)
    np.fill_diagonal(s, -1)
    near = np.zeros(s.shape, bool)
    np.put_along_axis(near, np.argsort(-s, axis=1, kind="stable")[:, :20], True, axis=1)
    np.testing.assert_allclose(A.toarray(), np.where(near & near.T, np.maximum(s, 0), 0), atol=1e-12)
    averaged = average_graph(A)
    np.testing.assert_allclose(averaged.sum(1), 1)
    assert (averaged.diagonal() > 0).all()
    lone = average_graph(sp.csr_array((3, 3)))
    assert lone.toarray().tolist() == np.eye(3).tolist()


def test_noisy_examples_of_the_class_are_told_from_the_others():
    found, plain = [], []
    for seed in range(3):
        X, right = planted_class(np.random.default_rng(seed))
        found.append(auc(clean_class(X, 1, seed=seed).relevance[1:], right))
        nothing = sp.csr_array((len(X), len(X)))
        plain.append(auc(clean_class(X, 1, A=nothing, seed=seed).relevance[1:], right))
    assert min(found) >= 0.95
    assert np.mean(found) > np.mean(plain)


def test_a_prototype_weighted_by_relevance_is_nearer_the_class_than_all_or_the_clean_alone():
    gains = []
    for seed in range(3):
        X, right = planted_class(np.random.default_rng(seed))
        truth = unit((X[1:][right]).mean(0)[None])[0]
        r = clean_class(X, 1, seed=seed).relevance
        cosines = [truth @ unit((w @ X)[None])[0] for w in (r, np.ones(len(X)), np.arange(len(X)) < 1)]
        gains.append(cosines[0] - max(cosines[1:]))
    assert min(gains) > 0.05


def test_relevance_is_within_bounds_and_that_of_clean_examples_is_one(rng):
    X, _ = planted_class(rng, n_clean=4)
    cleaned = clean_class(X, 4)
    assert cleaned.relevance[:4].tolist() == [1.0] * 4
    assert ((cleaned.relevance >= 0) & (cleaned.relevance <= 1)).all()
    assert cleaned.last_loss < cleaned.first_loss
    assert cleaned.status == "ok"
    again = clean_class(X, 4)
    assert again.relevance.tolist() == cleaned.relevance.tolist()


def test_the_firmer_noisy_examples_are_taken_for_wrong_the_less_is_left(planted):
    X, _ = planted
    means = [clean_class(X, 1, noise_weight=w).relevance[1:].mean() for w in (0.01, 0.1, 1.0)]
    assert means[0] > means[1] > means[2]


def test_a_component_without_clean_examples_has_less_relevance(rng):
    X, _ = planted_class(rng)
    mine = X @ X[0] > np.median(X @ X[0])
    A = reciprocal_graph(X).multiply(np.equal.outer(mine, mine)).tocsr()
    r = clean_class(X, 1, A=A).relevance
    assert r[~mine].mean() < r[mine].mean()


def test_classes_that_need_or_allow_no_cleaning_say_so(planted):
    X, _ = planted
    assert clean_class(X[:3], 3).status == "no_noisy"
    lone = clean_class(np.vstack([np.eye(64)[:1] * -1, np.abs(X[1:21])]), 1)
    assert lone.status == "no_clean_edges"
    assert lone.relevance.tolist() == [1.0] + [0.0] * 20
    with pytest.raises(ValueError, match="without a clean example"):
        clean_class(X, 0)
