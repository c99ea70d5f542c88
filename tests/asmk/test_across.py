"""Aggregation across images, against pairs and sets written out."""

import itertools

import numpy as np
import pytest

from resight.asmk.across import find_matches, keep_matches, merge_codes, merge_entries, merge_word
from resight.asmk.binarize import binarize, count_differences, unpack_codes
from tests.asmk import oracles

N_BITS = 12


def draw_entries(rng, *, n_images=9, k=4):
    """Words, images and noisy codes; images 0 and 1 are duplicates."""
    base = rng.choice([-1, 1], (k, N_BITS))
    pairs = [(c, i) for i in range(n_images) for c in range(k) if rng.random() < 0.8]
    pairs = [(c, i) for c, i in pairs if i != 1] + [(c, 1) for c, i in pairs if i == 0]
    flips = {pair: np.where(rng.random(N_BITS) < 0.15, -1, 1) for pair in pairs}
    flips |= {(c, 1): flips[c, 0] for c, i in pairs if i == 1}
    order = rng.permutation(len(pairs))
    words, images = np.array(pairs)[order].T
    signs = np.stack([base[pairs[i][0]] * flips[pairs[i]] for i in order])
    return words, images * 10, binarize(signs)


@pytest.mark.parametrize("tau", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("min_matches", [0, 1, 2, 4])
def test_merged_codes_are_those_of_the_definition(rng, tau, min_matches):
    words, images, codes = draw_entries(rng)
    signs = unpack_codes(codes, N_BITS)
    entries = {(w, i): s.astype(float) for w, i, s in zip(words, images, signs, strict=True)}
    expected = oracles.merge_across(entries, N_BITS, tau, min_matches)
    merged = merge_entries(words, images, codes, n_bits=N_BITS, tau=tau, min_matches=min_matches)
    found = unpack_codes(merged, N_BITS)
    np.testing.assert_array_equal(found, [expected[w, i] for w, i in zip(words, images, strict=True)])


@pytest.mark.parametrize("limits", [{"tau": 1.01, "min_matches": 0}, {"tau": 0.0, "min_matches": 10**9}])
def test_limits_that_nothing_reaches_leave_every_code(rng, limits):
    words, images, codes = draw_entries(rng)
    np.testing.assert_array_equal(merge_entries(words, images, codes, n_bits=N_BITS, **limits), codes)


def test_duplicates_answer_alike(rng):
    words, images, codes = draw_entries(rng)
    merged = merge_entries(words, images, codes, n_bits=N_BITS, tau=0.4, min_matches=2)
    first, second = (merged[images == i][np.argsort(words[images == i])] for i in (0, 10))
    np.testing.assert_array_equal(first, second)


def test_two_members_give_the_or_of_their_bits(rng):
    codes = rng.integers(0, 256, (2, 2), np.uint8)
    both = np.repeat(codes[[0]] | codes[[1]], 2, axis=0)
    np.testing.assert_array_equal(merge_codes(codes, np.array([5, 5]), 16), both)


def test_a_group_of_one_keeps_its_code_and_spare_bits_stay_zero(rng):
    codes = binarize(rng.normal(size=(4, 11)))
    np.testing.assert_array_equal(merge_codes(codes, np.arange(4), 11), codes)
    assert (merge_codes(codes, np.zeros(4), 11)[:, 1] >> 3 == 0).all()


@pytest.mark.parametrize("tile", [1, 3, 100])
def test_matches_do_not_depend_on_the_tile(rng, monkeypatch, tile):
    monkeypatch.setattr("resight.asmk.across.TILE", tile)
    A, B = (rng.integers(0, 256, (size, 2), np.uint8) for size in (8, 5))
    near = count_differences(A, A) <= 7
    assert set(zip(*find_matches(A, None, 7), strict=True)) == set(
        zip(*np.nonzero(np.triu(near, 1)), strict=True)
    )
    expected = set(zip(*np.nonzero(count_differences(A, B) <= 7), strict=True))
    assert set(zip(*find_matches(A, B, 7), strict=True)) == expected


def test_equal_crowded_codes_are_not_paired_but_with_others(rng):
    codes = rng.integers(0, 256, (4, 2), np.uint8)[[0, 0, 0, 1, 0]]
    crowded = np.array([True, True, False, True, True])
    pairs = set(zip(*find_matches(codes, None, 16, (crowded, crowded)), strict=True))
    assert pairs == {(i, j) for i in range(5) for j in range(i + 1, 5)} - {(0, 1), (0, 4), (1, 4)}
    sides = crowded[:2], crowded[2:]
    assert set(zip(*find_matches(codes[:2], codes[2:], 0, sides), strict=True)) == {(0, 0), (1, 0)}


def test_a_code_that_stands_for_several_images_counts_as_often(rng):
    codes, groups = rng.integers(0, 256, (5, 2), np.uint8), np.array([4, 7, 4, 4, 7])
    counts = np.array([3, 1, 1, 2, 4])
    repeated = merge_codes(np.repeat(codes, counts, axis=0), np.repeat(groups, counts), 16)
    merged = merge_codes(codes, groups, 16, counts)
    np.testing.assert_array_equal(np.repeat(merged, counts, axis=0), repeated)


def test_codes_are_no_fewer_with_stricter_limits(rng):
    words, images, codes = draw_entries(rng)

    def count(tau, min_matches):
        merged = merge_entries(words, images, codes, n_bits=N_BITS, tau=tau, min_matches=min_matches)
        return len(np.unique(np.column_stack([words, merged]), axis=0))

    by_tau = [count(tau, 1) for tau in (0.2, 0.5, 0.8, 1.1)]
    by_matches = [count(0.5, n) for n in (0, 2, 3, 5)]
    assert by_tau == sorted(by_tau)
    assert by_matches == sorted(by_matches)


def test_matches_that_stricter_limits_keep_are_kept_by_looser_ones(rng):
    words, images, codes = draw_entries(rng)

    def keep(tau, min_matches):
        kept = keep_matches(words, images, codes, n_bits=N_BITS, tau=tau, min_matches=min_matches)
        return {tuple(match) for match in kept.T.tolist()}

    for limits in (
        [(tau, 2) for tau in (0.2, 0.5, 0.8, 1.1)],
        [(0.5, n) for n in (0, 2, 3, 4, 99)],
    ):
        kept = [keep(*limit) for limit in limits]
        assert all(stricter <= looser for looser, stricter in itertools.pairwise(kept))
        assert len(kept[0]) > len(kept[1]) > 0 == len(kept[-1])


def test_entries_without_a_match_keep_their_own_code(rng):
    codes = rng.integers(0, 256, (4, 2), np.uint8)
    images = np.array([40, 10, 30, 20])
    matches = np.array([10]), np.array([40])
    merged = merge_word(images, codes, matches, 16)
    np.testing.assert_array_equal(merged[[2, 3]], codes[[2, 3]])
    np.testing.assert_array_equal(merged[[0, 1]], np.repeat(codes[[0]] | codes[[1]], 2, axis=0))
