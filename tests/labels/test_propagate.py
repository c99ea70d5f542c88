"""Label propagation: the properties of its paper, and a dense solve."""

import numpy as np
import pytest
import scipy.sparse as sp

from resight.diffusion.normalize import normalize_affinity
from resight.labels.propagate import merge_scores, propagate_labels, score_block
from tests.synthetic import unit


def knn_graph(X, k):
    """Sections 2 and 3: cosines cubed of the k nearest, both directions added."""
    s = np.maximum(X @ X.T, 0) ** 3
    np.fill_diagonal(s, 0)
    far = np.argsort(-s, axis=1, kind="stable")[:, k:]
    np.put_along_axis(s, far, 0, axis=1)
    return normalize_affinity(sp.csr_array(s + s.T)).S


def moons(rng, n=150, noise=0.08):
    """Two moons by random Fourier features of a Gaussian kernel: unit rows and the moon of each."""
    angle = rng.uniform(0, np.pi, (2, n))
    upper = np.stack([np.cos(angle[0]), np.sin(angle[0])], axis=1)
    lower = np.stack([1 - np.cos(angle[1]), 0.5 - np.sin(angle[1])], axis=1)
    points = np.vstack([upper, lower]) + noise * rng.normal(size=(2 * n, 2))
    wave, phase = rng.normal(size=(2, 256)) / 0.35, rng.uniform(0, 2 * np.pi, 256)
    return unit(np.cos(points @ wave + phase)), np.repeat([0, 1], n)


def give(rng, truth, n):
    given = np.full(len(truth), -1)
    for c in np.unique(truth):
        given[rng.choice(np.flatnonzero(truth == c), n[c], replace=False)] = c
    return given


@pytest.fixture
def graph(rng):
    X, truth = moons(rng)
    return knn_graph(X, 25), truth, give(rng, truth, [2, 3])


def test_labels_and_certainty_are_those_of_a_dense_solve(graph):
    S, _, given = graph
    found = propagate_labels(S, given, n_classes=2, tol=1e-10)
    Y = (given[:, None] == np.arange(2)) / [2, 3]
    Z = np.linalg.solve(np.eye(len(given)) - 0.99 * S.toarray(), Y)
    share = Z / Z.sum(1, keepdims=True)
    entropy = -(share * np.log(share)).sum(1) / np.log(2)
    certainty = (1 - entropy) / (1 - entropy).max()
    free = given < 0
    assert (found.labels[free] == Z.argmax(1)[free]).all()
    np.testing.assert_allclose(found.certainty[free], certainty[free], atol=1e-6)
    np.testing.assert_allclose(found.margin, np.abs(share[:, 0] - share[:, 1]), atol=1e-6)
    assert (found.certainty[~free] == 1).all()
    assert found.residual <= 1e-10


def test_two_moons_are_told_apart_from_a_few_labels_better_than_by_the_nearest():
    accuracy, nearest = [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X, truth = moons(rng)
        given = give(rng, truth, [3, 3])
        free, seeds = given < 0, np.flatnonzero(given >= 0)
        found = propagate_labels(knn_graph(X, 25), given, n_classes=2)
        accuracy.append(np.mean(found.labels[free] == truth[free]))
        nearest.append(np.mean(given[seeds[(X[free] @ X[seeds].T).argmax(1)]] == truth[free]))
    assert np.mean(accuracy) >= 0.97
    assert np.mean(accuracy) > np.mean(nearest)


def test_a_class_with_many_labels_does_not_take_over():
    rng = np.random.default_rng(1)
    X, truth = moons(rng, noise=0.15)
    S, given = knn_graph(X, 25), give(rng, truth, [1, 20])
    free = given < 0
    right = [
        np.mean(propagate_labels(S, given, n_classes=2, per_class=by).labels[free] == truth[free])
        for by in (True, False)
    ]
    assert right[0] > max(0.85, right[1])


def test_certainty_ranks_right_labels_above_wrong_ones():
    rng = np.random.default_rng(0)
    X, truth = moons(rng, noise=0.18)
    given = give(rng, truth, [3, 3])
    found = propagate_labels(knn_graph(X, 25), given, n_classes=2)
    free = given < 0
    right, sure = (found.labels == truth)[free], found.certainty[free]
    above = sure[right][:, None] > sure[~right]
    assert above.mean() > 0.75
    assert np.mean(right[sure >= np.median(sure)]) > np.mean(right)


def test_a_component_without_labels_stays_unlabelled_and_changes_nothing(graph):
    S, _, given = graph
    lone = normalize_affinity(sp.csr_array(np.ones((4, 4)) - np.eye(4))).S
    joined = sp.csr_array(sp.block_diag([S, lone]))
    alone = propagate_labels(S, given, n_classes=2)
    found = propagate_labels(joined, np.append(given, [-1] * 4), n_classes=2)
    assert found.labels[-4:].tolist() == [-1] * 4
    assert found.certainty[-4:].tolist() == [0.0] * 4
    np.testing.assert_allclose(found.certainty[:-4], alone.certainty, atol=1e-5)
    assert not np.isnan(found.certainty).any()


def test_certainty_falls_along_a_chain_to_nothing_in_its_middle():
    chain = sp.diags_array([np.ones(8)] * 2, offsets=[-1, 1], shape=(9, 9))
    given = np.full(9, -1)
    given[[0, 8]] = 0, 1
    found = propagate_labels(normalize_affinity(chain).S, given, n_classes=2, tol=1e-12)
    half = found.certainty[1:5]
    assert (np.diff(half) < 0).all()
    assert half[-1] == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(found.certainty, found.certainty[::-1], atol=1e-9)


def test_classes_swapped_are_labels_swapped_and_weights_favour_the_rare(graph):
    S, _, given = graph
    found = propagate_labels(S, given, n_classes=2, tol=1e-10)
    other = propagate_labels(S, np.where(given < 0, given, 1 - given), n_classes=2, tol=1e-10)
    free = given < 0
    assert (found.labels[free] == 1 - other.labels[free]).all()
    np.testing.assert_allclose(found.class_weights, other.class_weights[::-1])
    assert found.class_weights.mean() == pytest.approx(1)
    rare = np.bincount(found.labels).argmin()
    assert found.class_weights[rare] == found.class_weights.max()


@pytest.mark.parametrize("block", [1, 2, 5])
def test_blocks_of_classes_add_up(graph, block, monkeypatch):
    S, _, given = graph
    rng = np.random.default_rng(4)
    given = np.where(given >= 0, rng.permutation(len(given)) % 5, -1)
    given[:5] = np.arange(5)
    whole = propagate_labels(S, given, n_classes=6)
    monkeypatch.setattr("resight.labels.propagate.BLOCK", block)
    parts = propagate_labels(S, given, n_classes=6)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert whole.class_weights[5] == 0  # nobody has this class
    one, two = (score_block(S, given, np.array([c]), alpha=0.9, tol=1e-6, per_class=True) for c in (0, 1))
    np.testing.assert_allclose(merge_scores(one, two).second, np.minimum(one.best, two.best))


def test_a_single_class_is_refused(graph):
    with pytest.raises(ValueError, match="two classes at least"):
        propagate_labels(graph[0], graph[2], n_classes=1)
