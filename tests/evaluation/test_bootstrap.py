"""Bootstrap intervals."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from resight.evaluation.bootstrap import bootstrap_difference, bootstrap_mean, draw_means


def test_interval_agrees_with_scipy(rng):
    values = rng.random(300) ** 3
    found = bootstrap_mean(values, n_resamples=20_000)
    wanted = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=rng)
    wanted = wanted.confidence_interval
    assert found.value[0] == pytest.approx(values.mean())
    assert [found.low[0], found.high[0]] == pytest.approx([wanted.low, wanted.high], abs=1e-3)


def test_macro_interval_has_the_width_of_independent_families(rng):
    families = np.repeat(["a", "b", "c"], [400, 100, 50])
    values = rng.normal(0, 1, 550) + (families == "b") * 5
    found = bootstrap_mean(values, families=families, n_resamples=20_000)
    parts = [values[families == f] for f in "abc"]
    error = np.sqrt(sum(p.var() / len(p) for p in parts)) / 3
    assert found.value[0] == pytest.approx(np.mean([p.mean() for p in parts]))
    assert (found.high - found.low)[0] == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_the_interval_covers_the_true_mean_as_often_as_it_says(rng):
    draws = [bootstrap_mean(rng.random(60), n_resamples=400, seed=i) for i in range(400)]
    covered = np.mean([(d.low <= 0.5) & (d.high >= 0.5) for d in draws])
    assert covered == pytest.approx(0.95, abs=0.035)


def test_excluded_queries_do_not_enter_the_divisor():
    values = np.array([1.0, np.nan, 0.0, np.nan, 0.5])
    assert bootstrap_mean(values).value[0] == 0.5
    families = np.array(["a", "b", "a", "b", "c"])
    assert bootstrap_mean(values, families=families).value[0] == 0.5
    assert np.isnan(bootstrap_mean(np.array([np.nan])).value).all()


def test_pairing_narrows_the_interval_of_a_difference(rng):
    hard = rng.random(200)
    a, b = hard + 0.02 + rng.normal(0, 0.01, 200), hard + rng.normal(0, 0.01, 200)
    b[0] = np.nan
    found = bootstrap_difference(a, b)
    assert 0 < found.low[0] < 0.02 < found.high[0] < 0.03
    assert found.value[0] == pytest.approx((a - b)[1:].mean())
    assert bootstrap_difference(a, a.copy()).high[0] == 0


def test_a_seed_gives_the_same_interval_for_one_figure_or_many(rng):
    values = rng.random((50, 3))
    many = bootstrap_mean(values, seed=3)
    again = bootstrap_mean(values, seed=3)
    np.testing.assert_array_equal(many, again)
    alone = bootstrap_mean(values[:, 1], seed=3)
    np.testing.assert_allclose([part[1] for part in many], [part[0] for part in alone], rtol=1e-12)
    assert (bootstrap_mean(values, seed=4).low != many.low).all()


def test_drawn_means_stay_within_the_values(rng, monkeypatch):
    values = rng.random((5, 2))
    monkeypatch.setattr("resight.evaluation.bootstrap.BLOCK", 35)  # blocks of 7 resamples
    means = draw_means(values, 100, rng)
    assert means.shape == (100, 2)
    assert ((means >= values.min(0)) & (means <= values.max(0))).all()


def test_unequal_pairs_are_refused():
    with pytest.raises(ValueError, match=r"one shape, got \(3,\) and \(4,\)"):
        bootstrap_difference(np.zeros(3), np.zeros(4))
