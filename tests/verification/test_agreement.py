import cv2
import numpy as np
import pytest

from resight.verification.agreement import measure_agreement
from tests.verification.scenes import draw_scene, turn, warp_scene


def test_a_photo_agrees_with_itself_wholly():
    scene = draw_scene(1)
    assert measure_agreement(scene, scene, np.eye(3)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("H", [turn(25, 0.8, (60, 20)), turn(0, 2.2, (-200, -100)), turn(-90, 1, (20, 300))])
def test_aligned_copies_agree_and_misaligned_ones_do_not(H):
    scene = draw_scene(2)
    copy = warp_scene(scene, H, (300, 260))
    assert measure_agreement(scene, copy, H) > 0.97
    assert measure_agreement(copy, scene, np.linalg.inv(H)) > 0.97
    assert measure_agreement(scene, copy, turn(0, 1, (60, 45)) @ H) < 0.6


def test_smaller_copies_and_brightness_change_little():
    scene = draw_scene(3)
    H = turn(10, 0.9, (40, 0))
    copy = np.clip(warp_scene(scene, H, (320, 280)) * 0.6 + 30, 0, 255).astype(np.uint8)
    small = cv2.resize(scene, (160, 120), interpolation=cv2.INTER_AREA)
    found = measure_agreement(small, copy, H, size_a=(320, 240))
    assert found == pytest.approx(measure_agreement(scene, copy, H), abs=0.02)
    assert found > 0.95


def test_strangers_do_not_agree():
    assert abs(measure_agreement(draw_scene(4), draw_scene(5), np.eye(3))) < 0.35


def test_flat_or_distant_photos_have_no_agreement():
    flat = np.full((60, 80, 3), 90, np.uint8)
    assert np.isnan(measure_agreement(flat, flat, np.eye(3)))
    scene = draw_scene(6)
    assert np.isnan(measure_agreement(scene, scene, turn(0, 1, (1000, 0))))
