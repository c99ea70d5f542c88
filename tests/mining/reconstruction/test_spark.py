"""Mining models on Spark: equal to the kernels, whatever the blocks; names and copies are told apart."""

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as sf

from resight.knn.matrix import Part, VectorFiles, save_part
from resight.mining.reconstruction.nearest import find_negatives
from resight.mining.reconstruction.spark import Epoch, find_hard, name_images, split_models
from resight.mining.reconstruction.work import SEEN, SplitWork
from resight.tables import DUPLICATE_GROUPS, IMAGES
from tests.report.committed import rows_of

N = 60


@pytest.fixture(scope="module")
def scene(spark, tmp_path_factory):
    rng = np.random.default_rng(5)
    X = rng.standard_normal((N, 6))
    X = (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)
    folder, ids = str(tmp_path_factory.mktemp("views")), np.arange(N) * 3
    vectors = VectorFiles(folder, 6, "float32", (Part(save_part(folder, 0, ids, X), 0, N),))
    models = rng.integers(0, 8, N)
    keys = np.where(np.arange(N) % 10 == 0, -1, ids)  # six images are copies of each other
    columns = {"image_id": ids, "model": models, "copy_key": keys}
    split = np.where(models < 4, "train", "validation")
    frame = spark.createDataFrame(pa.table(columns | {"split": split}))
    return Epoch(frame.where("image_id % 2 = 0"), frame), vectors, X, columns


def expected_pairs(scene, per_model):
    _, _, X, columns = scene
    asked, models, keys = np.arange(0, N, 2), columns["model"], columns["copy_key"]
    forbidden = (models[asked][:, None] == models) | (keys[asked][:, None] == keys)
    forbidden |= (models[asked][:, None] < 4) != (models < 4)
    similarity = X[asked].astype(float) @ X.T.astype(float)
    found = find_negatives(similarity, forbidden, models, columns["image_id"], n=3, per_model=per_model)
    return {(int(asked[row]) * 3, int(column) * 3) for row, column in zip(*found, strict=True)}


@pytest.mark.parametrize(("per_model", "n_blocks"), [(True, (1, 1)), (True, (3, 4)), (False, (2, 50))])
def test_negatives_of_blocks_are_those_of_everything_at_once(scene, per_model, n_blocks):
    queries, everyone = scene[0]
    shuffled = Epoch(queries, everyone.orderBy(sf.rand(3)))
    rows = find_hard(shuffled, scene[1], n=3, per_model=per_model, n_blocks=n_blocks).collect()
    assert {(row["anchor"], row["item"]) for row in rows} == expected_pairs(scene, per_model)
    for anchor in {row["anchor"] for row in rows}:
        own = sorted((row["rank"], -row["similarity"]) for row in rows if row["anchor"] == anchor)
        assert [rank for rank, _ in own] == list(range(len(own)))
        assert own == sorted(own, key=lambda pair: pair[1])


def see(spark, rows):
    empty = {"x": 0.0, "y": 0.0, "z": 0.0, "points": b"", "sizes": b""}
    named = [empty | dict(zip(("model", "name", "n_points"), row, strict=True)) for row in rows]
    return spark.createDataFrame(pa.Table.from_pylist(named, schema=SEEN))


def test_images_are_found_by_name_in_one_model_and_copies_share_a_key(spark):
    columns = {"image_id": [1, 2, 3, 4, 5, 6, 7], "uri": ["p/a", "p/b", "p/c", "p/d", "p/e", "p/f", "p/f"]}
    columns |= {"pixel_hash": ["x", "y", "x", None, None, "z", "z"], "status": ["ok"] * 7}
    images = spark.createDataFrame(rows_of(IMAGES, columns))
    groups = rows_of(DUPLICATE_GROUPS, {"image_id": [2, 4], "group_id": [2, 2], "keep": [True, False]})
    seen = see(
        spark, [(0, "a", 5), (1, "a", 9), (1, "b", 3), (0, "c", 3), (0, "d", 1), (1, "e", 1), (0, "f", 1)]
    )
    named = name_images(seen, images, spark.createDataFrame(groups), prefix="p/").cache()
    found = {row["image_id"]: (row["model"], row["copy_key"]) for row in named.collect()}
    assert found == {1: (1, 1), 2: (1, 2), 3: (0, 1), 4: (0, 2), 5: (1, 5)}  # two images are called p/f
    links = spark.createDataFrame([], "a long, b long")
    sides = {row["model"]: row["split"] for row in split_models(named, links, SplitWork(0.5)).collect()}
    assert set(sides) == {0, 1}
    assert len(set(sides.values())) == 1  # they share copies
    alone = named.where("image_id in (1, 4, 5)")
    links = spark.createDataFrame([(1, 4)], "a long, b long")
    for bound, n in ((links, 1), (links.limit(0), 2)):
        sides = split_models(alone, bound, SplitWork(0.7)).collect()
        assert len({row["split"] for row in sides}) == n
