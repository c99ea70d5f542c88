"""Which regions show the same object: every one climbs to its most similar neighbour of greater density.

Quick shift (Vedaldi and Soatto, ECCV 2008) on the graph of regions: the density of a region is the sum of its
affinities, so the top of a climb is where most images agree. A step below ``floor`` is not taken.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import scipy.sparse as sp

__all__ = ["climb"]


def climb(
    S: "sp.csr_array", degrees: np.ndarray, ids: np.ndarray, start: int, stop: int, *, floor: float = 0.0
) -> np.ndarray:
    """Choose the next region on the way up, for a block of them.

    Parameters
    ----------
    S : csr_array, (n, n) float64
        Normalised affinity.
    degrees : ndarray, (n,) float64
        Row sums of the affinity.
    ids : ndarray, (n,) int64
        Of equal densities, the smaller id is higher.
    start, stop : int
        The block of places.
    floor : float
        Smallest affinity of a step.

    Returns
    -------
    ndarray, (stop - start,) int64
        Place of the next region; a region's own where it is a top.
    """
    first, last = int(S.indptr[start]), int(S.indptr[stop])
    counts = np.diff(S.indptr[start : stop + 1])
    src = np.repeat(np.arange(start, stop), counts)
    dst, values = np.asarray(S.indices[first:last]), np.asarray(S.data[first:last])
    affinity = np.minimum(values * np.sqrt(degrees[src] * degrees[dst]), 1.0)
    above = (degrees[dst] > degrees[src]) | ((degrees[dst] == degrees[src]) & (ids[dst] < ids[src]))
    usable = np.flatnonzero(above & (affinity >= floor))
    # the last of each source wins: by affinity, then density, then the smaller id
    order = usable[np.lexsort((-ids[dst[usable]], degrees[dst[usable]], affinity[usable], src[usable]))]
    parents = np.arange(start, stop)
    parents[src[order] - start] = dst[order]
    return parents
