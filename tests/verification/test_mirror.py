import numpy as np
import pytest

from resight.features.local.points import LocalFeatures
from resight.verification.match import match_features, prepare_features
from resight.verification.mirror import mirror_features
from tests.verification.scenes import describe, draw_scene


def test_mirrored_keypoints_are_those_of_the_mirrored_photo():
    scene = draw_scene(7)
    mirrored = mirror_features(describe(scene), scene.shape[1])
    expected = describe(np.ascontiguousarray(scene[:, ::-1]))
    matches = match_features(prepare_features(mirrored), prepare_features(expected))
    assert len(matches) > 0.8 * len(expected.points)
    a, b = mirrored.points[matches[:, 0]], expected.points[matches[:, 1]]
    near = np.hypot(*(a - b)[:, :2].T) < 1.5
    assert near.mean() > 0.9
    turned = (a - b)[near, 3] % 360
    assert np.median(np.minimum(turned, 360 - turned)) < 3
    distance = np.linalg.norm(mirrored.vectors[matches[near, 0]] - expected.vectors[matches[near, 1]], axis=1)
    assert np.median(distance) < 0.2


def test_mirroring_twice_changes_nothing():
    features = describe(draw_scene(8))
    again = mirror_features(mirror_features(features, 320), 320)
    np.testing.assert_array_equal(again.vectors, features.vectors)
    np.testing.assert_allclose(again.points, features.points, atol=1e-4)


def test_other_vectors_cannot_be_mirrored():
    with pytest.raises(ValueError, match="128 numbers"):
        mirror_features(LocalFeatures(np.zeros((1, 5), np.float32), np.ones((1, 64), np.float32)), 10)
