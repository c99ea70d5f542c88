import numpy as np
import pytest

from resight.asmk.statistics import inverse_roots, word_weights
from tests.asmk import oracles


def test_a_word_in_every_image_weighs_nothing_and_one_in_a_single_image_most():
    found = word_weights(np.array([4, 1, 0, 2]), 4)
    np.testing.assert_allclose(found, [0, np.log(4) ** 2, 0, np.log(2) ** 2])
    assert word_weights(np.array([4, 1, 0]), 4, use_idf=False).tolist() == [1, 1, 0]


def test_weights_are_those_of_the_definition(rng):
    images = [dict.fromkeys(rng.choice(9, rng.integers(0, 6), replace=False).tolist()) for _ in range(20)]
    counts = np.array([sum(c in image for image in images) for c in range(9)])
    np.testing.assert_allclose(word_weights(counts, 20), oracles.weigh(images, 9))


def test_nothing_to_weigh_gives_no_norm_and_never_a_nan():
    assert inverse_roots(np.array([0.0, 4.0, -1e-30])).tolist() == [0, 0.5, 0]
    assert word_weights(np.zeros(2, int), 0).tolist() == [0, 0]


def test_more_images_with_a_word_than_there_are_is_refused():
    with pytest.raises(ValueError, match="a word is in 3 images, of 2"):
        word_weights(np.array([3]), 2)
