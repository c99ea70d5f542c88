import numpy as np
import pytest

from resight.knn.copies import Rows, expand_copies, find_copies, group_copies, hash_rows


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_equal_rows_are_paired_with_the_first(rng, dtype):
    X = rng.standard_normal((200, 12)).astype(dtype)
    X[150:] = X[rng.integers(0, 100, 50)]
    pairs = find_copies(hash_rows(X), np.arange(200))
    first = [int(np.argmax((x == X).all(axis=1))) for x in X]
    expected = {i: f for i, f in enumerate(first) if f != i}
    assert dict(zip(*pairs.tolist(), strict=True)) == expected


def test_many_copies_are_capped_and_cut_into_chunks():
    copies = group_copies(np.stack([np.arange(2, 1002), np.zeros(1000, int)]))
    rows = Rows(np.array([0, 1]), np.array([0, 1, 2]), np.array([1, 0]), np.array([0.5, 0.5], np.float32))
    pieces = list(expand_copies(rows, copies, 3, chunk=100))
    lists = {}
    for piece in pieces:
        assert len(piece.src) <= 100
        lists |= {
            int(s): piece.dst[a:b].tolist()
            for s, a, b in zip(piece.src, piece.offsets, piece.offsets[1:], strict=False)
        }
    assert len(lists) == 1002
    assert lists[0] == [2, 3, 1]
    assert lists[1] == [0, 2, 3]
    assert lists[3] == [0, 2, 1]
    assert lists[900] == [0, 2, 3, 1]


def test_lists_stay_as_they_are_without_copies():
    rows = Rows(np.array([4]), np.array([0, 1]), np.array([9]), np.array([0.5], np.float32))
    assert list(expand_copies(rows, group_copies(np.zeros((2, 0), int)), 3)) == [rows]
