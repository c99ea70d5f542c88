"""Distributed discovery equals the kernels, whatever the blocks."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from resight.discovery.centrality import cut_blocks
from resight.discovery.found import FOUND, Found, lay_out
from resight.discovery.spark import (
    build_region_graph,
    climb_regions,
    list_regions,
    solve_centrality,
    write_bank,
)
from resight.discovery.work import CentralityWork
from resight.features.photos import Failure
from resight.features.whitening import Whitening
from resight.knn.inverted.spark import build_lists
from resight.knn.spark import list_neighbors
from tests.discovery.oracles import dense_katz, slow_climb
from tests.discovery.reference import join_mutual
from tests.synthetic import unit

N, K = 14, 5


def draw_found(rng):
    """Three boxes of each of 14 images, of six kinds; one image failed, one has no box."""
    kinds = unit(rng.normal(size=(6, 10)))
    found = []
    for i in range(N):
        n = 0 if i == 5 else 3
        V = unit(kinds[rng.integers(6, size=n)] + 0.15 * rng.normal(size=(n, 10)))
        boxes = np.sort(rng.uniform(size=(n, 2, 2)), axis=1).reshape(n, 4)
        numbers = rng.uniform(size=(2, n))
        arrays = [array.astype(np.float32) for array in (boxes, *numbers, V, rng.uniform(size=(4, 4)))]
        found.append(Failure("nan", "why") if i == 9 else Found(*arrays))
    return found


@pytest.fixture(scope="module")
def world(spark, tmp_path_factory):

    rng = np.random.default_rng(0)
    found, ids = draw_found(rng), rng.permutation(N) * 11
    rows = pa.table({"image_id": ids, "content_hash": [f"h{i}" for i in ids]})
    order = rng.permutation(N)
    table = lay_out(rows, found, dtype="float32").take(order)
    assert table.schema == FOUND
    regions = list_regions(spark.createDataFrame(table), seed=1).cache()
    bank = write_bank(regions, str(tmp_path_factory.mktemp("bank")))
    lists = list_neighbors(spark, bank.vectors, k=K, block_rows=9)
    graph = build_region_graph(lists, bank, gamma=3.0, keep_own=False, hold=lambda frame: frame.cache())
    opened = bank.open()
    A = join_mutual(opened.X.rows(0, bank.vectors.n), opened.image, k=K, gamma=3)
    return dict(zip(ids.tolist(), found, strict=True)), regions, bank, graph, A


def test_every_box_is_a_row_and_vectors_are_whitened(spark, world, rng):
    found, regions, _, _, _ = world
    rows = regions.toArrow().to_pylist()
    assert len({row["node_id"] for row in rows}) == len(rows) == 3 * (N - 2)
    for row in rows:
        one, i = found[row["image_id"]], row["region_ix"]
        assert np.frombuffer(row["vector"], np.float32).tolist() == one.vectors[i].tolist()
        assert [row[name] for name in ("y0", "x0", "y1", "x1")] == one.boxes[i].tolist()
        assert (row["weight"], row["saliency"]) == (one.weights[i], one.saliency[i])
    W = Whitening(rng.normal(size=10), rng.normal(size=(10, 3)))
    ids = list(found)

    whole = pa.table({"image_id": ids, "content_hash": [str(i) for i in ids]})
    frame = spark.createDataFrame(lay_out(whole, list(found.values()), dtype="float32"))
    for row in list_regions(frame, [W.to_bytes()]).toArrow().to_pylist():
        expected = W.apply(found[row["image_id"]].vectors[row["region_ix"]][None])[0]
        np.testing.assert_allclose(np.frombuffer(row["vector"], np.float32), expected, rtol=1e-5)


def test_boxes_of_one_image_are_not_joined_and_the_graph_is_that_of_all_pairs(world):
    graph, A = world[3:]
    G = graph.open()
    B = np.zeros_like(A)
    B[np.ix_(G.ids, G.ids)] = G.affinity_among(np.arange(G.n)).toarray()
    np.testing.assert_allclose(B, A, rtol=1e-5)
    assert (A > 0).sum() > 2 * len(A)
    assert len(cut_blocks(G.S, block_nodes=1)) > 2


@pytest.mark.parametrize("block_nodes", [1, 3, 1000])
def test_centrality_and_climbs_do_not_depend_on_blocks(spark, world, block_nodes):
    _, _, bank, graph, A = world
    work = CentralityWork(graph, 0.9, 1e-10)
    central, figures = solve_centrality(spark, graph, bank, work, block_nodes=block_nodes)
    np.testing.assert_allclose(central.open().g, dense_katz(A, 0.9), rtol=1e-6)
    assert figures["residual"] <= 1e-10
    steps = climb_regions(spark, graph, bank, floor=0.4, block_nodes=block_nodes).toArrow()
    ids = bank.open().X.id_of(np.arange(len(A)))
    expected = [(ids[i], ids[j]) for i, j in enumerate(slow_climb(A, np.arange(len(A)), 0.4)) if i != j]
    assert sorted(zip(steps["src"].to_pylist(), steps["dst"].to_pylist(), strict=True)) == sorted(expected)


def test_inverted_lists_that_are_all_visited_find_the_boxes_of_an_exact_search(spark, world, rng, tmp_path):
    bank = world[2]
    U = unit(rng.normal(size=(6, 10))).astype(np.float32)
    lists = build_lists(spark, bank.vectors, str(tmp_path), k=K, recall=0.9, seed=0)
    inverted = replace(bank, lists=replace(lists, n_probes=len(lists.arrays()[0])))
    without = bank.open().boxes_of(11)
    exact, found = (one.open().nearest(U, k=7, without=without) for one in (bank, inverted))
    np.testing.assert_array_equal(found[0], exact[0])
    np.testing.assert_allclose(found[1], exact[1], atol=1e-6)
