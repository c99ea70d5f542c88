import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from resight.diffusion.compress import FLOOR, choose_centres, compress_images, compress_regions, fit_mixture
from tests.diffusion.planted_curves import add_noise, unit


def test_mixture_equals_scikit_learn_from_the_same_start(rng):
    X = unit(rng.standard_normal((60, 3)))
    start = choose_centres(X, 4, np.random.default_rng(0))
    spread = np.square(X[:, None] - start[None]).sum(2).min(1).mean() / 3
    model = GaussianMixture(4, covariance_type="spherical", reg_covar=0, means_init=start, max_iter=2000)
    model.set_params(weights_init=np.full(4, 0.25), precisions_init=np.full(4, 1 / spread), tol=1e-12)
    np.testing.assert_allclose(fit_mixture(X, start, 2000), model.fit(X).means_, atol=1e-3)


def test_tight_groups_become_their_centres(rng):
    centres = unit(rng.standard_normal((5, 32)))
    X = add_noise(np.repeat(centres, 4, axis=0), 0.05, rng)
    found = compress_regions(X, g=5)
    nearest = (found @ centres.T).argmax(1)
    assert sorted(nearest) == list(range(5))
    expected = unit(X.reshape(5, 4, 32).mean(1))[nearest]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-6)


def test_few_distinct_regions_are_kept_in_their_order(rng):
    X = unit(rng.standard_normal((3, 8))).astype(np.float32)
    np.testing.assert_array_equal(compress_regions(X[[2, 0, 2, 1, 0, 1]], g=4), X[[2, 0, 1]])
    np.testing.assert_array_equal(compress_regions(X, g=3), X)


def test_compression_repeats_itself_and_images_do_not_touch_each_other(rng):
    X = unit(rng.standard_normal((40, 16)))
    Z, offsets = compress_images(X, np.array([0, 21, 21, 24, 40]), g=5)
    assert np.diff(offsets).tolist() == [5, 0, 3, 5]
    np.testing.assert_array_equal(Z[:5], compress_regions(X[:21], g=5))
    np.testing.assert_array_equal(Z[8:], compress_regions(X[24:], g=5))


def test_regions_that_nearly_coincide_do_not_break_the_mixture(rng):
    X = unit(np.ones((12, 4)) + 1e-9 * rng.standard_normal((12, 4)))
    found = compress_regions(X, g=3)
    np.testing.assert_allclose(found, 0.5, atol=np.sqrt(FLOOR))


def test_regions_that_cancel_leave_one_of_them():
    X = np.array([[1.0, 0], [-1, 0]])
    assert compress_regions(X, g=1).tolist() == [[1, 0]]


def test_no_component_is_an_error():
    with pytest.raises(ValueError, match="g is 0"):
        compress_regions(np.eye(3), g=0)
