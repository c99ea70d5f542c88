import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from resight.graph.components import contract, find_roots
from tests.graph.shapes import SHAPES, labels_by_networkx


@pytest.mark.parametrize("name", SHAPES)
def test_roots_equal_networkx(rng, name):
    src, dst = SHAPES[name](rng)
    nodes, roots = find_roots(src, dst)
    assert dict(zip(nodes.tolist(), roots.tolist(), strict=True)) == labels_by_networkx(src, dst)


@pytest.mark.parametrize("name", SHAPES)
def test_roots_equal_scipy(rng, name):
    src, dst = SHAPES[name](rng)
    ids, ends = np.unique(np.stack([src, dst]), return_inverse=True)
    ends = ends.reshape(2, -1)
    graph = sp.coo_array((np.ones(len(src)), tuple(ends)), shape=(len(ids), len(ids)))
    labels = connected_components(graph, directed=False)[1]
    expected = [int(ids[np.argmax(labels == label)]) for label in labels]
    nodes, roots = find_roots(src, dst)
    assert nodes.tolist() == ids.tolist()
    assert roots.tolist() == expected


def test_no_edge_makes_no_node():
    nodes, roots = find_roots(np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert len(nodes) == len(roots) == 0


def test_roots_that_meet_in_a_node_are_linked_once():
    members, leaders, src, dst = contract(np.array([5, 9, 5, 3, 9, 8, 8]), np.array([3, 3, 1, 3, 3, 1, 3]))
    assert members.tolist() == [3, 5, 8, 9]
    assert leaders.tolist() == [3, 1, 1, 3]
    assert (src.tolist(), dst.tolist()) == ([1], [3])
