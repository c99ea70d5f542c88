"""Connected components of a list of edges, and the contraction that makes a long list short.

One task solves what fits into it. A longer list is first contracted: every task joins the edges that it
happens to hold, and only what ties the parts of different tasks together goes on.
"""

import numpy as np


def find_roots(src: np.ndarray, dst: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Name the component of every node by its smallest member.

    Parameters
    ----------
    src, dst : ndarray, (m,) int64
        Ends of the edges; loops and repeats are fine.

    Returns
    -------
    nodes, roots : ndarray, (n,) int64
        The nodes in ascending order and the smallest node of the component of each.
    """
    import pandas as pd
    import scipy.sparse as sp
    from scipy.sparse.csgraph import connected_components

    codes, nodes = pd.factorize(np.concatenate([src, dst]), sort=True)
    n = len(nodes)
    ends = codes.reshape(2, -1)
    graph = sp.coo_array((np.ones(ends.shape[1], np.int8), (ends[0], ends[1])), shape=(n, n))
    _, labels = connected_components(graph, directed=False)
    smallest = np.full(labels.max(initial=-1) + 1, n, np.int64)
    np.minimum.at(smallest, labels, np.arange(n))
    return nodes, nodes[smallest[labels]] if n else nodes


def contract(nodes: np.ndarray, roots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Join what several tasks found about the same nodes.

    Parameters
    ----------
    nodes, roots : ndarray, (m,) int64
        A root for each node from every task that saw it.

    Returns
    -------
    members, leaders : ndarray, (n,) int64
        Every node and its smallest root.
    src, dst : ndarray, (e,) int64
        Edges from the smallest root of a node to each other root of it, without repeats.
    """
    order = np.lexsort((roots, nodes))
    nodes, roots = nodes[order], roots[order]
    is_first = np.ones(len(nodes), bool)
    is_first[1:] = nodes[1:] != nodes[:-1]
    members, leaders = nodes[is_first], roots[is_first]
    leader = leaders[np.cumsum(is_first) - 1] if len(nodes) else roots
    ties = leader != roots
    pairs = np.unique(np.stack([leader[ties], roots[ties]], axis=1), axis=0)
    return members, leaders, pairs[:, 0], pairs[:, 1]
