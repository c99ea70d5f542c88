import numpy as np

from resight.dedup.pairs import is_saturated, select_pairs

SRC = np.array([5, 2, 9])
OFFSETS = np.array([0, 3, 3, 5])
DST = np.array([9, 2, 7, 5, 1])
SIMILARITY = np.float32([0.97, 0.9, 0.5, 0.97, 0.96])


def test_pairs_reach_the_threshold_and_have_the_smaller_id_first():
    a, b, similarity = select_pairs(SRC, OFFSETS, DST, SIMILARITY, threshold=0.9)
    assert list(zip(a.tolist(), b.tolist(), strict=True)) == [(5, 9), (2, 5), (5, 9), (1, 9)]
    np.testing.assert_array_equal(similarity, np.float32([0.97, 0.9, 0.97, 0.96]))


def test_nan_reaches_no_threshold():
    nan = np.full(5, np.nan, np.float32)
    assert not len(select_pairs(SRC, OFFSETS, DST, nan, threshold=-1)[0])


def test_an_image_is_never_paired_with_itself():
    a, _, _ = select_pairs(np.array([3]), np.array([0, 1]), np.array([3]), np.ones(1), threshold=0)
    assert not len(a)


def test_lists_that_end_above_the_threshold_are_saturated():
    marked = is_saturated(OFFSETS, SIMILARITY, threshold=0.9)
    assert marked.tolist() == [False, False, True]
