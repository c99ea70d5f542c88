import numpy as np
import pytest

from resight.discovery.pooling import (
    fit_box_whitening,
    mean_in_boxes,
    pool_boxes,
    pool_patches,
    sum_boxes,
    unit_rows,
    whiten_rows,
)
from resight.features.whitening import CovarianceSums, Whitening
from tests.discovery.oracles import slow_patches, slow_pool

BOXES = np.array([[0, 0, 5, 6], [1, 2, 2, 3], [3, 1, 5, 6]])


def draw(rng):
    return np.maximum(rng.normal(size=(5, 6, 7)), 0).astype(np.float32)


@pytest.mark.parametrize("p", [0, 1, 2.5, 3, 4])
def test_boxes_and_patches_are_pooled_as_written(rng, p):
    A = draw(rng)
    A[:, :, 3] = 0
    expected = [slow_pool(A, box, p) for box in BOXES]
    np.testing.assert_allclose(pool_boxes(A, BOXES, p=p), expected, rtol=1e-5)
    for side in (1, 3, 7, 13):
        np.testing.assert_allclose(pool_patches(A, side=side, p=p), slow_patches(A, side, p), rtol=1e-5)


def test_great_exponents_neither_overflow_nor_underflow(rng):
    A = draw(rng) * np.float32(1e4)
    pooled = pool_boxes(A, BOXES, p=60)
    assert np.isfinite(pooled).all()
    np.testing.assert_allclose(pooled, pool_boxes(A, BOXES, p=0), rtol=0.06)
    with pytest.raises(ValueError, match="odd"):
        pool_patches(A, side=4, p=3)


def test_the_mean_of_a_map_is_taken_inside_each_box(rng):
    F = rng.uniform(size=(5, 6)).astype(np.float32)
    np.testing.assert_allclose(mean_in_boxes(F, BOXES), [F.mean(), F[1, 2], F[3:5, 1:6].mean()], rtol=1e-6)


def test_an_image_is_whitened_once_on_the_sum_and_zero_stays_zero(rng):
    W = Whitening(rng.normal(size=7), rng.normal(size=(7, 4)))
    pooled = unit_rows(pool_boxes(draw(rng), BOXES, p=3))
    total = pooled.astype(float).sum(0)
    expected = (total / np.linalg.norm(total) - W.mean) @ W.projection
    np.testing.assert_allclose(sum_boxes(pooled, [W]), expected / np.linalg.norm(expected), atol=1e-5)
    zero = np.zeros((1, 7), np.float32)
    np.testing.assert_array_equal(whiten_rows(unit_rows(zero), [W]), np.zeros((1, 4)))
    np.testing.assert_allclose(sum_boxes(pooled[1:2], []), pooled[1], atol=1e-6)


@pytest.mark.parametrize("n", [6, 40])
def test_few_boxes_leave_no_direction_to_chance(rng, n):
    X, U = unit_rows(rng.normal(size=(n, 20))), unit_rows(rng.normal(size=(5, 20)))
    nudged = X + 1e-7 * rng.normal(size=X.shape).astype(np.float32)
    fits = [fit_box_whitening(CovarianceSums.of_rows(rows), dims=12, power=0.3) for rows in (X, nudged)]
    assert fits[0].projection.shape == (20, 20 if n == 6 else 12)
    a, b = (model.apply(U) @ model.apply(X).T for model in fits)
    np.testing.assert_allclose(a, b, atol=1e-4)
