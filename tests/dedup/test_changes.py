import numpy as np
import pytest

from resight.dedup.changes import match_groups, salted_id


def match(*rows):
    previous, current, n_shared = np.array(rows, np.int64).T
    return match_groups(previous, current, n_shared).tolist()


def test_the_largest_overlap_hands_its_id_on():
    assert match((1, 10, 2), (1, 20, 5), (2, 20, 3)) == [False, True, False]


def test_a_group_that_lost_its_id_takes_the_next_one():
    assert match((1, 10, 9), (1, 20, 5), (2, 20, 3)) == [True, False, True]


def test_equal_overlaps_go_to_the_smaller_ids():
    assert match((2, 10, 4), (1, 10, 4)) == [False, True]
    assert match((1, 20, 4), (1, 10, 4)) == [False, True]


@pytest.mark.parametrize("seed", range(5))
def test_no_id_is_given_twice_and_none_is_left_between_unnamed(seed):
    rng = np.random.default_rng(seed)
    pairs = np.unique(rng.integers(0, 30, (80, 2)), axis=0)
    inherits = match_groups(pairs[:, 0], pairs[:, 1], rng.integers(1, 6, len(pairs)))
    for side in range(2):
        assert len(np.unique(pairs[inherits, side])) == inherits.sum()
    given, named = set(pairs[inherits, 0].tolist()), set(pairs[inherits, 1].tolist())
    assert all(p in given or c in named for p, c in pairs.tolist())


def test_salted_ids_are_positive_and_differ():
    ids = [salted_id(7, salt) for salt in range(1, 9)]
    assert len(set(ids)) == 8
    assert all(0 <= i < 2**60 for i in ids)
