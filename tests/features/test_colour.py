"""The colour descriptor against a loop over pixels, and what it must not see."""

import cv2
import numpy as np
import pytest

from resight.features.colour import BINS, DIMS, describe_colour


@pytest.fixture
def photo(rng):
    coarse = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(coarse, (56, 40), interpolation=cv2.INTER_CUBIC)


def describe_by_loop(pixels):
    """Follow the definition pixel by pixel."""
    h, w = pixels.shape[:2]
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)
    bins = [[[int(v) * n // 256 for v, n in zip(p, BINS, strict=True)] for p in row] for row in lab]
    top, left = round(0.06 * h), round(0.06 * w)
    whole, border = np.zeros((12, 12)), np.zeros((12, 12))
    for y, x in np.ndindex(h, w):
        _, a, b = bins[y][x]
        whole[a, b] += 1
        border[a, b] += not (top <= y < h - top and left <= x < w - left)
    histogram = np.zeros(BINS)
    for y, x in np.ndindex(h, w):
        light, a, b = bins[y][x]
        share = (border[a, b] / border.sum()) / (whole[a, b] / whole.sum())
        dy, dx = (y + 0.5) / h - 0.5, (x + 0.5) / w - 0.5
        centre = np.exp(-(dy**2 + dx**2) / (2 * 0.3**2))
        histogram[light, a, b] += np.clip(1 - share, 0.05, 1) * centre
    return np.sqrt(histogram.ravel() / histogram.sum())


def test_colour_equals_the_definition(photo):
    vector = describe_colour(photo)
    assert vector.shape == (DIMS,)
    np.testing.assert_allclose(vector, describe_by_loop(photo), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-6)


def test_mirrored_photos_have_the_same_colours(photo):
    np.testing.assert_allclose(describe_colour(photo[:, ::-1]), describe_colour(photo), atol=1e-6)


def test_the_colour_of_the_border_counts_little():
    red, blue = np.full((40, 40, 3), (200, 0, 0)), np.full((40, 40, 3), (0, 0, 200))
    on_red, on_blue = red.copy(), blue.copy()
    on_red[10:30, 10:30] = on_blue[10:30, 10:30] = (0, 160, 0)
    vectors = [describe_colour(p.astype(np.uint8)) for p in (on_red, on_blue)]
    assert vectors[0] @ vectors[1] > 0.9


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (2, 2), (3, 3)])
def test_tiny_photos_have_a_descriptor(shape):
    vector = describe_colour(np.full((*shape, 3), 90, np.uint8))
    np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-6)
