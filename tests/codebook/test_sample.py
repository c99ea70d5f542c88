import numpy as np

from resight.codebook.sample import choose_starts, draw_descriptors


def test_draws_depend_on_image_place_and_seed_only():
    found = draw_descriptors(7, 500, 1)
    np.testing.assert_array_equal(found[:20], draw_descriptors(7, 20, 1))
    for other in (draw_descriptors(8, 500, 1), draw_descriptors(7, 500, 2), draw_descriptors(-7, 500, 1)):
        assert not (found == other).any()


def test_draws_are_spread_evenly():
    drawn = np.concatenate([draw_descriptors(image, 100, 0) for image in range(2**62, 2**62 + 200)])
    assert ((drawn >= 0) & (drawn < 1)).all()
    counts = np.histogram(drawn, bins=20, range=(0, 1))[0]
    assert (np.abs(counts - 1000) < 5 * np.sqrt(1000)).all()


def test_the_start_is_the_smallest_draws_in_order(rng):
    draws, points = rng.random(30), rng.normal(size=(30, 4))
    expected = points[np.argsort(draws)[:5]].astype(np.float32)
    np.testing.assert_array_equal(choose_starts(draws, points, 5), expected)
    assert len(choose_starts(draws, points, 99)) == 30
