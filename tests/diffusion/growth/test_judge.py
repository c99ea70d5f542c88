"""Rows of a graph that changes: what stays the same, what is stale, what has to be computed again."""

from itertools import pairwise

import numpy as np
import pytest

from resight.arrow import arrow_to_lists
from resight.diffusion.block import DiffuseWork
from resight.diffusion.growth.judge import CHANGED, SAME, STALE, GraphChange, compare_rows
from resight.diffusion.reach import grow_lists
from resight.graph.matrix import save_graph
from resight.knn.matrix import save_array
from tests.diffusion.growth.grown import draw_growth, label_nodes, list_edges


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """Make the change of a graph, for lists of some length, and give the edges that changed."""
    graphs = draw_growth()
    edges = [
        dict(zip(zip(src.tolist(), dst.tolist(), strict=True), affinity.tolist(), strict=True))
        for src, dst, affinity in (list_edges(*graph) for graph in graphs)
    ]
    moved = [pair for pair in edges[0].keys() | edges[1].keys() if edges[0].get(pair) != edges[1].get(pair)]

    def make(size):
        folder = str(tmp_path_factory.mktemp("graphs"))
        then, now = (save_graph(folder, ids, label_nodes(ids, A), list_edges(ids, A)) for ids, A in graphs)
        return GraphChange(now, then, folder, save_array(folder, "changed", np.array(moved).T), size), moved

    return make


def rows_of(layout, size):
    """Rows of all nodes, by id."""
    work = DiffuseWork(layout, "v", 0.9, size, 10**6, 300, 1e-12)
    rows = work.diffuse(np.arange(layout.n))
    offsets, dst = arrow_to_lists(rows["dst"], "int64")
    scores = arrow_to_lists(rows["score"], "float32")[1].astype(float)
    spans = [slice(a, b) for a, b in pairwise(offsets)]
    return {src: (dst[s], scores[s]) for src, s in zip(rows["src"].to_pylist(), spans, strict=True)}


def listed(layout, size):
    """The set of nodes that take part in the system of each node, by id."""
    graph = layout.open()
    lists, ids = grow_lists(graph.S, np.arange(graph.n), size=size), np.asarray(graph.ids)
    spans = zip(lists.offsets[:-1], lists.offsets[1:], strict=True)
    return {int(ids[i]): set(ids[lists.ordinals[a:b]].tolist()) for i, (a, b) in enumerate(spans)}


@pytest.mark.parametrize("size", [5, 15, 40])
def test_rows_that_are_the_same_equal_those_of_today_and_changed_ones_lost_their_support(grown, size):
    change, moved = grown(size)
    ids = np.asarray(change.now.open().ids)
    states = dict(zip(ids.tolist(), change.judge(np.arange(change.now.n)).tolist(), strict=True))
    now, then = listed(change.now, size), listed(change.then, size)
    new, old = rows_of(change.now, size), rows_of(change.then, size)
    for node, state in states.items():
        held = now[node]
        has_moved = then.get(node) != held or any(a in held and b in held for a, b in moved)
        assert (state == CHANGED) == has_moved
        if state == SAME:
            assert compare_rows(old[node], new[node]) < 1e-6
    counts = np.bincount(list(states.values()), minlength=3)
    assert counts[SAME] > 50
    assert counts[CHANGED] > 50
    assert size == 40 or counts[STALE] > 5
    if counts[STALE]:
        errors = [compare_rows(old[node], new[node]) for node, state in states.items() if state == STALE]
        assert max(errors) > 1e-4


def test_lists_of_whole_components_are_never_stale(grown):
    change, _ = grown(10_000)
    states = change.judge(np.arange(change.now.n))
    assert set(states.tolist()) == {SAME, CHANGED}
    np.testing.assert_array_equal(change.judge(np.arange(change.now.n), threads=2), states)


def test_an_unchanged_graph_leaves_every_row_the_same(grown, tmp_path):
    change, _ = grown(15)
    nothing = save_array(str(tmp_path), "changed", np.zeros((2, 0), np.int64))
    still = GraphChange(change.now, change.now, str(tmp_path), nothing, 15)
    assert not still.judge(np.arange(change.now.n)).any()


def test_differences_are_over_the_union_of_two_lists():
    old = np.array([5, 1]), np.array([3.0, 4.0])
    assert compare_rows(old, (np.array([1, 5]), np.array([4.0, 3.0]))) == 0
    assert compare_rows(old, (np.array([1, 9]), np.array([4.0, 3.0]))) == pytest.approx(np.sqrt(18) / 5)
    nothing = np.zeros(0, int), np.zeros(0)
    assert compare_rows(nothing, nothing) == 0
