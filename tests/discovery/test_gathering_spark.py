import numpy as np
import pyarrow as pa
import pytest

from resight.discovery.found import Found, lay_out
from resight.discovery.gathering.spark import list_descriptors, list_instances, list_maps, rank_objects
from resight.discovery.spark import LISTED
from resight.features.photos import Failure

CONTENTS = {10: "a", 11: "a", 12: "b", 13: "c", 14: "d"}


@pytest.fixture(scope="module")
def images(spark):
    rows = [(image, content, 200, 100) for image, content in CONTENTS.items()]
    return spark.createDataFrame(rows, "image_id long, content_hash string, width int, height int")


def test_what_climbs_to_one_top_in_enough_contents_is_an_object_of_all_their_copies(spark, images, tmp_path):
    owners = {1: (10, "a", 0), 2: (12, "b", 0), 3: (13, "c", 1), 4: (10, "a", 1), 5: (14, "d", 0)}
    box = (0.1, 0.25, 0.5, 0.7512)
    rows = [(node, *owner, *box, 0.5, node / 8, bytearray(4)) for node, owner in owners.items()]
    regions = spark.createDataFrame(rows, "node_id long, " + LISTED)
    climbs = spark.createDataFrame([(2, 1), (3, 2), (5, 4)], "src long, dst long")
    found = list_instances(regions, climbs, images, min_images=3, folder=str(tmp_path)).cache()
    instances = found.orderBy("image_id").toArrow().to_pylist()
    assert [(row["object_id"], row["image_id"], row["region_ix"]) for row in instances] == [
        (1, 10, 0), (1, 11, 0), (1, 12, 0), (1, 13, 1)
    ]  # fmt: skip
    assert {tuple(row[name] for name in ("y0", "x0", "y1", "x1")) for row in instances} == {(10, 50, 50, 151)}
    (one,) = rank_objects(found).toArrow().to_pylist()
    assert (one["n_images"], one["n_instances"]) == (4, 4)
    assert one["score"] == pytest.approx((1 + 1 + 2 + 3) / 8)


def test_every_image_has_its_maps_and_descriptor_or_a_status(spark, images, rng):
    F = rng.uniform(size=(2, 3)).astype(np.float32)
    boxes, ones = np.zeros((2, 4), np.float32), np.ones(2, np.float32)
    vectors = np.eye(2, dtype=np.float32)
    full = Found(boxes, ones, ones, vectors, F, F, vectors[0])
    found = [full, full._replace(vector=np.zeros(2, np.float32)), full._replace(objects=None, vector=None)]
    given = pa.table({"image_id": [10, 12, 13, 14], "content_hash": list("abcd")})
    rows = spark.createDataFrame(lay_out(given, [*found, Failure("nan", "why")], dtype="float32"))
    described = list_descriptors(rows, images, dtype="float16").orderBy("image_id").toArrow().to_pylist()
    assert [row["status"] for row in described] == ["ok", "ok", "zero", "zero", "nan"]
    assert [row["vector"] for row in described[1:]] == [vectors[0].astype("float16").tobytes()] + [None] * 3
    maps = list_maps(rows, images).orderBy("image_id").toArrow().to_pylist()
    assert [row["n_regions"] for row in maps] == [2, 2, 2, 2, None]
    assert (maps[1]["features"], maps[3]["objects"], maps[4]["error"]) == (F.tobytes(), None, "why")
