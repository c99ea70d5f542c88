import cv2
import numpy as np
import pytest

from resight.features.local.points import LocalFeatures
from resight.verification.feature_files import (
    Described,
    FeatureFiles,
    keep_features,
    load_feature_files,
    save_features,
)

IDS = [-7, 3, 9, 100, 2**60]


def random_features(rng, n, d=6):
    return LocalFeatures(rng.random((n, 5), np.float32), rng.random((n, d), np.float32))


@pytest.mark.parametrize("part_images", [1, 2, 10])
def test_what_is_saved_is_read_back(rng, tmp_path, part_images):
    found = [random_features(rng, n) for n in (4, 0, 7, 1, 2)]
    found[1] = LocalFeatures(np.zeros((0, 5), np.float32), np.zeros((0, 0), np.float32))
    sizes = rng.integers(10, 99, (5, 2))
    parts = []
    for start in range(0, 5, part_images):
        some = slice(start, start + part_images)
        part = Described(np.array(IDS[some]), sizes[some], found[some], [None] * len(IDS[some]))
        parts.append((IDS[start], save_features(str(tmp_path), part, dtype="float32")))
    FeatureFiles(str(tmp_path), tuple(parts)).save()
    opened = load_feature_files(str(tmp_path)).open()
    for image_id, size, features in zip(IDS, sizes.tolist(), found, strict=True):
        read, read_size = opened.features(image_id)
        np.testing.assert_array_equal(read.points, features.points)
        np.testing.assert_array_equal(read.vectors.ravel(), features.vectors.ravel())
        assert list(read_size) == size
        assert opened.preview(image_id) is None


def test_keypoints_that_lie_in_the_folder_already_are_not_written_again(rng, tmp_path):
    found = [random_features(rng, n) for n in (4, 0, 7, 1, 2)]
    kept = [None] * 5
    for chunk in ([3, 0], [1, 4]):  # as tasks find them, in any order; the third is stored elsewhere
        for i, place in zip(chunk, keep_features(str(tmp_path), [found[i] for i in chunk]), strict=True):
            kept[i] = place
    mixed = [place or features for place, features in zip(kept, found, strict=True)]
    sizes = rng.integers(10, 99, (5, 2))
    names = save_features(str(tmp_path), Described(np.array(IDS), sizes, mixed, [None] * 5))
    opened = FeatureFiles(str(tmp_path), ((IDS[0], names),)).open()
    for image_id, size, features in zip(IDS, sizes.tolist(), found, strict=True):
        read, read_size = opened.features(image_id)
        np.testing.assert_array_equal(read.points, features.points)
        np.testing.assert_array_equal(read.vectors, features.vectors.astype("f2"))
        assert list(read_size) == size
    n_written = sum(len(np.load(file)) for file in tmp_path.glob("points-*.npy"))
    assert n_written == sum(len(one.points) for one in found)


@pytest.mark.parametrize("unknown", [-8, 4, 101, 2**61])
def test_images_that_are_not_there_are_not_found(rng, tmp_path, unknown):
    part = Described(np.array(IDS), np.ones((5, 2), int), [random_features(rng, 2)] * 5, [None] * 5)
    opened = FeatureFiles(str(tmp_path), ((IDS[0], save_features(str(tmp_path), part)),)).open()
    assert opened.find(unknown) is None
    with pytest.raises(KeyError):
        opened.features(unknown)


def test_previews_lie_beside_the_keypoints(rng, tmp_path):
    pixels = [np.full((8, 12, 3), level, np.uint8) for level in (20, 200)]
    jpegs = [cv2.imencode(".jpg", p)[1].tobytes() for p in pixels]
    part = Described(
        np.array([1, 2, 5]), np.ones((3, 2), int), [random_features(rng, 1)] * 3, [jpegs[0], None, jpegs[1]]
    )
    opened = FeatureFiles(str(tmp_path), ((1, save_features(str(tmp_path), part)),)).open()
    assert opened.preview(2) is None
    for image_id, expected in ((1, pixels[0]), (5, pixels[1])):
        np.testing.assert_allclose(opened.preview(image_id), expected, atol=3)
