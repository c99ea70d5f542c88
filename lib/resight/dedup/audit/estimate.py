"""Shares with intervals: of counts, and of strata that were sampled each by itself."""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np

Z95 = 1.959963984540054  # of the normal distribution, two-sided 95 %


class Share(NamedTuple):
    """A share with the ends of its 95 % interval; NaN where nothing was counted."""

    value: float
    low: float
    high: float


def estimate_share(n_right: int, n: int, *, z: float = Z95) -> Share:
    """Estimate a share from ``n_right`` of ``n`` by Wilson's score interval (1927).

    >>> [round(end, 4) for end in estimate_share(9, 10)]
    [0.9, 0.5958, 0.9821]
    """
    if not 0 <= n_right <= n:
        raise ValueError(f"{n_right} of {n} is no share")
    if not n:
        return Share(float("nan"), float("nan"), float("nan"))
    share = n_right / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if n_right == 0 else centre - half  # exact at the ends, which rounding would miss
    return Share(share, low, 1.0 if n_right == n else centre + half)


def combine_shares(shares: Sequence[Share], sizes: Sequence[int]) -> Share:
    """Estimate the share of a whole from shares of its strata of ``sizes``, sampled each by itself.

    The interval combines those of the strata (Zou and Donner, "Construction of confidence limits about effect
    measures: a general approach", Statistics in Medicine 27, 2008, equation 4 for weighted sums). NaN where a
    stratum that has members has no share.
    """
    if len(shares) != len(sizes):
        raise ValueError(f"{len(shares)} shares of {len(sizes)} strata")
    held = [(share, size) for share, size in zip(shares, sizes, strict=True) if size]
    if not held:
        return Share(float("nan"), float("nan"), float("nan"))
    values, lows, highs = np.array([share for share, _ in held]).T
    weights = np.array([size for _, size in held], np.float64)
    weights /= weights.sum()
    value = float(weights @ values)
    below = float(np.sqrt(np.sum((weights * (values - lows)) ** 2)))
    above = float(np.sqrt(np.sum((weights * (highs - values)) ** 2)))
    return Share(value, max(0.0, value - below), min(1.0, value + above))
