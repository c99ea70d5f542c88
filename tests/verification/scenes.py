"""Pictures with keypoints, and what is known about pairs of them."""

import cv2
import numpy as np

from resight.features.local.rootsift import RootSift


def draw_scene(seed, *, width=320, height=240):
    """Draw noise of several sizes: corners and blobs everywhere, (h, w, 3) uint8."""
    rng = np.random.default_rng(seed)
    scene = np.zeros((height, width, 3), np.float32)
    for cells in (6, 14, 40, 90):
        noise = rng.random((cells * height // width, cells, 3), np.float32) - 0.5
        scene += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) * 14 / (cells**0.5)
    return np.clip(128 + 40 * scene, 0, 255).astype(np.uint8)


def describe(pixels, *, limit=300):
    return RootSift(0.01, 12).describe(pixels, limit=limit)


def warp_scene(pixels, H, size):
    """Draw the picture as another camera sees it, on a grey ground."""
    return cv2.warpPerspective(pixels, H, size, flags=cv2.INTER_LINEAR, borderValue=(128, 128, 128))


def turn(degrees, zoom, shift):
    """Give the similarity (3, 3) that turns, zooms and shifts."""
    c, s = zoom * np.cos(np.deg2rad(degrees)), zoom * np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, shift[0]], [s, c, shift[1]], [0, 0, 1]])


def apply(H, xy):
    mapped = np.c_[xy, np.ones(len(xy))] @ H.T
    return mapped[:, :2] / mapped[:, 2:]
