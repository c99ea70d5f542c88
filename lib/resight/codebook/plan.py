"""Where k-means runs, chosen in one place."""

from typing import NamedTuple

__all__ = ["FitPlan", "choose_fit"]


class FitPlan(NamedTuple):
    """``local`` (the sample in the memory of one machine) or ``tasks`` (sums per centroid), and why."""

    path: str
    reason: str


def choose_fit(n: int, d: int, *, memory_bytes: int) -> FitPlan:
    """Choose for ``n`` sampled descriptors of ``d`` dimensions.

    >>> choose_fit(1_000_000, 128, memory_bytes=2**32).path
    'local'
    >>> choose_fit(16_777_216, 128, memory_bytes=2**32).path
    'tasks'
    """
    needed = 4 * n * d
    sizes = f"{n} descriptors take {needed / 2**30:.2f} of {memory_bytes / 2**30:.2f} GiB"
    if needed <= memory_bytes:
        return FitPlan("local", f"{sizes}: they fit")
    return FitPlan("tasks", f"{sizes}: tasks sum them")
