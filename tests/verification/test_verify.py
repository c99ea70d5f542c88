import numpy as np
import pytest

from resight.codebook.model import Codebook
from resight.codebook.quantize import assign
from resight.features.local.points import LocalFeatures
from resight.verification.settings import VerifySettings
from resight.verification.verify import prepare_photo, verify_pair
from tests.verification.scenes import apply, describe, draw_scene, turn, warp_scene

CORNERS = np.array([[0, 0], [320, 0], [320, 240], [0, 240.0]])
AFFINE = VerifySettings()
VIEWS = (turn(40, 0.8, (120, -30)), turn(0, 1.6, (-150, -60)), turn(170, 1, (310, 220)))
NOTHING = LocalFeatures(np.zeros((0, 5), np.float32), np.zeros((0, 0), np.float32))


def photo(pixels, settings=AFFINE, *, enlarged=1):
    features = describe(pixels)
    points = features.points * np.array([enlarged, enlarged, enlarged, 1, 1], np.float32)
    size = pixels.shape[1] * enlarged, pixels.shape[0] * enlarged
    return prepare_photo(LocalFeatures(points, features.vectors), size, settings)


@pytest.fixture(scope="module")
def scene():
    return draw_scene(11)


@pytest.mark.parametrize("model", ["affine", "homography"])
def test_equal_photos_give_the_identity(scene, model):
    settings = VerifySettings(model=model)
    own = photo(scene, settings)
    found = verify_pair(own, own, settings)
    np.testing.assert_allclose(found.transform, np.eye(3), atol=1e-6)
    assert found.model == model
    assert found.overlap == pytest.approx(1, abs=1e-6)
    assert 0.8 * found.n_matches <= found.n_inliers <= found.n_matches
    assert found.spread > 0.7


@pytest.mark.parametrize("model", ["affine", "homography"])
@pytest.mark.parametrize("H", VIEWS)
def test_views_are_explained_by_the_map_between_them(scene, H, model):
    settings = VerifySettings(model=model)
    found = verify_pair(photo(scene, settings), photo(warp_scene(scene, H, (340, 260)), settings), settings)
    np.testing.assert_allclose(apply(found.transform, CORNERS), apply(H, CORNERS), atol=3)
    assert found.n_inliers >= 20


def test_the_size_of_a_photo_changes_only_its_pixels(scene):
    H = turn(25, 0.9, (60, -20))
    view = warp_scene(scene, H, (340, 260))
    small, large = (verify_pair(photo(scene), photo(view, enlarged=e), AFFINE) for e in (1, 4))
    assert (small.n_inliers, small.n_matches) == (large.n_inliers, large.n_matches)
    np.testing.assert_allclose(large.transform, np.diag([4, 4, 1]) @ small.transform, rtol=1e-5, atol=1e-3)
    assert small.overlap == pytest.approx(
        verify_pair(photo(scene, enlarged=2), photo(view, enlarged=2), AFFINE).overlap, abs=0.01
    )


def test_mirrored_copies_are_found_when_asked_for(scene):
    settings = VerifySettings(mirrored=True)
    mirrored = np.ascontiguousarray(scene[:, ::-1])
    found = verify_pair(photo(scene, settings), photo(mirrored, settings), settings)
    np.testing.assert_allclose(found.transform, [[-1, 0, 319], [0, 1, 0], [0, 0, 1]], atol=1)
    assert found.n_inliers > 3 * verify_pair(photo(scene), photo(mirrored), AFFINE).n_inliers
    plain = verify_pair(photo(scene, settings), photo(scene, settings), settings)
    assert np.linalg.det(plain.transform) > 0


def test_keypoints_of_different_words_never_match(scene, rng):
    own = describe(scene)
    codebook = Codebook(own.vectors[rng.choice(len(own.vectors), 12, replace=False)])
    words = assign(own.vectors, codebook)[:, 0]
    turned = describe(warp_scene(scene, VIEWS[0], (320, 240)))
    a, b = (prepare_photo(one, (320, 240), AFFINE, codebook) for one in (own, turned))
    np.testing.assert_array_equal(a.features.words, words[: AFFINE.max_keypoints])
    by_words, by_all = verify_pair(a, b, AFFINE), verify_pair(photo(scene), photo_of(turned), AFFINE)
    assert by_words.n_inliers > 0.5 * by_all.n_inliers > 20
    np.testing.assert_allclose(apply(by_words.transform, CORNERS), apply(VIEWS[0], CORNERS), atol=3)
    empty = prepare_photo(NOTHING, (320, 240), AFFINE, codebook)
    assert verify_pair(a, empty, AFFINE).n_matches == 0


def photo_of(features):
    return prepare_photo(features, (320, 240), AFFINE)


def test_strangers_have_few_inliers(scene):
    found = [verify_pair(photo(scene), photo(draw_scene(seed)), AFFINE).n_inliers for seed in range(20, 26)]
    assert max(found) <= 7


def test_photos_without_keypoints_are_verified_without_evidence(scene):
    empty = prepare_photo(NOTHING, (10, 10), AFFINE)
    for pair in ((empty, photo(scene)), (photo(scene), empty), (empty, empty)):
        found = verify_pair(*pair, AFFINE)
        assert (found.n_matches, found.n_inliers, found.model, found.transform) == (0, 0, None, None)
        assert np.isnan([found.spread, found.overlap]).all()


def test_a_fundamental_matrix_relates_the_inliers(scene):
    settings = VerifySettings(model="fundamental", tolerance=3)
    own = photo(scene, settings)
    found = verify_pair(own, photo(warp_scene(scene, turn(20, 0.9, (50, 0)), (340, 260)), settings), settings)
    assert found.model == "fundamental"
    assert found.n_inliers >= 20
    assert np.isnan(found.overlap)
