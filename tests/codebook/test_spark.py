"""The sample as files, and k-means by tasks: equal to one process, whatever the partitions."""

import numpy as np
import pytest

from resight.codebook import kmeans
from resight.codebook import spark as codebook_spark
from resight.codebook.kmeans import fit_centroids
from resight.codebook.medians import draw_projection, project, word_medians
from resight.codebook.quantize import Quantizer
from resight.codebook.sample import draw_descriptors
from resight.codebook.spark import find_medians, step_over_tasks, write_sample
from resight.store import spark_schema
from resight.tables import LOCAL_DESCRIPTORS

D = 6


@pytest.fixture(scope="module")
def images():
    """Descriptors (n, 6) float16 by image; the last image has none."""
    rng = np.random.default_rng(5)
    return {i: rng.normal(size=(n, D)).astype("f2") for i, n in enumerate([*rng.integers(1, 30, 20), 0])}


def described(spark, images, order, *, dtype="f2"):
    rows = [
        (
            i,
            "",
            len(X),
            bytearray(np.zeros((len(X), 5), "<f4").tobytes()),
            bytearray(X.astype(dtype).tobytes()),
        )
        for i, X in ((i, images[i]) for i in order)
    ]
    return spark.createDataFrame([(*row, "ok", None) for row in rows], spark_schema(LOCAL_DESCRIPTORS))


def points_of(sample):
    return np.concatenate(list(sample.read(sample.names)))


def drawn_points(images, share):
    draws = {i: draw_descriptors(i, len(X), 0) for i, X in images.items()}
    return np.concatenate([X[draws[i] < share] for i, X in images.items()])


@pytest.mark.parametrize("part_rows", [20, 1000])
def test_the_sample_is_drawn_by_hash_whatever_the_partitions(
    spark, tmp_path, monkeypatch, images, rng, part_rows
):
    monkeypatch.setattr(codebook_spark, "PART_ROWS", part_rows)
    total = sum(map(len, images.values()))
    rows = described(spark, images, rng.permutation(21).tolist()).repartition(4)
    drawn = write_sample(rows, str(tmp_path), dtype="float16", n_points=total // 2, k=9, seed=0)
    expected = drawn_points(images, (total // 2) / total)
    found = points_of(drawn.sample)
    np.testing.assert_array_equal(np.unique(found, axis=0), np.unique(expected, axis=0))
    assert (drawn.sample.n, drawn.sample.d) == (len(expected), D)
    ranked = np.concatenate([draw_descriptors(i, len(X), 0) for i, X in images.items()])
    everything = np.concatenate(list(images.values())).astype("f4")
    np.testing.assert_array_equal(drawn.start, everything[np.argsort(ranked)[:9]])


def test_what_is_no_number_is_left_out_and_counted(spark, tmp_path, images):
    spoiled = {i: X.copy() for i, X in images.items()}
    spoiled[3][0, 2] = np.nan
    drawn = write_sample(
        described(spark, spoiled, range(21)), str(tmp_path), dtype="float16", n_points=10**6, k=2, seed=0
    )
    assert (drawn.sample.n, drawn.sample.n_bad) == (sum(map(len, images.values())) - 1, 1)


def test_no_descriptors_are_refused(spark, tmp_path, images):
    options = {"dtype": "float16", "n_points": 10, "k": 2, "seed": 0}
    with pytest.raises(ValueError, match="no local descriptors"):
        write_sample(described(spark, images, [20]), str(tmp_path), **options)


@pytest.mark.parametrize(("block_words", "most_exact"), [(1, 1024), (3, 1024), (100, 4)])
def test_iterations_by_tasks_equal_those_of_one_process(
    spark, tmp_path, monkeypatch, images, block_words, most_exact
):
    monkeypatch.setattr(kmeans, "TRAINING_EXACT_WORDS", most_exact)
    monkeypatch.setattr(codebook_spark, "PART_ROWS", 60)
    rows = described(spark, images, range(21))
    drawn = write_sample(rows, str(tmp_path), dtype="float16", n_points=10**6, k=7, seed=1)
    assert len(drawn.sample.names) > 2
    here, there = (
        fit_centroids(step, drawn.start, n_iter=2, sample=drawn.start)
        for step in (drawn.sample.sum_here, step_over_tasks(spark, drawn.sample, block_words=block_words))
    )
    assert here.errors == there.errors
    np.testing.assert_array_equal(here.centroids, there.centroids)


def test_medians_by_tasks_equal_those_of_one_process(spark, tmp_path, monkeypatch, images):
    monkeypatch.setattr(codebook_spark, "PART_ROWS", 60)
    monkeypatch.setattr(codebook_spark, "BLOCK_BYTES", 2000)
    rows = described(spark, images, range(21))
    drawn = write_sample(rows, str(tmp_path), dtype="float16", n_points=10**6, k=7, seed=1)
    quantizer, P = Quantizer(drawn.start), draw_projection(D, 4, seed=0)
    words, medians = find_medians(spark, drawn.sample, quantizer, P)
    X = points_of(drawn.sample).astype("f4")
    expected = word_medians(project(X, P).astype("f4"), quantizer.assign(X)[:, 0])
    np.testing.assert_array_equal(words, expected[0])
    np.testing.assert_allclose(medians, expected[1], atol=1e-6)
