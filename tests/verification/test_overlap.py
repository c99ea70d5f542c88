import numpy as np
import pytest

from resight.verification.overlap import area_of, clip_polygon, measure_overlap, measure_spread
from tests.verification.scenes import apply, turn

CASES = {
    "same": (np.eye(3), (60, 40), (60, 40)),
    "shifted": (turn(0, 1, (30, 10)), (60, 40), (60, 40)),
    "crop": (turn(0, 2, (-40, -20)), (60, 40), (70, 50)),
    "turned": (turn(50, 0.7, (40, -5)), (60, 45), (70, 50)),
    "apart": (turn(0, 1, (500, 0)), (60, 40), (60, 40)),
    "tilted": (np.array([[1, 0.1, 3], [0.05, 1.2, -4], [2e-3, 1e-3, 1]]), (60, 40), (50, 60)),
}


@pytest.mark.parametrize("name", CASES)
def test_overlap_equals_the_share_of_sampled_places(name):
    H, size_a, size_b = CASES[name]
    own, other, to_other = size_a, size_b, H
    if size_b[0] * size_b[1] < size_a[0] * size_a[1]:
        own, other, to_other = size_b, size_a, np.linalg.inv(H)
    x, y = ((np.arange(20 * side) + 0.5) / 20 - 0.5 for side in own)
    places = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    u, v = apply(to_other, places).T
    inside = (u >= -0.5) & (v >= -0.5) & (u <= other[0] - 0.5) & (v <= other[1] - 0.5)
    assert abs(measure_overlap(H, size_a, size_b) - inside.mean()) < 2e-3


def test_a_map_through_infinity_has_no_overlap_to_speak_of():
    H = np.array([[1, 0, 0], [0, 1, 0], [0.05, 0, 1.0]])
    assert np.isnan(measure_overlap(H, (60, 40), (61, 40)))


def test_spread_is_the_hull_in_the_smaller_photo():
    square = np.array([[10, 10], [30, 10], [30, 30], [10, 30], [20, 20.0]])
    assert measure_spread(square, square * 2, (40, 40), (80, 80)) == 400 / 1600
    assert measure_spread(square * 2, square, (80, 80), (40, 40)) == 400 / 1600
    assert measure_spread(square[:2], square[:2], (40, 40), (80, 80)) == 0


def test_clipping_keeps_what_is_inside_and_drops_what_is_outside():
    inner = np.array([[1, 1], [3, 1], [3, 3.0]])
    np.testing.assert_array_equal(clip_polygon(inner, (5, 5)), inner)
    assert len(clip_polygon(inner + 10, (5, 5))) == 0
    assert area_of(clip_polygon(np.array([[-5, -5], [15, -5], [15, 15], [-5, 15.0]]), (8, 6))) == 48
