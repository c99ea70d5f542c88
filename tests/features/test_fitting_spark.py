"""Sums over a distributed sample against the dense formulas."""

import numpy as np
import pytest

from resight.features.fitting.spark import sample_rows, select_images, sum_covariance, sum_differences
from resight.features.whitening import CovarianceSums, fit_learned_whitening, pair_sums

ROW = "image_id bigint, vector binary"


@pytest.fixture(scope="module")
def vectors():
    X = np.random.default_rng(3).normal(size=(60, 6)).astype("f4")
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def described(spark, X, order):
    return spark.createDataFrame([(int(i), bytearray(X[i].tobytes())) for i in order], ROW)


@pytest.mark.parametrize("n_partitions", [1, 3, 90])
def test_learned_whitening_over_partitions_equals_the_dense_one(spark, vectors, rng, n_partitions):
    pairs = np.array([(i, i + 1) for i in range(0, 58, 2)])
    rows = described(spark, vectors, rng.permutation(60)).repartition(n_partitions)
    listed = [(int(a), int(b)) for a, b in rng.permutation(pairs)] + [(0, 999), (-4, 3)]
    frame = spark.createDataFrame(listed, "image_a bigint, image_b bigint").repartition(n_partitions)
    matching = sum_differences(frame, rows, dtype="float32")
    everything = sum_covariance(rows, dtype="float32")
    D = vectors[pairs[:, 0]].astype("f8") - vectors[pairs[:, 1]]
    assert matching.n == len(pairs)
    np.testing.assert_allclose(matching.outer, D.T @ D, atol=1e-6)
    got, _ = fit_learned_whitening(matching, everything, dims=4)
    dense = fit_learned_whitening(pair_sums(vectors, pairs), CovarianceSums.of_rows(vectors), dims=4)[0]
    np.testing.assert_allclose(got.projection, dense.projection, rtol=1e-4, atol=1e-4)


def test_sums_do_not_depend_on_the_partitions(spark, vectors, rng):
    sums = [
        sum_covariance(described(spark, vectors, rng.permutation(60)).repartition(n), dtype="float32")
        for n in (1, 5)
    ]
    assert sums[0].to_bytes() == sums[1].to_bytes()


def test_a_vector_without_direction_is_left_out(spark, vectors):
    X = vectors.copy()
    X[::4] = 0
    sums = sum_covariance(described(spark, X, range(60)), dtype="float32")
    rest = CovarianceSums.of_rows(X[X.any(axis=1)])
    assert sums.n == rest.n == 45
    np.testing.assert_allclose(sums.covariance, rest.covariance, atol=1e-7)


def test_nothing_to_fit_on_is_an_error(spark, vectors):
    rows = described(spark, vectors, [1, 2])
    none = spark.createDataFrame([(1, 50)], "image_a bigint, image_b bigint")
    with pytest.raises(ValueError, match="no usable descriptor"):
        sum_differences(none, rows, dtype="float32")


def test_a_sample_is_drawn_by_key_and_seed(spark):
    rows = spark.range(2000).withColumnRenamed("id", "image_id")
    draws = [
        {row[0] for row in sample_rows(frame, ["image_id"], sample=500, seed=seed).collect()}
        for frame, seed in ((rows, 1), (rows.repartition(7), 1), (rows, 2))
    ]
    assert draws[0] == draws[1] != draws[2]
    assert 400 < len(draws[0]) < 600
    assert sample_rows(rows, ["image_id"], sample=2000, seed=1).count() == 2000


def test_images_are_chosen_by_their_columns_and_those_of_the_manifest(spark):
    rows = [
        (1, "a", 640, {"split": "train"}),
        (2, "a", 800, {"split": "test"}),
        (3, "b", None, None),
        (4, "b", 640, {"split": "train"}),
    ]
    schema = "image_id bigint, source_id string, width int, extra map<string,string>"
    images = spark.createDataFrame(rows, schema)
    for allowed, expected in (
        ({"split": ["train"]}, {1, 4}),
        ({"split": ["train", "test"], "source_id": ["a"]}, {1, 2}),
        ({"source_id": ["b"]}, {3, 4}),
        ({"width": ["640"], "image_id": ["2", "4"]}, {4}),
        ({"colour": ["red"]}, set()),
        ({}, {1, 2, 3, 4}),
    ):
        assert {row["image_id"] for row in select_images(images, allowed).collect()} == expected
