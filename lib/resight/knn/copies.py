"""Identical vectors: found by hash, collapsed to the first, put back into the finished lists.

A vector that occurs many times would fill the lists of all its occurrences with itself. So neighbours are
searched among *representatives* (the smallest id of each set of identical vectors), and k counts
representatives. Then every copy gets the list of its representative, and every entry is followed by its own
copies, which have the same similarity; of one set of identical vectors at most ``max_copies`` are listed, the
smallest ids, the representative always among them. A copy lists its fellows with similarity 1. Lists are
ordered by the tie rule.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

SEED = 0x5EED


class Copies(NamedTuple):
    """Sets of identical vectors as CSR: run i of ``members`` are the copies of ``firsts[i]``."""

    firsts: np.ndarray  # (s,) int64 ascending
    offsets: np.ndarray  # (s + 1,) int64
    members: np.ndarray  # (m,) int64, ascending within a set, the first left out

    def sets_of(self, ordinals: np.ndarray) -> np.ndarray:
        """Which set each of ``ordinals`` (m,) represents, -1 where it has no copies."""
        if not len(self.firsts):
            return np.full(len(ordinals), -1)
        at = np.minimum(np.searchsorted(self.firsts, ordinals), len(self.firsts) - 1)
        return np.where(self.firsts[at] == ordinals, at, -1)

    def counts_of(self, ordinals: np.ndarray) -> np.ndarray:
        """Count the copies (m,) of each of ``ordinals`` (m,), itself left out."""
        sets = self.sets_of(ordinals)
        counts = np.append(np.diff(self.offsets), 0)  # the last one answers for -1
        return counts[sets]


def group_copies(pairs: np.ndarray) -> Copies:
    """Group ``pairs`` (2, m) int64 of (copy, first) by their first."""
    order = np.lexsort((pairs[0], pairs[1]))
    firsts, starts = np.unique(pairs[1][order], return_index=True)
    return Copies(firsts, np.append(starts, pairs.shape[1]), pairs[0][order])


def hash_rows(X: np.ndarray) -> np.ndarray:
    """Hash the bytes of each row of ``X`` (n, d) float16 or float32 to (2, n) int64."""
    words = np.ascontiguousarray(X).view(np.uint16 if X.itemsize == 2 else np.uint32)
    rng = np.random.default_rng(SEED)
    keys = rng.integers(1, 2**63, (2, words.shape[1]), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    out = np.zeros((2, len(words)), np.uint64)
    for column in range(words.shape[1]):  # one column at a time: no (n, d) array of 64-bit words
        out += words[:, column].astype(np.uint64) * keys[:, column, None]
    return (out ^ (out >> np.uint64(32))).view(np.int64)


def find_copies(hashes: np.ndarray, ordinals: np.ndarray) -> np.ndarray:
    """Pair every ordinal whose hash (2, n) occurred at a smaller ordinal with the smallest, (2, m) int64."""
    order = np.lexsort((ordinals, hashes[1], hashes[0]))
    h, sorted_ordinals = hashes[:, order], ordinals[order]
    is_first = np.ones(len(order), bool)
    is_first[1:] = (h[:, 1:] != h[:, :-1]).any(axis=0)
    firsts = sorted_ordinals[np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))]
    return np.stack([sorted_ordinals[~is_first], firsts[~is_first]])


class Rows(NamedTuple):
    """Ragged lists of some sources: ``src`` (n,), ``offsets`` (n + 1,), ``dst`` and ``similarity`` (m,)."""

    src: np.ndarray
    offsets: np.ndarray
    dst: np.ndarray
    similarity: np.ndarray

    @property
    def row_of_entry(self) -> np.ndarray:
        """The row (m,) that each entry belongs to."""
        return np.repeat(np.arange(len(self.src)), np.diff(self.offsets))


def expand_copies(rows: Rows, copies: Copies, max_copies: int, *, chunk: int = 4096) -> Iterator[Rows]:
    """Put copies back: lists of representatives -> lists of all vectors, by ordinal.

    Yields ``chunk`` sources at a time: a vector may have any number of copies.
    """
    listed = list_copies(rows, copies, max_copies)
    n_sources = 1 + copies.counts_of(rows.src)
    if (n_sources == 1).all():
        yield listed
        return
    which = np.repeat(np.arange(len(rows.src)), n_sources)  # the representative of each new row
    src = interleave(rows.src, copies, n_sources)
    n_fellows = np.minimum(n_sources, max_copies)
    fellows = Rows(rows.src, to_offsets(n_fellows), interleave(rows.src, copies, n_fellows), np.zeros(0))
    for i in range(0, len(src), chunk):
        yield join_fellows(src[i : i + chunk], which[i : i + chunk], fellows, listed)


def join_fellows(src: np.ndarray, which: np.ndarray, fellows: Rows, listed: Rows) -> Rows:
    """List for each of ``src`` (n,) its identical fellows and the list of its representative ``which``."""
    own, own_rows = pick_runs(fellows.offsets, which)
    other = fellows.dst[own] != src[own_rows]
    entries, entry_rows = pick_runs(listed.offsets, which)
    ones = np.ones(int(other.sum()), np.float32)
    return sort_rows(
        src,
        np.concatenate([own_rows[other], entry_rows]),
        np.concatenate([fellows.dst[own[other]], listed.dst[entries]]),
        np.concatenate([ones, listed.similarity[entries]]),
    )


def list_copies(rows: Rows, copies: Copies, max_copies: int) -> Rows:
    """Follow every entry by its own copies, ``max_copies`` in all."""
    n_each = np.minimum(1 + copies.counts_of(rows.dst), max_copies)
    if (n_each == 1).all():
        return rows
    dst = interleave(rows.dst, copies, n_each)
    return sort_rows(rows.src, np.repeat(rows.row_of_entry, n_each), dst, np.repeat(rows.similarity, n_each))


def interleave(ordinals: np.ndarray, copies: Copies, n_each: np.ndarray) -> np.ndarray:
    """Follow each of ``ordinals`` (m,) by its ``n_each - 1`` first copies."""
    starts = np.cumsum(n_each) - n_each
    out = np.repeat(ordinals, n_each)
    within = np.arange(len(out)) - np.repeat(starts, n_each)
    sets = np.repeat(copies.sets_of(ordinals), n_each)
    is_copy = within > 0
    out[is_copy] = copies.members[copies.offsets[sets[is_copy]] + within[is_copy] - 1]
    return out


def pick_runs(offsets: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions (m,) of all entries of the runs ``which`` (r,), and the place in ``which`` of each."""
    lengths = offsets[which + 1] - offsets[which]
    place = np.repeat(np.arange(len(which)), lengths)
    within = np.arange(len(place)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return offsets[which][place] + within, place


def to_offsets(counts: np.ndarray) -> np.ndarray:
    """CSR offsets (n + 1,) int64 of ``counts`` (n,)."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def sort_rows(src: np.ndarray, rows: np.ndarray, dst: np.ndarray, similarity: np.ndarray) -> Rows:
    """Collect entries (row, dst, similarity) into `Rows` in the order of the tie rule."""
    order = np.lexsort((dst, -similarity, rows))
    offsets = to_offsets(np.bincount(rows, minlength=len(src)))
    return Rows(src, offsets, dst[order], similarity[order])
