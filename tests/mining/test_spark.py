"""Mining on Spark: equal to the kernels, whatever the blocks and the order of the rows."""

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as sf

from resight.diffusion.block import DiffuseWork
from resight.graph.components import find_roots
from resight.graph.matrix import save_graph
from resight.knn.matrix import Part, VectorFiles, save_array, save_part
from resight.mining.manifold import choose_anchors, find_modes, find_stationary
from resight.mining.placing import PlaceWork
from resight.mining.pools import DUPLICATE, LISTED, NEAR, REACHED, VERIFIED, PoolWork
from resight.mining.sampling import Draw
from resight.mining.spark import (
    Links,
    draw_tuples,
    link_images,
    list_anchors,
    list_near,
    list_reached,
    mine_anchors,
    place_nodes,
    represent_images,
    search_near,
    solve_reached,
    split_pools,
    weigh_tuples,
)
from resight.tables import DUPLICATE_GROUPS, DUPLICATE_PAIRS, NODES, VERIFIED_PAIRS
from tests.diffusion.planted_curves import affinity_of
from tests.mining.planted import draw_arcs, sort_lists

N = 240  # 8 arcs of 30 points; ids are 7 apart, from 50 on


@pytest.fixture(scope="module")
def arcs():
    return draw_arcs(np.random.default_rng(3), n_arcs=8, n_points=30)


@pytest.fixture(scope="module")
def ids():
    return 50 + 7 * np.random.default_rng(9).permutation(N)


@pytest.fixture(scope="module")
def graph(arcs, ids, tmp_path_factory):
    A = affinity_of(arcs.X, 8).tocoo()
    edges = ids[A.row], ids[A.col]
    known, roots = find_roots(*edges)
    everyone = np.sort(ids)
    component = everyone.copy()
    component[np.searchsorted(everyone, known)] = roots
    return save_graph(str(tmp_path_factory.mktemp("graph")), everyone, component, (*edges, A.data))


@pytest.fixture(scope="module")
def vectors(arcs, ids, tmp_path_factory):
    folder, order = str(tmp_path_factory.mktemp("vectors")), np.argsort(ids)
    X = arcs.X[order].astype(np.float32)
    halves = [(0, 100), (100, N)]
    parts = [Part(save_part(folder, i, ids[order][a:b], X[a:b]), a, b - a) for i, (a, b) in enumerate(halves)]
    return VectorFiles(folder, 16, "float32", tuple(parts))


def frame(spark, rows, schema):
    return spark.createDataFrame(pa.Table.from_pylist(rows, schema=schema))


def complete(rows, table):
    """Rows of a table, null where nothing is said."""
    schema = pa.schema([field for field in table.schema if field.name != "build_id"])
    return pa.Table.from_pylist(rows, schema=schema)


def no_links(spark, ids):
    represented = spark.createDataFrame(pa.table({"image_id": ids, "kept": ids}))
    pairs = spark.createDataFrame([], "a long, b long, kind string, value float")
    return Links(represented, pairs)


@pytest.fixture(scope="module")
def placed(spark, graph, ids):
    return place_nodes(PlaceWork(graph, max_cluster=0.15, validation=0.3), no_links(spark, ids)).cache()


def by_id(rows, *names):
    table = rows.toArrow().sort_by(names[0])
    return [table[name].to_numpy(zero_copy_only=False) for name in names]


def test_anchors_are_those_of_the_kernel(placed, arcs, ids):
    A, order = affinity_of(arcs.X, 8), np.argsort(ids)
    pi, is_mode = find_stationary(A), find_modes(A, ids)
    nodes, found, modes = by_id(placed, "node_id", "pi", "is_mode")
    np.testing.assert_array_equal(nodes, ids[order])
    np.testing.assert_allclose(found, pi[order], rtol=1e-9)
    np.testing.assert_array_equal(modes, is_mode[order])
    best = [row["anchor"] for row in list_anchors(placed, n=7).collect()]
    rounded = np.round(find_stationary(A), 12)
    assert set(best) == set(ids[choose_anchors(rounded, is_mode, ids, n=7)])
    assert list_anchors(placed).count() == is_mode.sum()


def test_clusters_lie_on_one_side_and_the_share_is_reached(placed, arcs, ids):
    nodes, cluster, split = by_id(placed, "node_id", "cluster_id", "split")
    validates = split == "validation"
    for one in np.unique(cluster):
        assert len(set(validates[cluster == one])) == 1
        assert nodes[cluster == one].min() == one
    assert 0.2 < validates.mean() <= 0.3
    arc = arcs.labels[np.argsort(ids)]
    largest = [np.unique(cluster[arc == one], return_counts=True)[1].max() for one in range(8)]
    assert np.mean(largest) > 25  # an arc of 30 is one cluster, or nearly


@pytest.fixture(scope="module")
def listed(spark, graph, vectors, placed):
    anchors = list_anchors(placed).cache()
    near = search_near(anchors.repartition(3), vectors, k=60)
    work = DiffuseWork(graph, "1", 0.99, N, N, 200, 1e-9, "float64")
    return anchors, near.cache(), solve_reached(anchors.repartition(3), work).cache()


def test_lists_of_anchors_are_those_of_a_full_sort(listed, arcs, ids):
    anchors, near, reached = listed
    chosen = np.array(sorted(row["anchor"] for row in anchors.collect()))
    rows = np.argsort(ids)[np.searchsorted(np.sort(ids), chosen)]
    expected = sort_lists(arcs.X[rows] @ arcs.X.T, rows).first(60)
    table = near.toArrow().sort_by([("anchor", "ascending"), ("place", "ascending")])
    np.testing.assert_allclose(table["value"].to_numpy(), expected.value, atol=1e-6)
    np.testing.assert_array_equal(table["anchor"].to_numpy(), chosen[expected.row])
    assert set(reached.toArrow()["anchor"].to_pylist()) == set(chosen.tolist())


def add_links(listed):
    """Let the first in each list be a duplicate, and some further ones be verified."""
    pairs = (
        listed[1]
        .where("place in (0, 5)")
        .selectExpr(
            "least(anchor, item) as a",
            "greatest(anchor, item) as b",
            f"if(place = 0, '{DUPLICATE}', '{VERIFIED}') as kind",
            "cast(20 + anchor % 5 as float) as value",
        )
    )
    return pairs.distinct()


@pytest.mark.parametrize("n_blocks", [1, 3, 1000])
def test_pools_and_tuples_of_blocks_are_those_of_everything_at_once(spark, listed, vectors, ids, n_blocks):
    anchors, near, reached = listed
    links = no_links(spark, ids)._replace(pairs=add_links(listed))
    work = PoolWork(vectors, k_positive=20, k_negative=40)
    shuffled = [rows.orderBy(sf.rand(7)) for rows in (near, reached)]
    pools = mine_anchors(anchors, tuple(shuffled), links, work, n_blocks=n_blocks).cache()
    order = [(name, "ascending") for name in ("anchor", "role", "source", "rank")]
    expected = work(collect_listed(near, reached, links, anchors)).sort_by(order)
    assert pools.toArrow().sort_by(order).equals(expected.cast(pools.toArrow().schema))
    assert {*expected["source"].to_pylist()} == {"manifold", "verified"}
    kept, _ = split_pools(pools, anchors, near.limit(0).selectExpr("item as node_id", "'' as split"))
    assert kept.count() == 0  # what is on no side is nowhere


def collect_listed(near, reached, links, anchors):
    both = [
        links.pairs.selectExpr(f"{a} as anchor", f"{b} as item", "kind", "value") for a, b in ("ab", "ba")
    ]
    linked = both[0].union(both[1]).join(anchors.select("anchor"), "anchor", "left_semi")
    linked = linked.withColumn("place", (-sf.col("value")).cast("int")).select(*LISTED.names)
    return near.union(reached).union(linked).toArrow().cast(LISTED)


def test_no_duplicate_is_in_a_pool_and_no_verified_item_a_negative(spark, listed, vectors, ids, placed):
    anchors, near, reached = listed
    links = no_links(spark, ids)._replace(pairs=add_links(listed))
    everything = collect_listed(near, reached, links, anchors).to_pylist()
    keys = {kind: {(r["anchor"], r["item"]) for r in everything if r["kind"] == kind} for kind in KINDS}
    rows = PoolWork(vectors, k_positive=20, k_negative=40)(collect_listed(near, reached, links, anchors))
    pools = {
        role: {(r["anchor"], r["item"]) for r in rows.to_pylist() if r["role"] == role} for role in ROLES
    }
    assert not keys[DUPLICATE] & (pools["positive"] | pools["negative"])
    assert not keys[VERIFIED] & pools["negative"]
    assert keys[VERIFIED] - keys[DUPLICATE] <= pools["positive"]
    assert not pools["positive"] & pools["negative"]


KINDS, ROLES = (NEAR, REACHED, VERIFIED, DUPLICATE), ("positive", "negative")


def test_nothing_crosses_and_weights_have_mean_one(spark, listed, vectors, ids, placed):
    anchors, near, reached = listed
    work = PoolWork(vectors, k_positive=20, k_negative=40)
    pools = mine_anchors(anchors, (near, reached), no_links(spark, ids), work, n_blocks=2).cache()
    kept, crossing = (rows.cache() for rows in split_pools(pools, anchors, placed))
    assert kept.count() + crossing.count() == pools.count()
    assert crossing.count() > 0
    sides = dict(zip(*by_id(placed, "node_id", "split"), strict=True))
    for row in kept.collect():
        assert sides[row["anchor"]] == sides[row["item"]] == row["split"]
    tuples = [draw_tuples(kept, Draw(seed=4), n_blocks=n).toArrow() for n in (1, 50)]
    order = [(name, "ascending") for name in ("anchor", "positive", "rank")]
    assert tuples[0].sort_by(order).equals(tuples[1].sort_by(order))
    weighed = weigh_tuples(spark.createDataFrame(tuples[0])).where("rank = 0").toArrow()
    assert abs(weighed["weight"].to_numpy().mean() - 1) < 1e-5
    assert set(weighed["split"].to_pylist()) == {"train", "validation"}


def test_copies_are_represented_by_what_is_kept(spark):
    nodes = [{"node_id": i, "image_id": i, "status": "ok", "dup_of": {11: 10}.get(i)} for i in range(10, 20)]
    nodes += [{"node_id": 99, "image_id": 99, "status": "nan"}]
    groups = [{"image_id": i, "group_id": 1, "keep": i == 11} for i in (10, 11, 12)]  # 11 equals 10
    groups += [{"image_id": i, "group_id": 2, "keep": i == 15} for i in (14, 15, 99)]
    nodes, groups = (complete(rows, t) for rows, t in ((nodes, NODES), (groups, DUPLICATE_GROUPS)))
    frames = [spark.createDataFrame(rows) for rows in (nodes, groups)]
    kept = {row["image_id"]: row["kept"] for row in represent_images(*frames).collect()}
    assert kept == {i: i for i in range(10, 20)} | {11: 10, 12: 10, 14: 15}
    assert {row["kept"] for row in represent_images(frames[0], None).collect()} == {*range(10, 20)} - {11}


def test_pairs_of_copies_are_pairs_of_what_stands_for_them(spark):
    represented = spark.createDataFrame(pa.table({"image_id": [1, 2, 3, 4, 5], "kept": [1, 1, 3, 4, 4]}))
    pairs = [(1, 2, "near"), (2, 3, "same_scene"), (3, 4, "crop"), (4, 9, "near")]
    names = ("image_a", "image_b", "relation")
    duplicates = complete([dict(zip(names, pair, strict=True)) for pair in pairs], DUPLICATE_PAIRS)
    verified = [(1, 5, 30, "ok"), (2, 4, 40, "ok"), (1, 3, 19, "ok"), (2, 5, 90, "missing")]
    names = ("image_a", "image_b", "n_inliers", "status")
    verified = complete([dict(zip(names, pair, strict=True)) for pair in verified], VERIFIED_PAIRS)
    frames = [spark.createDataFrame(rows) for rows in (duplicates, verified)]
    links = link_images(represented, *frames, min_inliers=20).collect()
    assert {tuple(row) for row in links} == {(1, 3, VERIFIED, 0), (3, 4, DUPLICATE, 0), (1, 4, VERIFIED, 40)}
    assert link_images(represented, None, None, min_inliers=20).count() == 0


def test_copies_are_left_out_of_the_walk_and_bound_images_stay_together(spark, graph, ids, arcs):
    first, second, other = (int(ids[i]) for i in (3, 4, 200))
    represented = spark.createDataFrame(
        [(i, second if i == first else i) for i in ids.tolist()], "image_id long, kept long"
    )
    pairs = spark.createDataFrame(
        [(min(second, other), max(second, other), VERIFIED, 30.0)], "a long, b long, kind string, value float"
    )
    work = PlaceWork(graph, max_cluster=0.15, validation=0.3)
    rows = {row["node_id"]: row for row in place_nodes(work, Links(represented, pairs)).collect()}
    assert rows[first]["is_linked"] is rows[first]["is_mode"] is False
    assert rows[first]["pi"] == pytest.approx(1 / N)
    assert rows[first]["cluster_id"] == rows[second]["cluster_id"] == rows[other]["cluster_id"]
    assert abs(sum(row["pi"] for row in rows.values()) - 1) < 1e-9


def test_a_mask_keeps_images_out_of_the_lists(spark, vectors, listed, tmp_path):
    anchors = listed[0]
    allowed = np.arange(N) % 3 > 0
    name = save_array(str(tmp_path), "allowed", allowed)
    near = search_near(anchors, vectors, k=10, allowed=(str(tmp_path), name)).toArrow()
    X = vectors.open()
    assert allowed[X.ordinal_of(near["item"].to_numpy())].all()
    assert len(near) == 10 * anchors.count()


def test_packed_lists_of_anchors_are_unpacked_in_their_order(spark):
    lists, values = [[5, 9, 2], [], [7]], [[0.9, 0.5, 0.5], [], [0.25]]
    packed = [
        [np.array(row, kind).tobytes() for row in rows] for rows, kind in ((lists, "<i8"), (values, "<f4"))
    ]
    rows = pa.table({"src": [1, 2, 3], "dst": packed[0], "similarity": packed[1], "score": packed[1]})
    tables, anchors = spark.createDataFrame(rows), spark.createDataFrame(pa.table({"anchor": [1, 2]}))
    expected = [(1, 5, 0, 0.9), (1, 9, 1, 0.5), (1, 2, 2, 0.5)]
    for kind, operator in ((NEAR, list_near), (REACHED, list_reached)):
        found = operator(anchors, tables).toArrow().to_pylist()
        assert {row["kind"] for row in found} == {kind}
        found = sorted((row["anchor"], row["place"], row["item"], round(row["value"], 6)) for row in found)
        assert found == sorted((a, place, item, value) for a, item, place, value in expected)
