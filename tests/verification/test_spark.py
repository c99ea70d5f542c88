import itertools

import cv2
import numpy as np
import pyarrow as pa
import pytest

from resight.arrow import lists_to_arrow
from resight.chunks.spark import Chunks
from resight.features.local.points import pack_features
from resight.verification.settings import VerifySettings
from resight.verification.spark import (
    attach_contents,
    pair_neighbors,
    pair_results,
    unverified,
    verify_pairs,
    write_feature_files,
)
from resight.verification.verify import prepare_photo, verify_pair
from resight.verification.work import VerifyWork, rescue_pairs
from tests.verification.scenes import describe, draw_scene, turn, warp_scene

IDS = (40, 7, 23, 5)


@pytest.fixture(scope="module")
def views():
    scene = draw_scene(1, width=200, height=160)
    maps = (turn(0, 1, (0, 0)), turn(30, 0.9, (60, -20)), turn(-15, 1.2, (-10, 20)))
    pixels = [warp_scene(scene, H, (200, 160)) for H in maps] + [draw_scene(2, width=200, height=160)]
    return dict(zip(IDS, pixels, strict=True))


@pytest.fixture(scope="module")
def features(spark, views, tmp_path_factory):
    found = [describe(pixels, limit=150) for pixels in views.values()]
    _, points, vectors = pack_features(found, "float32")
    jpegs = [cv2.imencode(".jpg", pixels)[1].tobytes() for pixels in views.values()]
    sides = [pa.array([side] * len(IDS), pa.int32()) for side in (200, 160)]
    names = ["image_id", "width", "height", "points", "vectors", "preview"]
    rows = pa.table([pa.array(IDS), *sides, points, vectors, pa.array(jpegs)], names=names)
    folder = str(tmp_path_factory.mktemp("features"))
    return write_feature_files(spark.createDataFrame(rows), folder, dtype="float32")


def local_results(views, settings):
    found = {image: describe(pixels, limit=150) for image, pixels in views.items()}
    photos = {image: prepare_photo(one, (200, 160), settings) for image, one in found.items()}
    pairs = itertools.combinations(sorted(IDS), 2)
    return {(a, b): verify_pair(photos[a], photos[b], settings) for a, b in pairs}


@pytest.mark.parametrize("chunk_size", [1, 3, 100])
def test_distributed_verification_equals_that_of_each_pair(spark, features, views, tmp_path, chunk_size):
    settings = VerifySettings()
    expected = local_results(views, settings)
    keys = sorted(expected, key=lambda pair: hash(pair))
    pairs = spark.createDataFrame([(*pair, 1) for pair in keys], "image_a long, image_b long, contents long")
    work = VerifyWork(features, settings, agreement=True)
    rows = verify_pairs(pairs, Chunks(str(tmp_path), work, rescue_pairs, chunk_size)).toArrow().to_pylist()
    assert {(row["image_a"], row["image_b"]) for row in rows} == set(expected)
    for row in rows:
        found = expected[row["image_a"], row["image_b"]]
        assert (row["n_matches"], row["n_inliers"]) == (found.n_matches, found.n_inliers)
        transform = found.transform.tobytes() if found.transform is not None else None
        assert (row["model"], row["transform"]) == (found.model, transform)
        related = row["n_inliers"] >= 12
        assert related == (5 not in (row["image_a"], row["image_b"]))
        assert (row["agreement"] is not None and row["agreement"] > 0.8) == related


def test_pairs_of_results_and_neighbours_come_once_and_in_order(spark):
    lists = lists_to_arrow(np.array([0, 3, 5]), np.array([2, 3, 4, 1, 5]))
    neighbors = spark.createDataFrame(pa.table({"src": [1, 2], "dst": lists}))
    rows = pair_neighbors(neighbors, top=2).collect()
    assert sorted(map(tuple, rows)) == [(1, 2), (1, 3), (2, 5)]
    results = spark.createDataFrame(
        [(0, 0, 9), (0, 1, 3), (0, 2, 4), (1, 0, 7), (2, 0, 3)], "query_id long, rank int, image_id long"
    )
    queries = spark.createDataFrame([(0, 3), (1, None), (2, 9)], "query_id long, image_id long")
    assert sorted(map(tuple, pair_results(results, queries, top=3).collect())) == [(3, 4), (3, 9)]


def test_pairs_without_evidence_say_which_image_is_to_blame(spark):
    pairs = spark.createDataFrame([(1, 2), (1, 3), (2, 9)], "image_a long, image_b long")
    images = spark.createDataFrame([(1, "a"), (2, "b"), (3, "c")], "image_id long, content_hash string")
    described = spark.createDataFrame(
        [(1, "ok", None), (2, "ok", None), (3, "undecodable", "broken")],
        "image_id long, status string, error string",
    )
    rows = unverified(attach_contents(pairs, images), described).toArrow().to_pylist()
    said = {(row["image_a"], row["image_b"]): (row["status"], row["error"]) for row in rows}
    assert said == {
        (1, 3): ("undecodable", "image 3: broken"),
        (2, 9): ("missing", "image 9 is not in the collection, or cannot be read"),
    }
    assert {row["n_inliers"] for row in rows} == {0}


def test_contents_change_with_either_file(spark):
    pairs = spark.createDataFrame([(1, 2)], "image_a long, image_b long")
    found = set()
    for hashes in (("a", "b"), ("x", "b"), ("a", "x"), ("b", "a"), ("a", "b")):
        images = spark.createDataFrame(list(enumerate(hashes, 1)), "image_id long, content_hash string")
        found.add(attach_contents(pairs, images).first()["contents"])
    assert len(found) == 4
