import numpy as np
import pytest

from resight.knn.growth.spark import measure_drift, update_lists
from resight.knn.spark import build_neighbors, expand_lists, write_vector_files
from tests.knn.test_spark import lists_of, to_frame

K, MAX_COPIES = 4, 3


def grow(rng, n=50, d=6):
    """A collection before and after: images removed, changed, added, copies of old and of new ones."""
    X = rng.integers(-2, 3, (n, d)).astype(np.float32)
    X[~X.any(axis=1)] = 1
    X[10:16] = X[0]
    ids = rng.permutation(10 * n)[:n].astype(np.int64)
    kept = np.sort(rng.permutation(n)[: n - 8])
    new_ids, later = ids[kept], X[kept].copy()
    later[:3] = rng.integers(-2, 3, (3, d)) + 0.5
    added = rng.integers(-2, 3, (9, d)).astype(np.float32) + 0.25
    added[5], added[6] = later[20], added[4]
    more = np.setdiff1d(rng.permutation(10 * n), ids)[rng.permutation(9 * n)[:9]]
    return (ids, X), (np.concatenate([new_ids, more]), np.concatenate([later, added])), new_ids[:3]


@pytest.mark.parametrize(("seed", "block_rows"), [(0, 7), (1, 1000)])
def test_renewed_lists_equal_those_of_a_graph_built_from_nothing(spark, tmp_path, seed, block_rows):
    before, after, changed = grow(np.random.default_rng(seed))
    old = write_vector_files(to_frame(spark, *before), str(tmp_path / "old"))
    new = write_vector_files(to_frame(spark, *after), str(tmp_path / "new"))
    built = build_neighbors(spark, old, k=K, max_copies=MAX_COPIES, block_rows=block_rows)
    built.write.parquet(str(tmp_path / "built"))
    moved = spark.createDataFrame([(int(i),) for i in changed], "image_id long")

    def hold(frame):
        frame.write.parquet(str(tmp_path / "held"))
        return spark.read.parquet(str(tmp_path / "held"))

    previous = spark.read.parquet(str(tmp_path / "built"))
    lists = update_lists(previous, moved, new, k=K, block_rows=block_rows, hold=hold)
    expanded = expand_lists(lists, new, max_copies=MAX_COPIES)
    renewed = lists_of(expanded)
    anew = build_neighbors(spark, new, k=K, max_copies=MAX_COPIES, block_rows=block_rows)
    assert renewed == lists_of(anew)
    survived = spark.read.parquet(str(tmp_path / "held")).count()
    assert 0 < survived < len(after[0])
    if seed == 1:  # inverted lists that reach every neighbour find the same graph
        drift = measure_drift(expanded, new, k=K, recall=1.0, seed=0, n_sources=9)
        assert drift[:2] == (0, 0)
        assert 5 < drift.n_sources <= 9  # those that are no copies
