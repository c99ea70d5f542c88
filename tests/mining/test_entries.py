import numpy as np

from resight.mining.entries import Entries, find_values, is_among, ranks


def draw_entries(rng, n_rows, n_items):
    lists = [rng.permutation(n_items)[: rng.integers(0, n_items)] for _ in range(n_rows)]
    row = np.repeat(np.arange(n_rows), [len(one) for one in lists])
    item = np.concatenate(lists) * 2**40 - 2**45  # ids use all bits
    return Entries(row, item, rng.random(len(row)))


def test_entries_are_compared_row_by_row(rng):
    a, b = draw_entries(rng, 20, 9), draw_entries(rng, 20, 9)
    values = {(r, i): v for r, i, v in zip(*(c.tolist() for c in b), strict=True)}
    expected = np.array(
        [values.get(key, np.nan) for key in zip(a.row.tolist(), a.item.tolist(), strict=True)]
    )
    np.testing.assert_array_equal(find_values(a, b), expected)
    np.testing.assert_array_equal(is_among(a, b), ~np.isnan(expected))


def test_nothing_is_found_in_nothing(rng):
    empty = Entries(*(np.zeros(0, kind) for kind in (np.int64, np.int64, float)))
    some = draw_entries(rng, 3, 5)
    assert not is_among(some, empty).any()
    assert np.isnan(find_values(some, empty)).all()
    assert len(is_among(empty, some)) == len(find_values(empty, some)) == len(empty.first(3).row) == 0


def test_the_first_of_every_row(rng):
    some = draw_entries(rng, 30, 8)
    expected = np.concatenate([some.item[some.row == row][:3] for row in np.unique(some.row)])
    np.testing.assert_array_equal(some.first(3).item, expected)
    assert ranks(np.zeros(0, np.int64)).tolist() == []
