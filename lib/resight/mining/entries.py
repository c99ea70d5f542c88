"""Ragged lists, flat: who stands in whose list, in rank order."""

from typing import NamedTuple

import numpy as np


class Entries(NamedTuple):
    """Entries of some lists.

    ``row`` (m,) int64: whose list it is, ascending. ``item`` (m,) int64: who stands in it, once per list.
    ``value`` (m,) float: similarity or score. Within a row the best comes first.
    """

    row: np.ndarray
    item: np.ndarray
    value: np.ndarray

    def keep(self, chosen: np.ndarray) -> "Entries":
        """Keep some entries, (m,) bool or indices in order; they move up."""
        return Entries(*(column[chosen] for column in self))

    def first(self, k: int) -> "Entries":
        """Keep the ``k`` best of every row."""
        return self.keep(ranks(self.row) < k)


def ranks(row: np.ndarray) -> np.ndarray:
    """Place (m,) int64 of every entry within its row, from 0; ``row`` (m,) is ascending.

    >>> ranks(np.array([3, 3, 7, 9, 9, 9])).tolist()
    [0, 1, 0, 0, 1, 2]
    """
    starts = np.flatnonzero(np.append(True, row[1:] != row[:-1])) if len(row) else np.zeros(0, np.int64)
    lengths = np.diff(np.append(starts, len(row)))
    return np.arange(len(row)) - np.repeat(starts, lengths)


def is_among(entries: Entries, others: Entries) -> np.ndarray:
    """Mark (m,) bool the entries whose item stands in the list of the same row among ``others``."""
    keys, known = pair_keys((entries.row, entries.item), (others.row, others.item))
    return np.isin(keys, known)


def find_values(entries: Entries, others: Entries) -> np.ndarray:
    """Look up (m,) float64 what value ``others`` give for the same row and item; NaN where they lack it."""
    keys, known = pair_keys((entries.row, entries.item), (others.row, others.item))
    order = np.argsort(known, kind="stable")
    at = np.minimum(np.searchsorted(known[order], keys), max(len(known) - 1, 0))
    if not len(known):
        return np.full(len(keys), np.nan)
    return np.where(known[order][at] == keys, others.value[order][at], np.nan)


def pair_keys(*pairs: tuple[np.ndarray, np.ndarray]) -> list[np.ndarray]:
    """Give every pair (row, item) of several lists a number: equal numbers, equal pairs."""
    items, codes = np.unique(np.concatenate([item for _, item in pairs]), return_inverse=True)
    bounds = np.cumsum([0, *(len(row) for row, _ in pairs)])
    n = max(len(items), 1)
    return [row * n + codes[a:b] for (row, _), a, b in zip(pairs, bounds[:-1], bounds[1:], strict=True)]
