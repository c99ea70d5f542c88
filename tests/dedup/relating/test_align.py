import numpy as np
import pytest

from resight.dedup.relating.align import align_frames, align_keypoints, frame_transform
from resight.dedup.relating.settings import RelateSettings
from resight.dedup.relating.views import prepare_view
from resight.hashing.perceptual import N_TURNS, turn_pixels
from tests.dedup.relating.copies import draw_photos
from tests.verification.scenes import apply, turn, warp_scene

SCENE, OTHER = draw_photos()
SETTINGS = RelateSettings()
PLACES = np.array([[10.0, 20], [300, 20], [160, 230]])


@pytest.mark.parametrize("position", range(N_TURNS))
def test_a_frame_in_each_position_lies_where_its_pixels_went(position):
    marked = np.zeros((24, 32), np.uint8)
    marked[5, 9] = 1
    turned = turn_pixels(marked, position)
    H = frame_transform(position, (32, 24), turned.shape[::-1])
    place = apply(H, np.array([[9.0, 5]]))[0]
    np.testing.assert_allclose(place[::-1], np.argwhere(turned)[0], atol=1e-9)


@pytest.mark.parametrize("position", range(N_TURNS))
def test_photos_that_look_alike_are_laid_on_each_other_in_that_position_first(position):
    a = prepare_view(SCENE, SETTINGS)
    b = prepare_view(np.ascontiguousarray(turn_pixels(SCENE, position)), SETTINGS)
    first = next(align_frames(a, b))
    np.testing.assert_allclose(first.transform, frame_transform(position, a.frame, b.frame))
    assert first.n_inliers == 0


@pytest.mark.parametrize("mirrored", [False, True])
def test_keypoints_find_a_transform_mirrored_or_not(mirrored):
    H = turn(35, 0.8, (120, 10))
    if mirrored:
        H = H @ np.array([[-1.0, 0, 319], [0, 1, 0], [0, 0, 1]])
    views = [prepare_view(p, SETTINGS) for p in (SCENE, warp_scene(SCENE, H, (360, 300)))]
    found = align_keypoints(*views)
    sizes = [np.diag([v.frame[0] / v.size[0], v.frame[1] / v.size[1], 1]) for v in views]
    in_views = sizes[1] @ H @ np.linalg.inv(sizes[0])
    np.testing.assert_allclose(apply(found.transform, PLACES), apply(in_views, PLACES), atol=2.5)
    assert found.n_inliers > 50
    assert not found.is_bent


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_strongest_keypoints_say_first_which_way_round_a_photo_lies(mirrored):
    other = warp_scene(SCENE, turn(20, 0.9, (60, -20)), (320, 240))
    views = [prepare_view(p, SETTINGS) for p in (SCENE[:, ::-1] if mirrored else SCENE, other)]
    at_once, screened = align_keypoints(*views), align_keypoints(*views, screened=100)
    np.testing.assert_allclose(screened.transform, at_once.transform)
    assert screened.n_inliers == at_once.n_inliers
    stranger = prepare_view(OTHER, SETTINGS)
    assert align_keypoints(stranger, views[1], screened=100) is None


def test_strangers_share_hardly_any_keypoints():
    found = align_keypoints(*(prepare_view(p, SETTINGS) for p in (SCENE, OTHER)))
    assert found is None or found.n_inliers < SETTINGS.min_inliers
