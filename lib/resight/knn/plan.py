"""Which path a graph takes, chosen in one place."""

from typing import NamedTuple

EXACT_PAIRS = 4e12  # n^2 d of the exact path: at some 80 GFLOP/s a core, under a minute of one core


class Plan(NamedTuple):
    """How to search: ``exact`` or ``ivf``, and why."""

    method: str
    reason: str


def choose_method(n: int, d: int, *, method: str = "auto") -> Plan:
    """Choose the path for ``n`` distinct vectors of ``d`` dimensions; ``method`` other than auto decides.

    >>> choose_method(1000, 512).method
    'exact'
    >>> choose_method(1_000_000, 256).method
    'ivf'
    """
    if method not in ("auto", "exact", "ivf"):
        raise ValueError(f"method is {method!r}, expected auto, exact or ivf")
    if method != "auto":
        return Plan(method, "as the settings say")
    work = float(n) * n * d
    if work <= EXACT_PAIRS:
        return Plan("exact", f"n^2 d = {work:.1e} is at most {EXACT_PAIRS:.0e}: all pairs are affordable")
    return Plan("ivf", f"n^2 d = {work:.1e} exceeds {EXACT_PAIRS:.0e}: inverted lists, tuned on a sample")


def choose_growth(n_fresh: int, n_gone: int, n: int, *, k: int) -> Plan:
    """Choose between renewing the lists of a graph and searching all again.

    ``n_fresh`` vectors are new, ``n_gone`` are not what they were (a changed one is both), of ``n`` today. A
    new vector is searched itself; one that is gone makes its some ``k`` neighbours be searched again.

    >>> choose_growth(10, 0, 1000, k=50).method, choose_growth(10, 10, 1000, k=50).method
    ('renew', 'all')
    """
    searches = n_fresh + k * n_gone
    if searches <= n // 4:
        return Plan("renew", f"about {searches} of {n} lists are searched again: no more than a quarter")
    return Plan("all", f"about {searches} of {n} lists would be searched again: more than a quarter")
