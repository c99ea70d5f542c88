"""Hard negatives against a scan of the whole ranking, and the rules that they keep."""

import numpy as np
import pytest

from resight.training.hard import mine_negatives
from tests.synthetic import unit

ALONE = np.arange(60)


def scan(X, anchor, allowed, clusters, n):
    """Walk down the ranking, keep a row whose cluster has not been used: section 2.4, N2."""
    chosen, used = [], set()
    for row in sorted(allowed, key=lambda j: (-float(X[j] @ X[anchor]), j)):
        if clusters[row] not in used and len(chosen) < n:
            chosen.append(row)
            used.add(clusters[row])
    return chosen + [-1] * (n - len(chosen))


@pytest.fixture
def planted(rng):
    X = unit(rng.normal(size=(60, 6))).astype(np.float32)
    clusters = rng.integers(0, 8, 60)
    anchors = np.array([3, 17, 40])
    excluded = [rng.choice(60, 4, replace=False) for _ in anchors]
    return X, clusters, anchors, excluded


def test_negatives_of_all_photos_are_the_nearest_of_other_clusters_one_of_each(planted):
    X, clusters, anchors, excluded = planted
    found = mine_negatives(X, anchors, n=5, clusters=clusters, copies=ALONE, excluded=excluded)
    for i, anchor in enumerate(anchors):
        allowed = set(range(60)) - {*excluded[i], anchor}
        allowed = {j for j in allowed if clusters[j] != clusters[anchor]}
        assert found[i].tolist() == scan(X, anchor, allowed, clusters, 5)


def test_listed_negatives_are_ranked_by_the_current_descriptor(planted, rng):
    X, _, anchors, excluded = planted
    clusters = rng.permutation(60) + 1  # another one each: the anchor's own is not among the listed
    listed = [rng.choice(60, 12, replace=False) for _ in anchors]
    found = mine_negatives(
        X, anchors, n=9, clusters=clusters, copies=ALONE, excluded=excluded, candidates=listed
    )
    for i, anchor in enumerate(anchors):
        allowed = {*listed[i]} - {*excluded[i], anchor}
        assert found[i].tolist() == scan(X, anchor, allowed, clusters, 9)


def test_a_positive_or_a_photo_without_a_vector_is_never_a_negative(planted):
    X, _, anchors, excluded = planted
    X = X.copy()
    X[[5, 6, 7]] = np.nan
    found = mine_negatives(X, anchors, n=60, clusters=np.arange(60), copies=ALONE, excluded=excluded)
    assert not np.isin(found, [5, 6, 7]).any()
    for i, anchor in enumerate(anchors):
        assert not np.isin(found[i], [*excluded[i], anchor]).any()


def test_blocks_of_anchors_change_nothing(planted, monkeypatch):
    X, clusters, anchors, excluded = planted
    whole = mine_negatives(X, anchors, n=4, clusters=clusters, copies=ALONE, excluded=excluded)
    monkeypatch.setattr("resight.training.hard.BLOCK", 1)
    assert (
        mine_negatives(X, anchors, n=4, clusters=clusters, copies=ALONE, excluded=excluded) == whole
    ).all()


def test_listed_negatives_of_the_own_component_are_taken_one_of_each_group_of_copies(planted):
    X, _, anchors, _ = planted
    copies = np.arange(60)
    copies[[11, 12, 13]] = 10
    listed = [np.array([10, 11, 12, 13, 20, 21])] * 3
    nothing = [np.zeros(0, np.int64)] * 3
    giant = np.zeros(60, np.int64)
    found = mine_negatives(
        X, anchors, n=5, clusters=giant, copies=copies, excluded=nothing, candidates=listed
    )
    for i, anchor in enumerate(anchors):
        best = 10 + np.argmax(X[10:14] @ X[anchor])
        assert sorted(found[i].tolist()) == [-1, -1, *sorted([int(best), 20, 21])]
