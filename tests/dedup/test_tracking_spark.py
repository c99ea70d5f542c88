import numpy as np
import pytest

from resight.dedup.changes import salted_id
from resight.dedup.tracking.spark import rename_groups, track_groups
from tests.dedup import oracle


def frame(spark, groups):
    """Groups as rows; the provisional id is the smallest image, or the key of a mapping."""
    named = groups if isinstance(groups, dict) else {min(g): g for g in groups}
    rows = [(name, i) for name, images in named.items() for i in images]
    order = np.random.default_rng(0).permutation(len(rows))
    return spark.createDataFrame([rows[i] for i in order], "group_id long, image_id long")


def track(spark, groups, previous):
    """Stable groups {id: images} and the changes."""
    before = None if previous is None else frame(spark, previous)
    now = frame(spark, groups)
    names, changes = track_groups(now, before, run_id="r")
    rows = changes.collect()
    assert all(row.run_id == "r" for row in rows)
    stable = {}
    for row in rename_groups(now, names).collect():
        stable.setdefault(row.group_id, set()).add(row.image_id)
    return stable, {(r.change, r.group_id, r.other_id, r.n_images) for r in rows}


def test_the_first_run_finds_new_groups_only(spark):
    stable, changes = track(spark, [{3, 5}, {4, 9, 8}], None)
    assert stable == {3: {3, 5}, 4: {4, 8, 9}}
    assert changes == {("new", 3, 3, 2), ("new", 4, 4, 3)}


def test_three_runs_of_growth_split_and_merge(spark):
    first, _ = track(spark, [{10, 11, 12, 13}, {20, 21}], None)
    second, changes = track(spark, [{1, 10, 11, 12}, {13, 14}, {20, 21}], first)
    assert second == {10: {1, 10, 11, 12}, 13: {13, 14}, 20: {20, 21}}
    assert changes == {("grown", 10, 10, 1), ("shrunk", 10, 10, 1), ("split", 13, 10, 1)}
    third, changes = track(spark, [{1, 10, 11, 12, 13, 14}, {30, 31}], second)
    assert third == {10: {1, 10, 11, 12, 13, 14}, 30: {30, 31}}
    assert changes == {
        ("grown", 10, 10, 2),
        ("merged", 10, 13, 2),
        ("gone", 20, 20, 2),
        ("new", 30, 30, 2),
    }


def test_unchanged_groups_are_silent_and_keep_their_ids(spark):
    groups = {77: {1, 2}, 5: {3, 4, 6}}
    stable, changes = track(spark, list(groups.values()), groups)
    assert stable == groups
    assert not changes


@pytest.mark.parametrize("seed", range(2))
def test_tracking_equals_the_slow_definition(spark, seed):
    rng = np.random.default_rng(seed)

    def partition(images):
        labels = rng.integers(0, 14, len(images))
        sets = [{int(i) for i in images[labels == n]} for n in range(14)]
        return [s for s in sets if len(s) > 1]

    previous = {max(g): g for g in partition(np.arange(0, 60))}
    groups = partition(np.arange(5, 75))
    stable, changes = track(spark, groups, previous)
    names, expected = oracle.track(groups, previous)
    assert stable == dict(zip(names, groups, strict=True))
    assert changes == expected


def test_a_new_group_never_takes_an_id_in_use(spark):
    previous = {1: {1, 10, 11}, 2: {2, 12, 13}}
    stable, _ = track(spark, [{10, 11}, {12, 13}, {1, 2}], previous)
    assert stable == {1: {10, 11}, 2: {12, 13}, salted_id(1, 1): {1, 2}}


def test_pairs_without_a_group_stay_without(spark):
    pairs = spark.createDataFrame([(1, None), (2, 7)], "image_a long, group_id long")
    names = spark.createDataFrame([(7, 70)], "group_id long, stable_id long")
    rows = rename_groups(pairs, names).collect()
    assert sorted((row.image_a, row.group_id) for row in rows) == [(1, None), (2, 70)]
