import numpy as np
import pyarrow as pa
import pytest

from resight.arrow import lists_to_arrow
from resight.graph.affinity import mutual_affinity
from resight.graph.spark import build_edges, find_components
from tests.graph.shapes import SHAPES, labels_by_networkx
from tests.graph.test_affinity import exact_lists


@pytest.mark.parametrize("max_task_edges", [30, 10**6])
@pytest.mark.parametrize("name", ["random", "chain", "star", "giant"])
def test_components_equal_networkx_in_one_task_and_by_rounds(spark, tmp_path, rng, name, max_task_edges):
    src, dst = SHAPES[name](rng)
    edges = spark.createDataFrame(pa.table({"src": src, "dst": dst})).repartition(4)
    labels = find_components(edges, folder=str(tmp_path), max_task_edges=max_task_edges).toArrow()
    found = dict(zip(labels["node_id"].to_pylist(), labels["component_id"].to_pylist(), strict=True))
    assert found == labels_by_networkx(src, dst)
    assert (tmp_path / "round-0").exists() == (max_task_edges == 30)


def neighbors_of(spark, X, k, ids):
    offsets, dst, similarity = exact_lists(X, k)
    columns = [ids, lists_to_arrow(offsets, ids[dst]), lists_to_arrow(offsets, similarity)]
    rows = pa.table([pa.array(ids), *columns[1:]], names=["src", "dst", "similarity"])
    return spark.createDataFrame(rows), mutual_affinity(offsets, dst, similarity, gamma=3)


def edge_set(rows):
    return {
        (s, d): w for s, d, w in zip(*(rows[c].to_pylist() for c in ("src", "dst", "affinity")), strict=True)
    }


@pytest.mark.parametrize("partitions", [1, 5])
def test_distributed_edges_equal_local_affinity(spark, rng, partitions):
    X = rng.normal(size=(40, 6))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    ids = np.sort(rng.choice(10**9, 40, replace=False))
    neighbors, A = neighbors_of(spark, X, 6, ids)
    none = spark.createDataFrame([], "node_id long, dup_of long")
    edges = build_edges(neighbors.repartition(partitions), none, gamma=3.0).toArrow()
    expected = A.tocoo()
    pairs = zip(ids[expected.row].tolist(), ids[expected.col].tolist(), expected.data, strict=True)
    assert edge_set(edges) == pytest.approx({(s, d): w for s, d, w in pairs})


def test_copies_have_no_edges_of_their_own(spark, rng):
    X = rng.normal(size=(20, 4))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    ids = np.arange(20) + 100
    neighbors, _ = neighbors_of(spark, X, 8, ids)
    copies = spark.createDataFrame([(107, 101)], "node_id long, dup_of long")
    edges = edge_set(build_edges(neighbors, copies, gamma=1.0).toArrow())
    assert edges
    assert not any(107 in pair for pair in edges)
