"""Scores freed from the background: equal to plain numpy, whatever the order and the partitions."""

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as sf

from resight.arrow import vectors_to_arrow
from resight.dedup.background.spark import measure_bias, pair_above
from resight.knn.spark import build_neighbors, write_vector_files

K, TOP = 12, 3


def table_of(spark, ids, X):
    return spark.createDataFrame(pa.table({"image_id": ids, "vector": vectors_to_arrow(X)}))


@pytest.fixture(scope="module")
def drawn(spark, tmp_path_factory):
    """Vectors of images and of a background; some of both share one direction, that of a white page."""
    rng, folder = np.random.default_rng(3), tmp_path_factory.mktemp("vectors")
    X = rng.standard_normal((40, 16))
    X[::3] += 4 * np.eye(16)[0]
    X = (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float16)
    ids = rng.permutation(np.arange(100, 140))
    own, known = (table_of(spark, ids[part], X[part]) for part in (slice(0, 25), slice(25, 40)))
    layout = write_vector_files(own, str(folder / "own"))
    neighbors = build_neighbors(spark, layout, k=K, block_rows=7).localCheckpoint()
    background = write_vector_files(known, str(folder / "known"))
    return own, background, neighbors, ids, X.astype(np.float64)


def biases_by_numpy(X):
    return np.sort(X[:25] @ X[25:].T, axis=1)[:, -TOP:].mean(axis=1)


def test_the_bias_is_the_mean_of_the_nearest_of_the_background(drawn):
    own, background, _, ids, X = drawn
    expected = dict(zip(ids.tolist(), biases_by_numpy(X), strict=False))
    for n_parts in (1, 3):
        rows = measure_bias(own.orderBy("image_id").repartition(n_parts), background, top=TOP).collect()
        assert {row["image_id"]: row["bias"] for row in rows} == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(("margin", "weight", "top"), [(0.1, 1.0, 12), (-0.2, 0.5, 2), (0.3, 0.0, 12)])
def test_pairs_are_those_whose_score_remains(spark, drawn, margin, weight, top):
    own, background, neighbors, _, _ = drawn
    rows = measure_bias(own, background, top=TOP).collect()
    bias = {row["image_id"]: row["bias"] for row in rows}
    expected = set()
    for row in neighbors.collect():
        dst = np.frombuffer(row["dst"], "<i8").tolist()
        listed = zip(dst, np.frombuffer(row["similarity"], "<f4").tolist(), strict=True)
        scored = sorted((weight * (bias[row["src"]] + bias[d]) / 2 - s, d) for d, s in listed)
        expected |= {tuple(sorted((row["src"], d))) for minus, d in scored[:top] if -minus >= margin}
    shuffled = neighbors.orderBy(sf.xxhash64("src")).repartition(3)
    biases = spark.createDataFrame(list(bias.items()), "image_id long, bias double")
    found = pair_above(shuffled, biases, margin=margin, weight=weight, top=top).collect()
    assert {tuple(row) for row in found} == expected
    assert len(found) == len(expected) > 3


def test_what_resembles_everything_keeps_less_of_its_similarity(drawn):
    _, _, _, _, X = drawn
    bias = biases_by_numpy(X)
    page = np.arange(25) % 3 == 0
    assert bias[page].min() > bias[~page].mean()
