"""Views that were stored and read back, against the photos themselves."""

import cv2
import numpy as np
import pyarrow as pa
import pytest

from resight.dedup.relating.decide import relate_views
from resight.dedup.relating.settings import RelateSettings
from resight.dedup.relating.views import prepare_view
from resight.dedup.relating.work import DTYPE, RelateWork, ViewWork, load_view
from resight.features.local.points import unpack_features
from resight.verification.feature_files import Described, FeatureFiles, save_features
from tests.dedup.relating.copies import copies_of, draw_photos

SCENE, OTHER = draw_photos()
SETTINGS = RelateSettings(max_side=256, keypoint_side=200, max_keypoints=300, screened=100)
NAMES = ("mirrored", "rotated", "cropped", "covered")
PHOTOS = {1: SCENE} | {2 + i: copies_of(SCENE, OTHER)[name][0] for i, name in enumerate(NAMES)}


@pytest.fixture(scope="module")
def layouts(tmp_path_factory):
    """Two sets of stored views: of the photo, and of its copies."""
    folder = tmp_path_factory.mktemp("views")
    for image_id, pixels in PHOTOS.items():
        cv2.imwrite(str(folder / f"{image_id}.png"), np.ascontiguousarray(pixels[:, :, ::-1]))
    return tuple(store_views(folder, ids) for ids in ([1], list(PHOTOS)[1:]))


def store_views(folder, ids):
    rows = {"image_id": ids, "content_hash": [None] * len(ids), "root": [str(folder)] * len(ids)}
    rows |= {"uri": [f"{i}.png" for i in ids], "byte_offset": [None] * len(ids), "n_bytes": [None] * len(ids)}
    made = ViewWork(SETTINGS)(pa.table(rows)).to_pydict()
    sizes = np.column_stack([made["width"], made["height"]])
    packed = zip(made["points"], made["vectors"], strict=True)
    found = [unpack_features(points, vectors, DTYPE) for points, vectors in packed]
    described = Described(np.array(ids), sizes, found, made["preview"])
    return FeatureFiles(str(folder), ((ids[0], save_features(str(folder), described, dtype=DTYPE)),))


def test_pairs_of_stored_views_are_related_as_their_photos_are(layouts):
    pairs = pa.table(
        {"image_a": [1] * 4, "image_b": [2, 3, 4, 5], "contents": [7] * 4, "found_by": ["x"] * 4}
    )
    rows = RelateWork(layouts, SETTINGS)(pairs).to_pydict()
    views = {image_id: prepare_view(pixels, SETTINGS) for image_id, pixels in PHOTOS.items()}
    expected = [relate_views(views[1], views[b], SETTINGS) for b in rows["image_b"]]
    assert rows["relation"] == [e.relation for e in expected] == ["mirrored", "turned", "contains", "near"]
    np.testing.assert_allclose(rows["agreement"], [e.agreement for e in expected], atol=0.02)


def test_stored_keypoints_and_thumbs_are_those_of_the_photo(layouts):
    opened, made = tuple(layout.open() for layout in layouts), prepare_view(SCENE, SETTINGS)
    stored = load_view(opened, 1, SETTINGS)
    for own, other in zip(stored.keypoints, made.keypoints, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-6)
    np.testing.assert_allclose(stored.thumb, made.thumb, atol=1e-6)
    assert stored.frame == made.frame
    assert np.abs(stored.luma - made.luma).mean() < 2
