"""How codes within a Hamming radius are found: by a scan of all, or by equal parts (multi-index hashing).

A code of L bits is cut into m parts. Two codes that differ in at most r = m e + a bits (0 <= a < m) differ in
at most e bits in one of the first a + 1 parts, or in at most e - 1 bits in one of the others. So it is enough
to compare codes of which such a part is equal after so many bits of one are flipped: nothing is missed.

Norouzi, Punjani, Fleet, "Fast exact search in Hamming space with multi-index hashing", TPAMI 2014, section 3.
"""

from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np

__all__ = ["SHUFFLED", "Plan", "choose_plan", "flip_masks", "plan_parts"]

LOOKUP = 64  # comparisons of codes that one lookup of a key costs, in one process
SHUFFLED = 2000  # and in a distributed join, where a key is rows to sort and to send: 500 to 6000 measured
RANDOM = 4  # what a comparison in a bucket costs over one in a scan
MAX_LOOKUPS = 4096  # keys of one code


class Plan(NamedTuple):
    """Parts of a code; without any, all codes are compared with all."""

    bounds: tuple[tuple[int, int], ...] = ()  # first bit and the bit after the last of each part
    limits: tuple[int, ...] = ()  # bits in which a part may differ

    @property
    def is_scan(self) -> bool:
        """Whether all codes are compared with all."""
        return not self.bounds

    @property
    def n_lookups(self) -> int:
        """Keys under which a code is looked up."""
        parts = zip(self.bounds, self.limits, strict=True)
        return sum(comb(b - a, i) for (a, b), limit in parts for i in range(limit + 1))

    def cost(self, n: int, lookup: int = LOOKUP) -> float:
        """Comparisons per code, roughly, among ``n`` codes whose bits are even and independent.

        ``lookup`` is what one key costs, in comparisons.
        """
        if self.is_scan:
            return float(n)
        parts = zip(self.bounds, self.limits, strict=True)
        chance = sum(comb(b - a, i) / 2.0 ** (b - a) for (a, b), limit in parts for i in range(limit + 1))
        return lookup * self.n_lookups + RANDOM * n * chance


def plan_parts(n_bits: int, radius: int, n_parts: int) -> Plan:
    """Cut codes of ``n_bits`` into ``n_parts``; parts that no pair within ``radius`` needs are left out."""
    if not 0 <= radius <= n_bits or not 1 <= n_parts <= n_bits:
        raise ValueError(f"{n_parts} parts of {n_bits} bits within radius {radius}")
    ends = [n_bits * i // n_parts for i in range(n_parts + 1)]
    limit, rest = divmod(radius, n_parts)
    limits = [limit if i <= rest else limit - 1 for i in range(n_parts)]
    kept = [(ends[i], ends[i + 1], limits[i]) for i in range(n_parts) if limits[i] >= 0]
    return Plan(tuple((a, b) for a, b, _ in kept), tuple(limit for *_, limit in kept))


def choose_plan(n: int, n_bits: int, radius: int, *, lookup: int = LOOKUP) -> Plan:
    """Choose the cheapest way to compare ``n`` codes of ``n_bits``: a scan, or the best number of parts.

    ``lookup`` is what one key costs: `LOOKUP` in one process, `SHUFFLED` in a distributed join.

    >>> choose_plan(100, 64, 8).is_scan, choose_plan(10**6, 64, 3).is_scan
    (True, False)
    """
    counts = range(max(1, -(-n_bits // 62)), max(2, n_bits // 4))  # a key fits into a bigint
    plans = [plan_parts(n_bits, radius, m) for m in counts]
    fine = [plan for plan in plans if plan.n_lookups <= MAX_LOOKUPS]
    return min([Plan(), *fine], key=lambda plan: plan.cost(n, lookup))


def flip_masks(n_bits: int, limit: int) -> np.ndarray:
    """List the numbers (v,) uint64 of ``n_bits`` with at most ``limit`` bits set, 0 first."""
    masks = [sum(1 << i for i in bits) for k in range(limit + 1) for bits in combinations(range(n_bits), k)]
    return np.array(masks, np.uint64)
