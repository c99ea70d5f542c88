"""Codes within a radius: by scan and by parts, against a library and against counting bits."""

import faiss
import numpy as np
import pytest

from resight.hashing.hamming import collapse_codes, match_codes, nearest_codes, part_keys, to_words
from resight.hashing.plan import SHUFFLED, Plan, choose_plan, flip_masks, plan_parts


def draw_codes(rng, n, n_bytes, *, n_flips=4):
    """Families of a code and copies with a few bits flipped, distinct."""
    bits = rng.integers(0, 2, (n // 4 + 1, 8 * n_bytes), dtype=np.uint8)[np.arange(n) // 4]
    flips = rng.random(bits.shape) < n_flips / bits.shape[1]
    return rng.permutation(np.unique(np.packbits(bits ^ flips, axis=1, bitorder="little"), axis=0))


def all_distances(a, b):
    bits = [np.unpackbits(codes, axis=1).astype(int) for codes in (a, b)]
    return (bits[0][:, None] != bits[1][None]).sum(2)


def pairs_of(found):
    return list(zip(found.asked.tolist(), found.held.tolist(), found.distance.tolist(), strict=True))


def expected_pairs(codes, radius):
    D = all_distances(codes, codes)
    i, j = np.nonzero(np.triu(radius >= D, 1))
    return list(zip(i.tolist(), j.tolist(), D[i, j].tolist(), strict=True))


def test_the_scan_equals_the_range_search_of_faiss(rng):
    codes = draw_codes(rng, 200, 8)
    index = faiss.IndexBinaryFlat(64)
    index.add(codes)
    lims, distances, rows = index.range_search(codes[:50], 9)  # faiss: below 9
    asked = np.repeat(np.arange(50), np.diff(lims.astype(int)))
    expected = sorted(zip(asked.tolist(), rows.tolist(), distances.astype(int).tolist(), strict=True))
    assert len(expected) > 60
    assert pairs_of(match_codes(codes[:50], codes, radius=8, plan=Plan())) == expected


@pytest.mark.parametrize("n_bytes", [8, 16, 32, 5])
def test_parts_find_exactly_what_the_scan_finds(rng, n_bytes):
    codes = draw_codes(rng, 160, n_bytes)
    for radius in (0, 3, 7, 12):
        expected = expected_pairs(codes, radius)
        assert (radius < 7) or len(expected) > 20
        for n_parts in (5, 8, 13):
            plan = plan_parts(8 * n_bytes, radius, n_parts)
            assert pairs_of(match_codes(codes, radius=radius, plan=plan)) == expected
        assert pairs_of(match_codes(codes, radius=radius)) == expected


def test_two_sets_are_joined_by_parts_as_by_scan(rng):
    codes = draw_codes(rng, 120, 8)
    a, b = codes[:40], codes[40:]
    for plan in (plan_parts(64, 9, 4), plan_parts(64, 9, 10)):
        found = match_codes(a, b, radius=9, plan=plan)
        assert pairs_of(found) == pairs_of(match_codes(a, b, radius=9, plan=Plan()))
        assert len(found.asked) == (all_distances(a, b) <= 9).sum() > 20


def test_what_a_bucket_limit_leaves_out_is_counted(rng):
    codes = draw_codes(rng, 100, 8)
    codes[:, 0] = 7  # every code shares the first part
    codes = np.unique(codes, axis=0)
    n, plan = len(codes), plan_parts(64, 3, 8)
    whole = match_codes(codes, radius=3, plan=plan)
    cut = match_codes(codes, radius=3, plan=plan, max_bucket=n - 1)
    assert whole.n_left_out == 0
    assert cut.n_left_out == n * (n - 1) // 2
    assert set(pairs_of(cut)) < set(pairs_of(whole)) == set(expected_pairs(codes, 3))


def test_more_pairs_than_there_is_room_for_at_first(rng):
    codes = np.unique(rng.integers(0, 256, (130, 2), dtype=np.uint8), axis=0)
    assert len(match_codes(codes, radius=16).asked) == len(codes) * (len(codes) - 1) // 2 > 4096


def test_equal_codes_have_the_first_as_their_representative():
    codes = np.array([[3, 1], [2, 2], [3, 1], [2, 2], [0, 9]], np.uint8)
    assert collapse_codes(codes).tolist() == [0, 1, 0, 1, 4]


def test_the_distance_is_a_metric_and_half_of_what_signs_say(rng):
    codes = rng.integers(0, 256, (30, 4), dtype=np.uint8)
    signs = 2.0 * np.unpackbits(codes, axis=1, bitorder="little") - 1
    found = match_codes(codes, codes, radius=32, plan=Plan())
    D = found.distance.reshape(30, 30)
    np.testing.assert_array_equal(D, (32 - signs @ signs.T) / 2)
    np.testing.assert_array_equal(D, D.T)
    assert not np.diag(D).any()
    assert (D[:, :, None] + D[None] >= D[:, None]).all()
    assert (
        match_codes(codes, ~codes, radius=32, plan=Plan()).distance.reshape(30, 30).diagonal() == 32
    ).all()


def test_the_nearest_are_the_same_for_any_order_and_blocks(rng):
    codes, asked = rng.integers(0, 4, (90, 2), dtype=np.uint8), rng.integers(0, 4, (9, 2), dtype=np.uint8)
    ids = rng.permutation(1000)[:90]
    D = all_distances(asked, codes)
    expected = [sorted(zip(row.tolist(), ids.tolist(), strict=True))[:12] for row in D]
    for order, block in ((np.arange(90), 1000), (rng.permutation(90), 7), (rng.permutation(90), 1)):
        distances, names = nearest_codes(asked, codes[order], ids[order], k=12, block=block)
        found = [
            list(zip(*rows, strict=True)) for rows in zip(distances.tolist(), names.tolist(), strict=True)
        ]
        assert found == expected


def test_keys_are_the_bits_of_a_part(rng):
    codes = rng.integers(0, 256, (6, 20), dtype=np.uint8)
    bits = np.unpackbits(codes, axis=1, bitorder="little").astype(object)
    for start, stop in ((0, 7), (60, 70), (100, 160), (64, 128)):
        expected = [sum(int(bit) << i for i, bit in enumerate(row[start:stop])) for row in bits]
        assert part_keys(to_words(codes), start, stop).tolist() == expected


def test_few_codes_are_scanned_and_many_looked_up():
    assert choose_plan(300, 64, 4).is_scan
    plan = choose_plan(10**6, 64, 4)
    assert not plan.is_scan
    assert plan.cost(10**6) < 10**6 / 20
    assert choose_plan(10**6, 64, 40).is_scan
    assert flip_masks(3, 1).tolist() == [0, 1, 2, 4]


def test_a_distributed_join_scans_up_to_where_rows_cost_more_than_comparisons():
    for n in (5000, 20_000):  # as measured: the scan took half of the time of the parts
        assert choose_plan(n, 64, 8, lookup=SHUFFLED).is_scan
    plans = [choose_plan(n, 64, 8, lookup=SHUFFLED) for n in (10**6, 10**8)]
    assert [plan.is_scan for plan in plans] == [False, False]
    assert plans[0].n_lookups < choose_plan(10**6, 64, 8).n_lookups


def test_codes_of_other_widths_are_refused():
    with pytest.raises(ValueError, match="of 8 and 4 bytes"):
        match_codes(np.zeros((1, 8), np.uint8), np.zeros((1, 4), np.uint8), radius=1)
    with pytest.raises(ValueError, match=r"expected \(n, b\) uint8"):
        to_words(np.zeros((1, 8), np.int64))
