import numpy as np
import pytest

from resight.verification.robust import estimate_robustly
from tests.verification.scenes import apply

H = np.array([[0.9, 0.1, 20], [-0.05, 1.1, -10], [3e-4, -2e-4, 1]])


def planted_points(rng, *, n=80, n_wrong=40, noise=0.3):
    xy = rng.random((n + n_wrong, 2)) * 500
    to = np.concatenate([apply(H, xy[:n]), rng.random((n_wrong, 2)) * 500])
    return xy, to + noise * rng.standard_normal(to.shape)


def test_planted_homography_is_found(rng):
    a, b = planted_points(rng)
    found = estimate_robustly(a, b, model="homography", tolerance=4.0)
    corners = np.array([[0, 0], [500, 0], [500, 500], [0, 500.0]])
    np.testing.assert_allclose(apply(found.transform, corners), apply(H, corners), atol=2)
    assert found.inliers[:80].mean() > 0.97
    assert found.inliers[80:].mean() < 0.1


def test_two_views_of_points_in_space_obey_the_fundamental_matrix(rng):
    X = np.c_[rng.uniform(-2, 2, (100, 2)), rng.uniform(4, 8, 100)]
    view = X + np.array([0.8, 0.1, 0.2])
    a, b = (250 + 400 * P[:, :2] / P[:, 2:] for P in (X, view))
    b[80:] = rng.random((20, 2)) * 500
    found = estimate_robustly(a, b, model="fundamental", tolerance=2.0)
    products = np.einsum("ni,ij,nj->n", np.c_[b, np.ones(100)], found.transform, np.c_[a, np.ones(100)])
    lines = np.c_[a, np.ones(100)] @ found.transform.T
    off = abs(products) / np.hypot(lines[:, 0], lines[:, 1])
    assert np.median(off[:80]) < 0.5
    assert found.inliers[:80].mean() > 0.9


@pytest.mark.parametrize("model", ["homography", "fundamental"])
def test_what_was_estimated_before_changes_nothing(rng, model):
    a, b = planted_points(rng)
    first = estimate_robustly(a, b, model=model, tolerance=4.0)
    estimate_robustly(*planted_points(rng), model=model, tolerance=4.0)
    again = estimate_robustly(a, b, model=model, tolerance=4.0)
    assert first.transform.tobytes() == again.transform.tobytes()
    np.testing.assert_array_equal(first.inliers, again.inliers)


@pytest.mark.parametrize(("model", "n"), [("homography", 3), ("fundamental", 7)])
def test_too_few_matches_and_matches_of_one_place_give_nothing(rng, model, n):
    a, b = planted_points(rng)
    assert estimate_robustly(a[:n], b[:n], model=model, tolerance=4.0) is None
    same = np.full((30, 2), 5.0)
    assert estimate_robustly(same, same, model=model, tolerance=4.0) is None
