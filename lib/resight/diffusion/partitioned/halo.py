"""The halo of a part: the rows of other parts that its own rows multiply, and who needs which of ours.

A rank numbers its own rows from 0 and puts the halo, ascending by ordinal, after them; as parts are ranges of
ordinals, what comes from one rank is a range of the halo.
"""

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from resight.diffusion.partitioned.exchange import Exchange, Pieces
from resight.diffusion.partitioned.parts import OpenPart

CHUNKS = 64  # pieces in which the columns are renumbered: bounds what lies beside them


class RankGraph(NamedTuple):
    """What a rank holds of the graph.

    ``S`` (m, m + h): its rows, columns renumbered. ``halo`` (h,) int64: ordinals, ascending. ``takes``: for
    each rank that gives some, the slice of the halo. ``gives``: for each rank that needs some, our rows.
    """

    S: sp.csr_array
    halo: np.ndarray
    takes: tuple[tuple[int, slice], ...]
    gives: tuple[tuple[int, np.ndarray], ...]

    @property
    def n_bytes(self) -> int:
        """Bytes of these arrays, mapped ones included."""
        given = sum(rows.nbytes for _, rows in self.gives)
        return self.S.data.nbytes + self.S.indices.nbytes + self.S.indptr.nbytes + self.halo.nbytes + given


def build_rank_graph(part: OpenPart, bounds: np.ndarray, exchange: Exchange) -> RankGraph:
    """Renumber a part's columns and agree with the other ranks on what to exchange: once per solve.

    Parameters
    ----------
    bounds : ndarray, (parts + 1,) int64
        First ordinals of the parts, then n.
    """
    halo = find_halo(part)
    m = part.stop - part.start
    shape = (m, m + len(halo))
    S = sp.csr_array((part.data, renumber_columns(part, halo), part.indptr), shape=shape)
    takes = split_halo(halo, bounds)
    return RankGraph(S, halo, takes, share_needs(halo, takes, part.start, exchange))


def chunks_of(part: OpenPart) -> list[slice]:
    """Cut the entries of a part into pieces that are looked at one after the other."""
    step = max(1024, -(-len(part.indices) // CHUNKS))
    return [slice(i, i + step) for i in range(0, len(part.indices), step)]


def find_halo(part: OpenPart) -> np.ndarray:
    """List the ordinals (h,) int64, ascending, that the rows of a part name and that are not its own."""
    halo = np.zeros(0, np.int64)
    for chunk in chunks_of(part):
        columns = part.indices[chunk]
        remote = columns[(columns < part.start) | (columns >= part.stop)]
        halo = np.union1d(halo, remote)
    return halo.astype(np.int64)


def renumber_columns(part: OpenPart, halo: np.ndarray) -> np.ndarray:
    """Give own columns numbers from 0, those of the halo follow; (nnz,) of the dtype of the offsets."""
    m = part.stop - part.start
    local = np.empty(len(part.indices), part.indptr.dtype)
    for chunk in chunks_of(part):
        columns = part.indices[chunk]
        is_own = (columns >= part.start) & (columns < part.stop)
        local[chunk] = np.where(is_own, columns - part.start, m + np.searchsorted(halo, columns))
    return local


def split_halo(halo: np.ndarray, bounds: np.ndarray) -> tuple[tuple[int, slice], ...]:
    """Find the slice of the halo that each other part owns; parts that own none are left out."""
    cuts = np.searchsorted(halo, bounds)
    return tuple((q, slice(int(cuts[q]), int(cuts[q + 1]))) for q in np.flatnonzero(np.diff(cuts)).tolist())


def share_needs(
    halo: np.ndarray, takes: tuple[tuple[int, slice], ...], start: int, exchange: Exchange
) -> tuple[tuple[int, np.ndarray], ...]:
    """Tell every rank which of its rows we need; give our rows (int64, from 0) that each rank needs."""
    counts = np.zeros(exchange.size, np.int64)
    for q, some in takes:
        counts[q] = some.stop - some.start
    asked = exchange.gather(counts)[:, exchange.rank]  # how many of our rows each rank needs
    wanted = [(q, np.empty(asked[q], np.int64)) for q in np.flatnonzero(asked).tolist()]
    exchange.swap([(q, halo[some]) for q, some in takes], wanted)
    return tuple((q, ordinals - start) for q, ordinals in wanted)


def swap_halo(graph: RankGraph, P: np.ndarray, exchange: Exchange) -> None:
    """Fill the halo of a block ``P`` (m + h, lanes) with the rows of the ranks that own them."""
    m = graph.S.shape[0]
    gives: Pieces = [(q, P[rows]) for q, rows in graph.gives]
    exchange.swap(gives, [(q, P[m + some.start : m + some.stop]) for q, some in graph.takes])
