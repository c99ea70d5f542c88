import numpy as np
import pytest

from resight.codebook.medians import draw_projection, fill_medians, project, word_medians
from resight.codebook.model import Codebook
from resight.codebook.quantize import assign


@pytest.mark.parametrize("n_bits", [1, 5, 12])
def test_a_projection_is_orthonormal_and_drawn_by_seed(n_bits):
    P = draw_projection(12, n_bits, seed=3)
    assert P.shape == (n_bits, 12)
    np.testing.assert_allclose(P @ P.T, np.eye(n_bits), atol=1e-6)
    assert (draw_projection(12, n_bits, seed=3) == P).all()
    assert not (draw_projection(12, n_bits, seed=4) == P).all()


def test_more_bits_than_dimensions_are_refused():
    with pytest.raises(ValueError, match="n_bits is 13, expected 1 to 12"):
        draw_projection(12, 13, seed=0)


def test_every_bit_of_a_word_is_one_in_half_of_its_training_descriptors(rng):
    C = (6 * rng.normal(size=(4, 10))).astype(np.float32)
    X = (C[rng.integers(4, size=301)] + rng.normal(size=(301, 10))).astype(np.float32)
    P, words = draw_projection(10, 7, seed=0), assign(X, Codebook(C))[:, 0]
    table = fill_medians(C, P, *word_medians(project(X, P), words))
    for c in range(4):
        ones = (project(X[words == c], P) >= table[c]).sum(0)
        n = (words == c).sum()
        assert (np.abs(ones - n / 2) <= 1).all()


def test_a_word_without_descriptors_has_the_projected_centroid(rng):
    C, P = rng.normal(size=(3, 6)).astype(np.float32), draw_projection(6, 4, seed=0)
    words, medians = word_medians(rng.normal(size=(5, 4)), np.array([2, 0, 2, 2, 0]))
    table = fill_medians(C, P, words, medians)
    np.testing.assert_allclose(table[1], P @ C[1], atol=1e-6)
    np.testing.assert_array_equal(table[[0, 2]], medians)


def test_nothing_to_sort_has_no_medians():
    words, medians = word_medians(np.zeros((0, 4)), np.zeros(0, int))
    assert (words.shape, medians.shape) == ((0,), (0, 4))
