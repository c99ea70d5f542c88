"""Intervals against a table, exact coverage, and the limits."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from resight.dedup.audit.estimate import Share, combine_shares, estimate_share


@pytest.mark.parametrize(
    ("n_right", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (29, 29, 0.8830, 1.0)],
)
def test_intervals_are_those_of_newcombes_table(n_right, n, low, high):
    share = estimate_share(n_right, n)
    assert share.value == n_right / n
    assert (share.low, share.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("p", [0.5, 0.8, 0.95])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(p):
    n = 60
    shares = [estimate_share(k, n) for k in range(n + 1)]
    covers = np.array([share.low <= p <= share.high for share in shares])
    assert 0.92 < binom.pmf(np.arange(n + 1), n, p)[covers].sum() < 0.99


def test_nothing_counted_is_no_number():
    assert all(map(math.isnan, estimate_share(0, 0)))
    assert all(map(math.isnan, combine_shares([], [])))
    assert math.isnan(combine_shares([estimate_share(0, 0), Share(1, 1, 1)], [5, 5]).value)


def test_counts_that_are_no_share_are_refused():
    with pytest.raises(ValueError, match="5 of 4"):
        estimate_share(5, 4)
    with pytest.raises(ValueError, match="1 shares of 2 strata"):
        combine_shares([Share(1, 1, 1)], [1, 2])


def test_one_stratum_is_its_own_estimate():
    share = estimate_share(18, 20)
    assert combine_shares([share, Share(0, 0, 0)], [7, 0]) == pytest.approx(share)


def test_strata_count_by_their_sizes_and_the_interval_covers_the_whole(rng):
    sizes, truth, n = [900, 100], np.array([0.99, 0.6]), 40
    whole, hits = float(np.dot(sizes, truth) / 1000), 0
    for _ in range(500):
        shares = [estimate_share(int(k), n) for k in rng.binomial(n, truth)]
        combined = combine_shares(shares, sizes)
        assert combined.low <= combined.value <= combined.high
        hits += combined.low <= whole <= combined.high
    assert hits / 500 > 0.9
