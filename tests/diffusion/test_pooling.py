from itertools import pairwise

import numpy as np
import pytest

from resight.diffusion.pooling import gmp_weights, pool_regions
from tests.diffusion.planted_curves import unit

OFFSETS = np.array([0, 3, 3, 4, 9])


@pytest.mark.parametrize("lam", [0.1, 1.0, 7.0])
def test_weights_solve_the_system_of_each_image(rng, lam):
    Phi = unit(rng.standard_normal((9, 4))).astype(np.float32)
    w = gmp_weights(Phi, OFFSETS, lam=lam)
    for start, stop in pairwise(OFFSETS):
        R = Phi[start:stop].astype(np.float64)
        np.testing.assert_allclose((R @ R.T + lam * np.eye(len(R))) @ w[start:stop], 1, rtol=1e-12)


def test_identical_orthonormal_and_heavily_regularised_regions_have_known_weights(rng):
    x = unit(rng.standard_normal(6))
    np.testing.assert_allclose(gmp_weights(np.tile(x, (5, 1)), np.array([0, 5]), lam=1.0), 1 / 6)
    np.testing.assert_allclose(gmp_weights(np.eye(4), np.array([0, 4]), lam=2.0), 1 / 3)
    w = gmp_weights(unit(rng.standard_normal((8, 6))), np.array([0, 8]), lam=1e6)
    np.testing.assert_allclose(w / w.mean(), 1, atol=1e-4)


def test_overlapping_regions_may_weigh_less_than_nothing():
    angles = np.array([0, 0.3, 0.6])
    assert gmp_weights(np.stack([np.cos(angles), np.sin(angles)], 1), np.array([0, 3]), lam=0.01)[1] < 0


def test_pooling_equals_a_double_loop(rng):
    f, w = rng.standard_normal((9, 3)), rng.standard_normal(9)
    pooled = pool_regions(f, OFFSETS, w)
    for image in range(4):
        rows = range(OFFSETS[image], OFFSETS[image + 1])
        for q in range(3):
            parts = {j: f[j, q] * w[j] for j in rows}
            assert pooled.scores[image, q] == pytest.approx(sum(parts.values()))
            assert pooled.best[image, q] == (max(parts, key=parts.get) if parts else -1)


def test_sum_pooling_weighs_regions_alike_and_the_first_of_equals_is_best():
    pooled = pool_regions(np.array([1.0, 2, 2, 5, 0, 0, 0, 0, 0]), OFFSETS)
    assert pooled.scores.tolist() == [5, 0, 5, 0]
    assert pooled.best.tolist() == [1, -1, 3, 4]


def test_one_region_per_image_ranks_as_the_regions_do(rng):
    f = rng.random(20)
    w = gmp_weights(unit(rng.standard_normal((20, 4))), np.arange(21))
    np.testing.assert_allclose(w, 0.5)
    assert np.argsort(pool_regions(f, np.arange(21), w).scores).tolist() == np.argsort(f).tolist()


def test_images_without_regions_score_nothing():
    pooled = pool_regions(np.zeros(0), np.zeros(3, int))
    assert (pooled.scores.tolist(), pooled.best.tolist()) == ([0, 0], [-1, -1])


def test_wrong_lengths_and_regularisation_are_rejected():
    with pytest.raises(ValueError, match="lambda is 0"):
        gmp_weights(np.eye(2), np.array([0, 2]), lam=0)
    with pytest.raises(ValueError, match="offsets end at 3 for 2 regions"):
        gmp_weights(np.eye(2), np.array([0, 3]))
    with pytest.raises(ValueError, match="2 scores for 3 regions"):
        pool_regions(np.zeros(2), np.array([0, 3]))
