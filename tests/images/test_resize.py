"""`fit_longer_side` keeps proportions, and averages areas when it shrinks."""

import numpy as np
import pytest

from resight.images.resize import fit_longer_side, fitted_size


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def area_weights(n, m):
    """How much of each of n pixels falls into each of m, (m, n)."""
    edges = np.arange(m + 1) * n / m
    overlap = np.minimum(edges[1:, None], np.arange(1, n + 1)) - np.maximum(edges[:-1, None], np.arange(n))
    return np.clip(overlap, 0, None) * m / n


@pytest.mark.parametrize(
    ("width", "height", "longer_side", "expected"),
    [
        (640, 480, 320, (320, 240)),
        (480, 640, 320, (240, 320)),
        (640, 481, 320, (320, 241)),  # 240.5 is rounded up
        (100_000, 1, 256, (256, 1)),
        (1, 100_000, 256, (1, 256)),
        (3, 100_000, 256, (1, 256)),
        (1000, 999, 500, (500, 500)),
        (1, 1, 7, (7, 7)),
        (2, 5, 1000, (400, 1000)),
        (500, 499, 1, (1, 1)),
    ],
)
def test_sizes_are_exact(width, height, longer_side, expected):
    assert fitted_size(width, height, longer_side) == expected
    pixels = fit_longer_side(np.zeros((height, width, 3), np.uint8), longer_side, enlarge=True)
    assert pixels.shape == (expected[1], expected[0], 3)
    assert pixels.dtype == np.uint8


def test_every_size_keeps_its_proportions_to_half_a_pixel(rng):
    for width, height, longer_side in rng.integers(1, 5000, (2000, 3)).tolist():
        got = fitted_size(width, height, longer_side)
        exact = np.array([width, height]) * longer_side / max(width, height)
        assert max(got) == longer_side
        assert (np.abs(np.maximum(exact, 0.5) - got) <= 0.5).all()


@pytest.mark.parametrize(
    ("shape", "longer_side"), [((64, 48), 32), ((61, 47), 23), ((100, 3), 17), ((1, 90), 89)]
)
def test_shrinking_averages_areas(shape, longer_side):
    image = noise(*shape)
    got = fit_longer_side(image, longer_side)
    rows, columns = area_weights(shape[0], got.shape[0]), area_weights(shape[1], got.shape[1])
    expected = np.einsum("ih,hwc,jw->ijc", rows, image.astype(float), columns)
    np.testing.assert_allclose(got, expected, atol=1)


@pytest.mark.parametrize("shape", [(40, 30), (1, 9), (9, 1)])
def test_enlarging_keeps_what_varies_slowly(shape):
    y, x = np.indices(shape)
    image = np.repeat((3 * x + 2 * y + 20)[..., None], 3, axis=2).astype(np.uint8)
    got = fit_longer_side(image, 2 * max(shape), enlarge=True)
    centres = (np.indices(got.shape[:2]) + 0.5) / 2 - 0.5
    expected = 3 * centres[1].clip(0, shape[1] - 1) + 2 * centres[0].clip(0, shape[0] - 1) + 20
    assert got.shape[:2] == (2 * shape[0], 2 * shape[1])
    np.testing.assert_allclose(got[..., 0], expected, atol=1.5)


@pytest.mark.parametrize("longer_side", [40, 41, 1000])
def test_a_small_image_is_left_alone(longer_side):
    image = noise(40, 30)
    assert fit_longer_side(image, longer_side) is image


def test_the_image_given_is_not_modified():
    image = noise(40, 30)
    fit_longer_side(image, 20)[:] = 0
    np.testing.assert_array_equal(image, noise(40, 30))


def test_turned_images_shrink_alike():
    image = noise(40, 30)
    turned = fit_longer_side(np.ascontiguousarray(image.transpose(1, 0, 2)), 17)
    np.testing.assert_allclose(turned.transpose(1, 0, 2), fit_longer_side(image, 17), atol=1)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1), (4, 4, 4), (0, 4, 3), (4, 0, 3)])
def test_what_is_no_rgb_image_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected pixels of shape \(h, w, 3\)"):
        fit_longer_side(np.zeros(shape, np.uint8), 2)


@pytest.mark.parametrize("longer_side", [0, -5])
def test_a_size_below_one_pixel_is_refused(longer_side):
    with pytest.raises(ValueError, match="at least 1"):
        fit_longer_side(noise(4, 4), longer_side)
