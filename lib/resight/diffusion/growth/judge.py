"""What a change of the graph means for the rows of single nodes, and how far a stale row is off."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from resight.graph.matrix import GraphFiles, OpenGraph
from resight.knn.copies import pick_runs
from resight.knn.matrix import map_array

if TYPE_CHECKING:
    import scipy.sparse as sp

SAME, STALE, CHANGED = 0, 1, 2


@dataclass(frozen=True)
class GraphChange:
    """Two versions of a graph and the edges in which they differ; small, so a task carries it whole.

    The file ``name`` in ``folder`` holds the ids (2, m) int64 of the ends of every edge that is new, gone or
    of another affinity, in both directions. ``shortlist`` is the length of the lists.
    """

    now: GraphFiles
    then: GraphFiles
    folder: str
    name: str
    shortlist: int

    def judge(self, seeds: np.ndarray, *, threads: int = 1) -> np.ndarray:
        """Tell what became of the rows of ``seeds`` (b,), by place: `SAME`, `STALE` or `CHANGED`, (b,) int8.

        A node that the graph did not have before has `CHANGED`.
        """
        from resight.diffusion.reach import grow_lists, grow_marked

        now, then = self.now.open(), self.then.open()
        is_touched, changed = open_change(self)
        size = {"size": self.shortlist, "threads": threads}
        lists, meets = grow_marked(now.S, seeds, is_touched, **size)
        before = then.place_of(np.asarray(now.ids)[seeds])
        states = np.where(meets, STALE, SAME).astype(np.int8)
        states[before < 0] = CHANGED
        asked = np.flatnonzero(states == STALE)
        old = grow_lists(then.S, before[asked], **size)
        then_ids = np.asarray(then.ids)
        is_listed = np.zeros(now.n, bool)
        for i, row in enumerate(asked.tolist()):
            listed = lists.list_of(row)
            if not np.array_equal(np.sort(listed), np.sort(now.place_of(then_ids[old.list_of(i)]))):
                states[row] = CHANGED
                continue
            is_listed[listed] = True
            entries, _ = pick_runs(changed.indptr, listed)
            if is_listed[changed.indices[entries]].any():
                states[row] = CHANGED
            is_listed[listed] = False
        return states


@lru_cache(maxsize=2)
def open_change(change: GraphChange) -> "tuple[np.ndarray, sp.csr_array]":
    """Give, by place of today, which nodes have a changed edge, (n,) bool, and those edges as (n, n).

    An edge to a node that is gone is in the former alone.
    """
    import scipy.sparse as sp

    graph: OpenGraph = change.now.open()
    src, dst = (graph.place_of(end) for end in map_array(change.folder, change.name))
    is_touched = np.zeros(graph.n, bool)
    is_touched[src[src >= 0]] = True
    both = (src >= 0) & (dst >= 0)
    ends = src[both], dst[both]
    return is_touched, sp.csr_array((np.ones(int(both.sum()), np.int8), ends), shape=(graph.n, graph.n))


def compare_rows(old: tuple[np.ndarray, np.ndarray], new: tuple[np.ndarray, np.ndarray]) -> float:
    """Relative difference ``||z' - z|| / ||z||`` of a row z' from the row z that would replace it.

    Rows are (ids, scores), over the union of their ids; what a row does not list counts as 0.
    """
    ids = np.union1d(old[0], new[0])
    both = np.zeros((2, len(ids)))
    for dense, (listed, scores) in zip(both, (old, new), strict=True):
        dense[np.searchsorted(ids, listed)] = scores
    norm = np.linalg.norm(both[1])
    return float(np.linalg.norm(both[0] - both[1]) / norm) if norm else 0.0
