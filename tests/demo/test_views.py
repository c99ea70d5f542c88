import cv2
import numpy as np
import pytest

from resight.demo.views import FOCAL, VIEWS, Props, frame_on_plane, look_at, stick_on

FRAME = np.array([(-320, -240), (320, -240), (320, 240), (-320, 240)], float)


def project(point, yaw, pitch, roll):
    """Pinhole camera, written out: turn the plane about x, y, z, move it away, divide by depth."""
    x, y, z = point[0], point[1], 0.0
    y, z = y * np.cos(pitch) - z * np.sin(pitch), y * np.sin(pitch) + z * np.cos(pitch)
    x, z = x * np.cos(yaw) + z * np.sin(yaw), -x * np.sin(yaw) + z * np.cos(yaw)
    x, y = x * np.cos(roll) - y * np.sin(roll), x * np.sin(roll) + y * np.cos(roll)
    focal = FOCAL * 640
    return focal * x / (z + focal), focal * y / (z + focal)


@pytest.mark.parametrize("angles", [(0, 0, 0), (0.6, 0.1, 0.05), (-0.3, 0.7, -0.2), (0.1, 0.1, 0.4)])
def test_corners_on_the_plane_project_to_the_corners_of_the_frame(angles):
    for corner, point in zip(FRAME, frame_on_plane(FRAME, np.array(angles)), strict=True):
        np.testing.assert_allclose(project(point, *angles), corner, atol=1e-6)


def test_camera_in_front_sees_the_picture_itself(rng):
    image = cv2.GaussianBlur(rng.integers(0, 256, (60, 80, 3)).astype(np.uint8), (0, 0), 3)
    seen = look_at(image, angles=(0, 0, 0), longer_side=80)
    np.testing.assert_allclose(seen.astype(int), image.astype(int), atol=1)


@pytest.mark.parametrize("zoom", [1.0, 1.5])
def test_frame_stays_inside_the_picture(rng, zoom):
    """A picture that stores its own coordinates shows none twice, as invented borders would."""
    y, x = np.mgrid[0:256, 0:256].astype(np.uint8)
    image = np.dstack([x, y, np.full_like(x, 128)])
    for _ in range(20):
        angles = tuple(rng.uniform(-40, 40, 3))
        seen = look_at(image, angles=angles, zoom=zoom, shift=tuple(rng.uniform(-1, 1, 2)))
        for row in (seen[0], seen[-1], seen[:, 0], seen[:, -1]):
            steps = np.abs(np.diff(row[:, :2].astype(int), axis=0)).sum(1)
            repeated = np.convolve(steps == 0, np.ones(12), "valid").max()
            assert repeated < 12 or zoom > 1


def test_print_covers_its_share_and_the_rest_is_ground(rng):
    ground = np.full((300, 400, 3), 200, np.uint8)
    scene = stick_on(np.full((100, 100, 3), 20, np.uint8), ground, rng, share=0.5)
    dark = (scene < 60).all(2).mean()
    assert 0.05 < dark < 0.5 * 0.5 * 400 / 300 + 0.02
    assert (scene == 200).all(2).mean() > 0.3


@pytest.mark.parametrize("name", VIEWS)
def test_view_leaves_its_input_alone_and_follows_the_generator(rng, name):
    image, ground = rng.integers(0, 256, (2, 200, 300, 3)).astype(np.uint8)
    before = image.copy()
    props = Props([ground], [ground, image])
    one, two = (VIEWS[name](image, props, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(image, before)
    assert one.dtype == np.uint8
    assert one.ndim == 3
