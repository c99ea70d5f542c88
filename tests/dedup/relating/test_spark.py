"""Pairs related over the executors, against each pair on its own."""

import hashlib
import itertools

import cv2
import numpy as np
import pytest

from resight.dedup.relating.decide import relate_views
from resight.dedup.relating.settings import RelateSettings
from resight.dedup.relating.spark import make_views, relate_pairs
from resight.dedup.relating.views import prepare_view
from resight.store import spark_schema
from resight.tables import DUPLICATE_CANDIDATES
from tests.verification.scenes import draw_scene, turn, warp_scene

SETTINGS = RelateSettings(max_side=128)
SCENE = draw_scene(1, width=160, height=120)
PHOTOS = {
    40: SCENE,
    7: SCENE[:, ::-1].copy(),
    23: warp_scene(SCENE, turn(0, 0.5, (0, 0)), (80, 60)),
    5: draw_scene(2, width=160, height=120),
}
BROKEN, GONE = 60, 61
IMAGE = "image_id long, content_hash string, root string, uri string, byte_offset long, n_bytes long"
PAIR = "image_a long, image_b long, contents long, found_by string, status string, error string"


@pytest.fixture(scope="module")
def images(spark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rows = []
    for image_id in (*PHOTOS, BROKEN):
        file = folder / f"{image_id}.png"
        if image_id in PHOTOS:
            cv2.imwrite(str(file), PHOTOS[image_id][:, :, ::-1])
        else:
            file.write_bytes(b"no picture")
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        rows.append((image_id, digest, str(folder), file.name, None, len(content)))
    return spark.createDataFrame(rows, IMAGE).repartition(3)


def relate_all(spark, images, folder, chunk_size):
    ends = [*itertools.combinations(sorted(PHOTOS), 2), (5, BROKEN), (7, GONE)]
    rows = [(a, b, a + b, "codes", "missing" if GONE in (a, b) else None, None) for a, b in ends]
    pairs = spark.createDataFrame(sorted(rows, key=lambda row: row[2] % 7), PAIR)
    first = pairs.where("image_a = 5 and image_b < 50")  # 40 is seen by the later call alone
    views = make_views(first.where("image_b != 40"), images, SETTINGS, folder=str(folder / "first"))
    views = make_views(pairs, images, SETTINGS, folder=str(folder), known=views)
    assert views.viewed.count() == len(PHOTOS) + 1
    found = relate_pairs(pairs, views, SETTINGS, folder=str(folder), chunk_size=chunk_size)
    assert found.schema.fieldNames() == spark_schema(DUPLICATE_CANDIDATES).fieldNames()
    return {(r["image_a"], r["image_b"]): r for r in found.toArrow().to_pylist()}


def test_pairs_related_in_chunks_are_those_related_one_by_one(spark, images, tmp_path):
    found = relate_all(spark, images, tmp_path / "1", 1)
    views = {image_id: prepare_view(pixels, SETTINGS) for image_id, pixels in PHOTOS.items()}
    for a, b in itertools.combinations(sorted(PHOTOS), 2):
        expected, row = relate_views(views[a], views[b], SETTINGS), found[a, b]
        assert (row["relation"], row["status"], row["contents"]) == (expected.relation, "ok", a + b)
        if expected.relation:
            H = np.frombuffer(row["transform"]).reshape(3, 3)
            np.testing.assert_allclose(H, expected.transform, atol=0.5)
            assert row["agreement"] == pytest.approx(expected.agreement, abs=0.02)
    relations = {pair: row["relation"] for pair, row in found.items() if row["relation"]}
    assert relations == {(7, 40): "mirrored", (7, 23): "mirrored", (23, 40): "near"}
    assert [found[p]["status"] for p in ((5, BROKEN), (7, GONE))] == ["undecodable", "missing"]
    assert all(relate_all(spark, images, tmp_path / str(n), n) == found for n in (3, 100))
    assert relate_all(spark, images, tmp_path / "1", 1) == found  # from the chunks that are there
