"""The colour descriptor against a loop over pixels, and what it must not see."""

import cv2
import numpy as np
import pytest

from resight.features.colour import BINS, DIMS, describe_colour


@pytest.fixture
def photo(rng):
    coarse = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(coarse, (56, 40), interpolation=cv2.INTER_CUBIC)


def border_shares(chroma):
    """How much more often a chroma bin is in the border than in the photo, pixel by pixel."""
    h, w = chroma.shape[:2]
    top, left = round(0.06 * h), round(0.06 * w)
    whole, border = np.zeros((12, 12)), np.zeros((12, 12))
    for y, x in np.ndindex(h, w):
        a, b = chroma[y, x]
        whole[a, b] += 1
        border[a, b] += not (top <= y < h - top and left <= x < w - left)
    return (border / border.sum()) / np.maximum(whole / whole.sum(), 1e-9)


def describe_by_loop(pixels):
    """Follow the definition pixel by pixel; a bin gets a tent's height at the pixel's distance."""
    h, w = pixels.shape[:2]
    lab = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).astype(np.float64)
    places = (lab + np.array([0, 100, 100])) / [100 / 6, 200 / 12, 200 / 12]
    chroma = places[..., 1:].astype(int)
    shares = border_shares(chroma)
    histogram = np.zeros(BINS)
    for y, x in np.ndindex(h, w):
        dy, dx = (y + 0.5) / h - 0.5, (x + 0.5) / w - 0.5
        weight = np.exp(-(dy**2 + dx**2) / (2 * 0.3**2))
        weight *= np.clip(1 - shares[tuple(chroma[y, x])], 0.05, 1)
        tents = []
        for place, n in zip(places[y, x], BINS, strict=True):
            place = min(max(place, 0.5), n - 0.5)  # beyond the last centre all is in the last bin
            tents.append(np.maximum(1 - np.abs(np.arange(n) + 0.5 - place), 0))
        histogram += weight * np.einsum("i,j,k->ijk", *tents)
    return np.sqrt(histogram.ravel() / histogram.sum())


def test_colour_equals_the_definition(photo):
    vector = describe_colour(photo)
    assert vector.shape == (DIMS,)
    np.testing.assert_allclose(vector, describe_by_loop(photo), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-6)


def test_mirrored_photos_have_the_same_colours(photo):
    np.testing.assert_allclose(describe_colour(photo[:, ::-1]), describe_colour(photo), atol=1e-6)


def test_the_colour_of_the_border_counts_little():
    red, blue = np.full((40, 40, 3), (200, 0, 0)), np.full((40, 40, 3), (0, 0, 200))
    on_red, on_blue = red.copy(), blue.copy()
    on_red[10:30, 10:30] = on_blue[10:30, 10:30] = (0, 160, 0)
    vectors = [describe_colour(p.astype(np.uint8)) for p in (on_red, on_blue)]
    assert vectors[0] @ vectors[1] > 0.9


def test_a_little_more_light_changes_little(photo):
    brighter = np.clip(photo.astype(int) + 6, 0, 255).astype(np.uint8)
    assert describe_colour(photo) @ describe_colour(brighter) > 0.98


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (2, 2), (3, 3)])
def test_tiny_photos_have_a_descriptor(shape):
    vector = describe_colour(np.full((*shape, 3), 90, np.uint8))
    np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-6)
