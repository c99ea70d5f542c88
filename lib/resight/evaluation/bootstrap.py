"""Intervals of means over queries by the percentile bootstrap (Efron and Tibshirani, 1993, ch. 13).

A macro mean is a mean over families of the means over their queries; queries are then drawn anew within each
family, since the families stay as they are. Two methods are compared on the same drawn queries.
"""

from typing import NamedTuple

import numpy as np

BLOCK = 1 << 22  # drawn queries held at a time


class Interval(NamedTuple):
    """Means (m,) float64 of m figures with the ends of their intervals."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def bootstrap_mean(
    values: np.ndarray,
    *,
    families: np.ndarray | None = None,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean over queries, or macro mean over families, with its interval.

    Parameters
    ----------
    values : ndarray, (n, m) or (n,) float64
        One row per query, one column per figure; a row that holds a NaN is left out.
    families : ndarray, (n,), optional
        Family of each query.
    """
    values = np.asarray(values, np.float64)
    values = values[:, None] if values.ndim == 1 else values  # (n, m)
    kept = ~np.isnan(values).any(1)
    if not kept.any():
        return Interval(*np.full((3, values.shape[1]), np.nan))
    rng, strata = np.random.default_rng(seed), [values[kept]]
    if families is not None:
        names, member = np.unique(np.asarray(families)[kept], return_inverse=True)
        strata = [values[kept][member == f] for f in range(len(names))]
    value = np.mean([stratum.mean(0) for stratum in strata], axis=0)
    drawn = np.mean([draw_means(stratum, n_resamples, rng) for stratum in strata], axis=0)
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return Interval(value, low, high)


def draw_means(values: np.ndarray, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Means (n_resamples, m) of as many rows of ``values`` (n, m) drawn with replacement."""
    n, step = len(values), max(1, BLOCK // len(values))
    means = np.empty((n_resamples, values.shape[1]))
    for start in range(0, n_resamples, step):
        rows = min(step, n_resamples - start)
        drawn = rng.integers(0, n, (rows, n)) + np.arange(rows)[:, None] * n
        times = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        means[start : start + rows] = times.astype(np.float64) @ values / n
    return means


def bootstrap_difference(
    a: np.ndarray,
    b: np.ndarray,
    *,
    families: np.ndarray | None = None,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean of ``a - b`` over the queries that both have, paired: the same queries are drawn for both.

    ``a``, ``b`` (n, m) or (n,) float64 hold the figures of two methods, rows being the same queries. The
    methods differ where the interval leaves out 0.
    """
    if np.shape(a) != np.shape(b):
        raise ValueError(f"paired figures must have one shape, got {np.shape(a)} and {np.shape(b)}")
    return bootstrap_mean(
        np.asarray(a, np.float64) - np.asarray(b, np.float64),
        families=families,
        confidence=confidence,
        n_resamples=n_resamples,
        seed=seed,
    )
