from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyspark.sql import functions as sf

import resight.knn.storage.spark as storage
from resight.arrow import arrow_to_lists, vectors_to_arrow
from resight.knn.inverted.spark import build_lists, search_inverted
from resight.knn.spark import (
    Approximation,
    build_neighbors,
    expand_lists,
    measure_recall,
    neighbors_long,
    search_vectors,
    write_vector_files,
)


def planted(rng, n=60, d=8):
    """Vectors with copies, near ties, a zero and a NaN; ids with holes, in no order."""
    X = rng.integers(-2, 3, (n, d)).astype(np.float32)
    X[X.any(axis=1) == 0] = 1
    X[n // 2 : n // 2 + 10] = X[:10]
    X[-5:] = X[0]
    X[20], X[21, 0] = 0, np.nan
    return rng.permutation(10 * n)[:n].astype(np.int64), X


def to_frame(spark, ids, X):
    return spark.createDataFrame(
        pa.table({"image_id": ids, "vector": vectors_to_arrow(X.astype(np.float16))})
    )


def lists_of(frame):
    table = frame.toArrow().sort_by("src")
    offsets, dst = arrow_to_lists(table["dst"], "int64")
    similarity = arrow_to_lists(table["similarity"], "float32")[1]
    src = table["src"].to_pylist()
    return {
        s: list(zip(dst[a:b].tolist(), similarity[a:b].tolist(), strict=True))
        for s, a, b in zip(src, offsets, offsets[1:], strict=False)
    }


def oracle(ids, X, k, max_copies):
    """Sort the full similarity matrix; count distinct vectors."""
    ok = np.isfinite(X).all(axis=1) & X.any(axis=1)
    order = np.argsort(ids[ok])
    ids, X = ids[ok][order], X[ok][order].astype(np.float64)
    X = (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)
    first = [int(np.flatnonzero((x == X).all(axis=1))[0]) for x in X]
    S = np.minimum((X.astype(np.float64)[:, None, :] * X[None]).sum(-1), 1).astype(np.float32)
    lists = {}
    for i in range(len(ids)):
        others = [j for j in range(len(ids)) if first[j] == j and j != first[i]]
        others = sorted(others, key=lambda j: (-S[first[i], j], j))[:k]
        entries = [(int(ids[m]), 1.0) for m in members(first, first[i], max_copies) if m != i]
        for j in others:
            entries += [(int(ids[m]), float(S[first[i], j])) for m in members(first, j, max_copies)]
        lists[int(ids[i])] = sorted(entries, key=lambda e: (-e[1], e[0]))
    return lists


def members(first, j, cap):
    return [m for m in range(len(first)) if first[m] == j][:cap]


@pytest.mark.parametrize(("block_rows", "part_rows"), [(7, 1000), (1000, 25)])
def test_exact_neighbors_equal_sorted_similarity_matrix(
    spark, rng, tmp_path, monkeypatch, block_rows, part_rows
):
    ids, X = planted(rng)
    monkeypatch.setattr(storage, "PART_ROWS", part_rows)
    files = write_vector_files(to_frame(spark, ids, X).repartition(3), str(tmp_path))
    assert len(files.parts) == (3 if part_rows < 60 else 1)
    found = lists_of(build_neighbors(spark, files, k=5, max_copies=3, block_rows=block_rows))
    assert found == oracle(ids, X, 5, 3)
    assert (files.n, files.n_zero, files.n_nan) == (58, 1, 1)


def test_results_do_not_depend_on_block_size(spark, rng, tmp_path):
    X = rng.integers(-1, 2, (12, 4)).astype(np.float32)
    X[~X.any(axis=1)] = 1
    files = write_vector_files(to_frame(spark, np.arange(12), X), str(tmp_path))
    lists = [lists_of(build_neighbors(spark, files, k=3, max_copies=2, block_rows=b)) for b in (1, 3, 100)]
    assert lists[0] == lists[1] == lists[2] == oracle(np.arange(12), X, 3, 2)


@pytest.mark.parametrize("depth", [1, 4, 58, "all"])
def test_search_equals_sorted_similarities(spark, rng, tmp_path, depth):
    ids, X = planted(rng)
    files = write_vector_files(to_frame(spark, ids, X), str(tmp_path))
    queries = to_frame(spark, np.arange(6), X[18:24]).withColumnRenamed("image_id", "query_id")
    queries = queries.withColumn("image_id", sf.when(sf.col("query_id") == 0, sf.lit(int(ids[18]))))
    rows = search_vectors(queries, files, depth=depth).toArrow()
    found = rows.sort_by([("query_id", "ascending"), ("rank", "ascending")])
    S = unit(X[18:24]) @ unit(X).T
    for query in (0, 1, 4, 5):
        mine = found.filter(pc.equal(found["query_id"], query))
        usable = [i for i in range(60) if i not in (20, 21) and not (query == 0 and i == 18)]
        best = sorted(usable, key=lambda i: (-np.float32(min(S[query, i], 1)), ids[i]))
        best = best[: 60 if depth == "all" else depth]
        assert mine["image_id"].to_pylist() == ids[best].tolist()
        assert mine["rank"].to_pylist() == list(range(len(best)))
    assert set(found["query_id"].to_pylist()) == {0, 1, 4, 5}


def unit(X):
    with np.errstate(invalid="ignore"):
        X = X.astype(np.float64) / np.linalg.norm(X.astype(np.float64), axis=1, keepdims=True)
    return X.astype(np.float32).astype(np.float64)


def test_exact_graph_has_recall_one_and_a_spoiled_one_less(spark, rng, tmp_path):
    ids, X = planted(rng)
    files = write_vector_files(to_frame(spark, ids, X), str(tmp_path))
    neighbors = build_neighbors(spark, files, k=6).localCheckpoint()
    row = measure_recall(neighbors, files, k=6, n_queries=30).first()
    assert (row.recall, row.high, row.n_queries) == (1, pytest.approx(1), 30)
    assert 0.88 < row.low < 0.9
    long = neighbors_long(neighbors)
    assert long.where("rank = 0").count() == 58
    spoiled = neighbors.selectExpr("src", "substr(dst, 1, 8) dst", "substr(similarity, 1, 4) similarity")
    assert measure_recall(spoiled, files, k=6, n_queries=30).first().recall < 0.5


def test_inverted_lists_reach_the_recall_and_do_not_depend_on_blocks(spark, rng, tmp_path):
    centres = rng.standard_normal((40, 16))
    X = (centres[rng.integers(0, 40, 800)] + 0.5 * rng.standard_normal((800, 16))).astype(np.float32)
    X[700:720] = X[:20]
    files = write_vector_files(to_frame(spark, np.arange(800), X), str(tmp_path))
    rough = build_neighbors(spark, files, k=10, approximate=Approximation(0.9)).localCheckpoint()
    assert measure_recall(rough, files, k=10).first().recall > 0.87
    inverted = build_lists(spark, files, str(tmp_path / "lists"), k=10, recall=0.9, seed=0)
    n_lists = len(inverted.arrays()[0])
    assert inverted.n_probes < n_lists
    small = search_inverted(spark, files, inverted, k=10, query_rows=190)
    assert lists_of(expand_lists(small, files, max_copies=10)) == lists_of(rough)
    full = search_inverted(spark, files, replace(inverted, n_probes=n_lists), k=10)
    exact = lists_of(build_neighbors(spark, files, k=10))
    assert lists_of(expand_lists(full, files, max_copies=10)) == exact
