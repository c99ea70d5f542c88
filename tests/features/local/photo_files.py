"""Photos of the tests as files in memory, and photos made from them."""

import cv2
import numpy as np

from tests.pictures import PHOTOS


def photo_pixels(name, *, side=None):
    pixels = cv2.imread(str(PHOTOS[name]))[..., ::-1]
    if side is not None:
        factor = side / max(pixels.shape[:2])
        pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(pixels)


def encode(pixels, suffix=".png"):
    return cv2.imencode(suffix, np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()


FLAT = encode(np.full((200, 300, 3), 127, np.uint8))


def matches(a, b):
    """Pairs of mutual nearest neighbours of two sets of features: rows of a, rows of b."""
    similarity = a.vectors @ b.vectors.T
    forward, backward = similarity.argmax(1), similarity.argmax(0)
    rows = np.flatnonzero(backward[forward] == np.arange(len(forward)))
    return rows, forward[rows]
