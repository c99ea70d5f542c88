"""Old lists of one block against the vectors of today: which survive, and what the new vectors add."""

from typing import NamedTuple

import numpy as np

from resight.knn.blocks import best_of_rows, search_blocks
from resight.knn.copies import pick_runs, to_offsets
from resight.knn.matrix import OpenVectors

GONE = -1  # in place of the ordinal of an entry whose vector is gone or changed


class OldLists(NamedTuple):
    """Lists of sources: ``src`` (n,) ordinals, ``offsets`` (n + 1,), ``dst`` and ``similarity`` (m,)."""

    src: np.ndarray
    offsets: np.ndarray
    dst: np.ndarray
    similarity: np.ndarray


def renew_lists(old: OldLists, fresh: np.ndarray, X: OpenVectors, *, k: int) -> OldLists:
    """Offer the ``fresh`` vectors to the lists that survive; the others are left out.

    Parameters
    ----------
    old : OldLists
        Lists as they were written, copies included; a source that is a copy today, or that is fresh, has
        none that survives.
    fresh : ndarray, (m,) int64
        Ordinals, ascending, of the distinct vectors that are new or changed.

    Returns
    -------
    OldLists
        The ``k`` best distinct vectors of each source that survives.
    """
    row = np.repeat(np.arange(len(old.src)), np.diff(old.offsets))
    lost = np.zeros(len(old.src), bool)
    lost[row[(old.dst == GONE) | np.isin(old.dst, fresh)]] = True
    usable = ~lost & (X.representative_of(old.src) == old.src) & ~np.isin(old.src, fresh)
    entries, which = pick_runs(old.offsets, np.flatnonzero(usable))
    src = old.src[usable]
    dst = X.representative_of(old.dst[entries])
    keys, first = np.unique(np.stack([which, dst]), axis=1, return_index=True)
    other = keys[1] != src[keys[0]]
    rows, columns, similarity = keys[0][other], keys[1][other], old.similarity[entries][first[other]]
    if len(fresh) and len(src):
        found = search_blocks(
            (src, X.gather(src)), fresh_blocks(fresh, X), fresh_blocks(fresh, X), X.gather, k=k
        )
        added = np.repeat(np.arange(len(src)), np.diff(found[0]))
        rows, columns = np.concatenate([rows, added]), np.concatenate([columns, found[1]])
        similarity = np.concatenate([similarity, found[2]])
    offsets, columns, similarity = best_of_rows(rows, columns, similarity, n_rows=len(src), k=k)
    return OldLists(src, to_offsets(np.diff(offsets)), columns, similarity)


def fresh_blocks(
    fresh: np.ndarray, X: OpenVectors, size: int = 25_000
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Read the fresh vectors block by block."""
    return [(fresh[i : i + size], X.gather(fresh[i : i + size])) for i in range(0, len(fresh), size)]
