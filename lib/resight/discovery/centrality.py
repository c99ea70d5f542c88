"""How central a region is among all: Katz centrality by the shared conjugate gradient.

C, section 3.5: ``(I - alpha S) g = (1 - alpha) 1``, the similarity of a region to all others, summed. A
block of whole components is a system of its own, so that blocks are solved apart.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import scipy.sparse as sp

__all__ = ["Centrality", "cut_blocks", "solve_katz", "take_block"]


class Centrality(NamedTuple):
    """Centrality ``g`` (n,) float64, the iterations it took and the relative residual that is left."""

    g: np.ndarray
    iterations: int
    residual: float


def solve_katz(S: "sp.csr_array", *, alpha: float = 0.99, tol: float = 1e-6, threads: int = 1) -> Centrality:
    """Solve for the centrality of every node of a normalised graph ``S`` (n, n).

    A node without edges has ``1 - alpha``, every node of a regular component has 1.
    """
    from resight.diffusion.solve import solve_diffusion

    if not S.shape[0]:
        return Centrality(np.zeros(0), 0, 0.0)
    solution = solve_diffusion(S, np.ones((S.shape[0], 1)), alpha=alpha, tol=tol, threads=threads)
    return Centrality(solution.F[:, 0], int(solution.iterations[0]), float(solution.residuals[0]))


def cut_blocks(S: "sp.csr_array", *, block_nodes: int) -> np.ndarray:
    """Cut places into blocks that no edge leaves.

    Parameters
    ----------
    S : csr_array, (n, n)
        Symmetric; the nodes of a component are consecutive, as `resight.diffusion.order` leaves them.
    block_nodes : int
        A block ends with the component that reaches this size; a larger component is a block of its own.

    Returns
    -------
    ndarray, (blocks + 1,) int64
        Where blocks begin, and the end of the last.
    """
    n = S.shape[0]
    farthest = np.arange(n, dtype=np.int64)
    linked = np.flatnonzero(np.diff(S.indptr))
    if len(linked):
        starts = np.asarray(S.indptr)[linked]
        farthest[linked] = np.maximum(np.maximum.reduceat(S.indices, starts), linked)
    ends = np.flatnonzero(np.maximum.accumulate(farthest) == np.arange(n)) + 1
    cuts, begin = [0], 0
    for end in ends:
        if end - begin >= block_nodes:
            cuts.append(int(end))
            begin = int(end)
    return np.array(cuts if cuts[-1] == n else [*cuts, n], np.int64)


def take_block(S: "sp.csr_array", start: int, stop: int) -> "sp.csr_array":
    """Take the block of places ``start`` to ``stop`` that no edge leaves; values are not copied."""
    import scipy.sparse as sp

    if (start, stop) == (0, S.shape[0]):
        return S
    offsets = np.asarray(S.indptr[start : stop + 1])
    entries = slice(int(offsets[0]), int(offsets[-1]))
    arrays = (S.data[entries], S.indices[entries] - S.indices.dtype.type(start), offsets - offsets[0])
    return sp.csr_array(arrays, shape=(stop - start, stop - start))
