"""A chunk of images to files of keypoints, against the rows that a table would hold."""

import numpy as np

from resight.features.local.points import unpack_features
from resight.features.local.settings import LocalSettings
from resight.features.local.work import LocalWork
from resight.verification.feature_files import Described, FeatureFiles, Kept, save_features
from resight.verification.keep import KEPT, KeepWork, rescue_kept
from tests.features.local.photo_files import FLAT, encode, photo_pixels
from tests.features.local.test_work import list_rows

WORK = LocalWork(LocalSettings(max_keypoints=40), "float16")


def test_files_hold_what_a_table_would(tmp_path):
    photos = [encode(photo_pixels(name, side=200)) for name in ("coffee", "rocket")]
    rows = list_rows(tmp_path, [photos[0], b"no image", FLAT, photos[1]])
    found, stored = KeepWork(WORK, str(tmp_path / "features"))(rows), WORK(rows).to_pylist()
    assert found.schema.equals(KEPT)
    assert found["status"].to_pylist() == ["ok", "undecodable", "ok", "ok"]
    kept = [Kept(r["file"], r["first"], r["n_keypoints"]) for r in found.to_pylist() if r["status"] == "ok"]
    part = Described(np.array([0, 2, 3]), np.ones((3, 2), int), kept, [None] * 3)
    names = save_features(str(tmp_path / "features"), part)
    opened = FeatureFiles(str(tmp_path / "features"), ((0, names),)).open()
    for image_id in (0, 2, 3):
        expected = unpack_features(stored[image_id]["points"], stored[image_id]["vectors"], "float16")
        features = opened.features(image_id)[0]
        np.testing.assert_array_equal(features.points, expected.points)
        np.testing.assert_array_equal(features.vectors.ravel(), expected.vectors.ravel())


def test_images_that_killed_the_process_have_no_keypoints(tmp_path):
    found = rescue_kept(list_rows(tmp_path, [FLAT]), "killed").to_pylist()
    assert [(row["file"], row["status"], row["error"]) for row in found] == [(None, "crashed", "killed")]
