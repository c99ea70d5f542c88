import numpy as np
import pyarrow as pa
import pytest

from resight.arrow import arrow_to_lists, vectors_to_arrow
from resight.knn.spark import build_neighbors, write_vector_files


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


@pytest.mark.parametrize("block_rows", [7, 1000])
def test_exact_neighbors_equal_sorted_similarity_matrix(spark, rng, tmp_path, block_rows):
    ids, X = planted(rng)
    files = write_vector_files(to_frame(spark, ids, X), str(tmp_path))
    found = lists_of(build_neighbors(spark, files, k=5, max_copies=3, block_rows=block_rows))
    assert found == oracle(ids, X, 5, 3)
    assert (files.n, files.n_zero, files.n_nan) == (58, 1, 1)
