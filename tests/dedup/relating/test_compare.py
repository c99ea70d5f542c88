import cv2
import numpy as np
import pytest

from resight.dedup.relating.compare import compare_views, measure_overlaps
from resight.dedup.relating.covers import find_cover
from resight.dedup.relating.differ import measure_difference
from resight.dedup.relating.echoes import measure_echo
from resight.dedup.relating.seams import is_framed, measure_seam
from resight.dedup.relating.settings import RelateSettings
from resight.dedup.relating.views import View, find_keypoints, prepare_view
from resight.verification.overlap import measure_overlap
from tests.dedup.relating.copies import (
    cover,
    draw_photos,
    filter_photo,
    frame,
    paste,
    save_jpeg,
    show_on_page,
)
from tests.verification.scenes import draw_scene, turn, warp_scene

SCENE, OTHER = draw_photos()
SAME = np.eye(3)


def view(pixels):
    return View(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY), pixels.shape[1::-1])


@pytest.mark.parametrize("H", [SAME, turn(20, 0.7, (50, -10)), turn(0, 2, (-100, 40)), turn(0, 1, (999, 0))])
def test_overlaps_are_shares_of_either_photo(H):
    shares = measure_overlaps(H, (320, 240), (200, 160))
    assert min(shares) >= 0
    assert shares[1] == pytest.approx(np.nan_to_num(measure_overlap(H, (320, 240), (200, 160))))
    assert shares[0] * 320 * 240 * abs(np.linalg.det(H)) == pytest.approx(shares[1] * 200 * 160)


def test_blocks_of_a_copy_agree_and_those_under_a_banner_do_not():
    photo = view(SCENE)
    same, filtered, covered = (
        compare_views(photo, view(p), SAME) for p in (SCENE, filter_photo(SCENE), cover(SCENE))
    )
    assert (same.agreement, same.share, same.gain) == (pytest.approx(1), 1, pytest.approx(1))
    assert filtered.share > 0.95
    assert 0.5 < covered.share < 0.9 < covered.median
    assert compare_views(photo, view(OTHER), SAME).share < 0.1
    assert compare_views(photo, view((SCENE // 2 + 40).astype(np.uint8)), SAME).gain == pytest.approx(
        0.5, 0.02
    )


def test_flat_photos_have_no_blocks():
    flat = view(np.full((90, 120, 3), 77, np.uint8))
    found = compare_views(flat, flat, SAME)
    assert (found.n_blocks, np.isnan(found.share), np.isnan(found.agreement)) == (0, True, True)


def test_a_blend_echoes_both_photos_and_nothing_else():
    photo, blend = view(SCENE), view(cv2.addWeighted(SCENE, 0.5, OTHER, 0.5, 0))
    assert measure_echo(photo, blend, SAME) > 0.9
    assert measure_echo(view(OTHER), blend, SAME) > 0.9
    assert measure_echo(view(draw_scene(77)), blend, SAME) < 0.3
    assert measure_echo(photo, view(warp_scene(SCENE, turn(0, 1, (4, 3)), (320, 240))), SAME) < 0.3


def test_the_outline_of_what_was_pasted_is_a_seam_and_that_of_a_crop_is_none():
    small = cv2.resize(SCENE, (140, 105), interpolation=cv2.INTER_AREA)
    assert measure_seam(view(small), view(paste(SCENE, OTHER)), turn(0, 1, (110, 60))) > 2
    assert measure_seam(view(SCENE), view(show_on_page(SCENE)), turn(0, 1, (50, 60))) > 2
    assert measure_seam(view(SCENE[40:200, 60:260]), view(SCENE), turn(0, 1, (60, 40))) < 1.5
    assert np.isnan(measure_seam(view(SCENE), view(SCENE), SAME))


def test_a_plain_border_is_told_from_a_page():
    assert is_framed(view(SCENE), view(frame(SCENE)), turn(0, 1, (60, 40)))
    assert not is_framed(view(SCENE), view(show_on_page(SCENE)), turn(0, 1, (50, 60)))


def test_a_small_place_that_differs_stands_out_of_the_noise():
    changed = SCENE.copy()
    changed[100:108, 150:156] = 255 - changed[100:108, 150:156]
    assert measure_difference(view(SCENE), view(changed), SAME) > 5
    shifted = warp_scene(SCENE, turn(0, 1, (0.6, -0.4)), (320, 240))
    assert measure_difference(view(SCENE), view(shifted), SAME) < 2.6
    assert measure_difference(view(SCENE), view((SCENE * 0.6 + 30).astype(np.uint8)), SAME) < 1


@pytest.mark.parametrize("quality", [95, 40])
def test_a_rectangle_over_a_photo_is_told_from_another_thing_in_front_of_one_ground(quality):
    covered, moved = SCENE.copy(), SCENE.copy()
    covered[60:180, 40:300] = (200, 30, 30)
    cv2.ellipse(moved, (170, 120), (130, 60), 20, 0, 360, (200, 30, 30), -1)
    photo, framed = view(SCENE), SCENE.copy()
    framed[60:180, 40:300] = OTHER[60:180, 40:300]
    assert find_cover(photo, view(save_jpeg(covered, quality)), SAME) == "drawn"
    assert find_cover(view(covered), photo, SAME) == "drawn"
    assert find_cover(photo, view(save_jpeg(framed, quality)), SAME) == "pictures"
    assert find_cover(photo, view(save_jpeg(moved, quality)), SAME) is None
    assert find_cover(photo, view(OTHER), SAME) is None


def test_a_rectangle_is_found_where_a_photo_was_turned_too():
    H = turn(12, 0.9, (40, -10))
    turned = warp_scene(SCENE, H, (320, 240))
    turned[90:150, 110:220] = 255
    assert find_cover(view(SCENE), view(turned), H) == "drawn"
    assert find_cover(view(turned), view(SCENE), np.linalg.inv(H)) == "drawn"


def test_keypoints_of_a_smaller_picture_lie_where_those_of_the_photo_do():
    grey = view(SCENE).grey
    large = cv2.resize(grey, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    few, whole = find_keypoints(large, 200, 320), find_keypoints(grey, 200)
    assert len(few.points) > 100
    apart = np.hypot(*(few.points[:, None, :2] / 2 - 0.25 - whole.points[:, :2]).transpose(2, 0, 1))
    assert np.median(apart.min(axis=1)) < 0.5
    assert np.median(few.points[:, 2]) == pytest.approx(2 * np.median(whole.points[:, 2]), rel=0.2)


def test_views_are_reduced_or_enlarged_to_one_scale():
    settings = RelateSettings(max_side=256)
    sides = [prepare_view(np.zeros((h, w, 3), np.uint8), settings).frame for h, w in ((60, 80), (900, 600))]
    assert sides == [(160, 120), (171, 256)]
    strict = RelateSettings(max_side=256, strict=True)
    assert prepare_view(np.zeros((900, 600, 3), np.uint8), strict).frame == (341, 512)
