"""A model of overlapping photos: two of a calibrated stereo pair, and a part of one of them."""

import numpy as np
import pytest

from resight.mining.reconstruction.colmap import read_model
from resight.mining.reconstruction.covisible import are_eligible, pair_images
from tests.mining.models import LEFT, PART, RIGHT, reconstruct_stereo


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stereo")
    reconstruct_stereo(folder)
    return read_model(str(folder / "model"))


@pytest.fixture(scope="module")
def pairs(model):
    found = pair_images(np.arange(3), np.arange(3), *model[1:])
    rows = zip(*(column.tolist() for column in found), are_eligible(found).tolist(), strict=True)
    return {(model.names[q], model.names[i]): row for q, i, *row in rows}


def test_cameras_and_depths_are_those_of_the_scene(model):
    at = model.centres[[model.names.index(name) for name in (LEFT, RIGHT, PART)]]
    np.testing.assert_allclose(at, [[0, 0, 0], [0.193, 0, 0], [0, 0, 0]], atol=1e-3)
    own = model.names.index(LEFT)
    depth = 994.978 / 741 / model.sizes[model.offsets[own] : model.offsets[own + 1]]
    assert len(depth) > 200
    assert 2 < np.median(depth) < 4  # metres


def test_the_share_of_points_is_that_of_the_anchor(pairs):
    common = pairs[LEFT, PART][0]
    assert common == pairs[PART, LEFT][0] > 50
    assert pairs[LEFT, PART][1] < 0.6 < pairs[PART, LEFT][1]


def test_a_view_is_a_positive_and_an_enlarged_part_is_not(pairs):
    assert pairs[LEFT, RIGHT][3]
    assert pairs[RIGHT, LEFT][3]
    assert pairs[LEFT, RIGHT][2] == pytest.approx(1, abs=1e-6)
    assert pairs[LEFT, PART][2] == pytest.approx(741 / 300, rel=1e-6)
    assert not pairs[LEFT, PART][3]
