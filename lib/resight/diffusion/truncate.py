"""Small systems: diffusion on the shortlist of a query instead of the whole graph.

Early truncation takes the affinities among the shortlist and normalises them anew (Iscen et al., CVPR 2017);
late truncation takes a slice of the normalised matrix (Yang et al., AAAI 2019). Both equal the full result
when the shortlist is everything.
"""

from typing import Literal

import numpy as np
import scipy.sparse as sp

from resight.diffusion.normalize import normalize_affinity
from resight.diffusion.solve import Solution, solve_diffusion
from resight.knn.copies import pick_runs, to_offsets


def list_regions(offsets: np.ndarray, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """List the nodes of shortlisted images, image by image: nodes (t,) and offsets (len(images) + 1,).

    ``offsets`` (n_images + 1,): where the regions of every image begin among the nodes.
    """
    nodes, _ = pick_runs(offsets, images)
    return nodes, to_offsets(np.diff(offsets)[images])


def slice_matrix(M: sp.csr_array, nodes: np.ndarray) -> sp.csr_array:
    """Give ``M[nodes][:, nodes]``, (t, t), in time that does not depend on the size of ``M``.

    ``nodes`` (t,) int64 are different, in any order.
    """
    order = np.argsort(nodes, kind="stable")
    ascending = nodes[order]
    if (ascending[1:] == ascending[:-1]).any():
        raise ValueError("a shortlist names a node twice")
    entries, rows = pick_runs(M.indptr, nodes)
    at = np.searchsorted(ascending, M.indices[entries])
    inside = np.append(ascending, -1)[at] == M.indices[entries]
    counts = np.bincount(rows[inside], minlength=len(nodes))
    packed = (M.data[entries[inside]], order[at[inside]], to_offsets(counts))
    small = sp.csr_array(packed, shape=(len(nodes), len(nodes)))
    small.sort_indices()
    return small


def truncate_graph(graph: sp.csr_array, nodes: np.ndarray, *, renormalise: bool = True) -> sp.csr_array:
    """Give the normalised matrix S' (t, t) of a shortlist.

    Parameters
    ----------
    graph : csr_array, (n, n) float64
        The affinity A with ``renormalise``, else the normalised matrix S.
    nodes : ndarray, (t,) int64
        The shortlist; it numbers the small system.
    renormalise : bool
        Whether degrees are those within the shortlist.
    """
    small = slice_matrix(graph, nodes)
    return normalize_affinity(small).S if renormalise else small


def solve_truncated(  # noqa: PLR0913 - the options are those of a linear solver
    graph: sp.csr_array,
    nodes: np.ndarray,
    Y: np.ndarray,
    *,
    renormalise: bool = True,
    alpha: float = 0.99,
    tol: float = 1e-6,
    max_iter: int | None = None,
    precision: Literal["float64", "float32"] = "float64",
    threads: int = 1,
) -> Solution:
    """Solve the system of one shortlist.

    Parameters
    ----------
    graph, nodes, renormalise
        As in `truncate_graph`.
    Y : ndarray, (t, s) float64
        Observations within the shortlist, row i for ``nodes[i]``: the nearest of its nodes. (The search for
        them is done again inside the shortlist.)
    alpha, tol, max_iter, precision, threads
        As in `resight.diffusion.solve.solve_diffusion`.

    Returns
    -------
    Solution
        ``F`` (t, s); what is not listed has no score and follows by similarity, see `resight.diffusion.rank`.
    """
    S = truncate_graph(graph, nodes, renormalise=renormalise)
    return solve_diffusion(
        S, Y, alpha=alpha, tol=tol, max_iter=max_iter, precision=precision, threads=threads
    )
