import numpy as np
import pytest

from resight.verification.estimate import Estimate, count_distinct, estimate_affine
from tests.verification.scenes import apply, turn


def planted_matches(rng, H, *, n=60, n_wrong=60, noise=0.5, oriented=True):
    """Points of a 512 x 384 photo and where the affine map ``H`` takes them, then wrong ones, shuffled."""
    size = np.array([512, 384])
    xy = rng.random((n + n_wrong, 2)) * size
    to = np.concatenate([apply(H, xy[:n]), rng.random((n_wrong, 2)) * size])
    to += noise * rng.standard_normal(to.shape)
    scale, angle = 4 + 20 * rng.random(len(xy)), 360 * rng.random(len(xy))
    linear = complex(H[0, 0] + H[1, 1], H[1, 0] - H[0, 1]) / 2
    there = scale * abs(linear), (angle + np.rad2deg(np.angle(linear))) % 360
    there[0][n:], there[1][n:] = 10, 30 * rng.random(n_wrong)
    if not oriented:
        angle, there = 0 * angle, (there[0], 0 * angle)
    order = rng.permutation(len(xy))
    return np.c_[xy, scale, angle][order], np.c_[to, *there][order], order < n


MAPS = {
    "identity": np.eye(3),
    "turned": turn(110, 0.6, (350, 60)),
    "zoomed": turn(-20, 2.5, (-300, -200)),
    "sheared": np.array([[1.1, 0.25, -40], [-0.15, 0.8, 60], [0, 0, 1.0]]),
}


@pytest.mark.parametrize("oriented", [True, False])
@pytest.mark.parametrize("name", MAPS)
def test_planted_maps_are_found_among_as_many_wrong_matches(rng, name, oriented):
    a, b, right = planted_matches(rng, MAPS[name], oriented=oriented)
    found = estimate_affine(a, b, tolerance=4.0)
    assert isinstance(found, Estimate)
    corners = np.array([[0, 0], [512, 0], [512, 384], [0, 384.0]])
    np.testing.assert_allclose(apply(found.transform, corners), apply(MAPS[name], corners), atol=2.5)
    assert (found.inliers & right).sum() >= 58
    assert (found.inliers & ~right).sum() <= 3
    assert found.n_distinct <= found.inliers.sum()


def test_equal_points_give_the_identity_to_rounding(rng):
    a, _, _ = planted_matches(rng, np.eye(3), n_wrong=0)
    found = estimate_affine(a, a, tolerance=8.0)
    np.testing.assert_allclose(found.transform, np.eye(3), atol=1e-9)
    assert found.inliers.all()


def test_no_map_wins_by_shrinking_everything_to_a_point(rng):
    a, b, _ = planted_matches(rng, np.eye(3), n=0, n_wrong=100)
    b[:, 2] = 0.7  # every match proposes a map that shrinks a to a few pixels of b
    assert count_of(estimate_affine(a, b, tolerance=8.0)) < 8


def count_of(found):
    return found.n_distinct if found else 0


@pytest.mark.parametrize("n", [0, 1, 2])
def test_fewer_than_three_matches_explain_nothing(rng, n):
    a, b, _ = planted_matches(rng, np.eye(3), n=n, n_wrong=0)
    assert estimate_affine(a, b, tolerance=8.0) is None


def test_matches_of_one_line_or_one_place_stay_sound(rng):
    a, _, _ = planted_matches(rng, np.eye(3), n_wrong=0)
    a[:, 1] = 2 * a[:, 0]
    found = estimate_affine(a, a, tolerance=4.0)  # a similarity from one match is all there is
    np.testing.assert_allclose(found.transform, np.eye(3), atol=1e-9)
    a[:, :2] = 7.0
    assert estimate_affine(a, a, tolerance=4.0) is None


def test_inliers_of_one_cell_count_once():
    xy = np.array([[0.1, 0.1, 50, 50], [1.9, 0.2, 90, 90], [9, 9, 50.5, 50.5], [20, 20, 20, 20]])
    assert count_distinct(xy, np.ones(4, bool)) == 3
    assert count_distinct(xy, np.array([True, False, False, True])) == 2
    assert count_distinct(xy, np.zeros(4, bool)) == 0


def test_the_same_matches_give_the_same_bits(rng):
    a, b, _ = planted_matches(rng, MAPS["turned"])
    first, again = (estimate_affine(a.copy(), b.copy(), tolerance=8.0) for _ in range(2))
    assert first.transform.tobytes() == again.transform.tobytes()
    np.testing.assert_array_equal(first.inliers, again.inliers)
