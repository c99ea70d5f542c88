import numpy as np
import pytest

from resight.graph.regions.nodes import make_nodes
from tests.synthetic import unit

OFFSETS = np.array([0, 5, 6, 12])
NUMBERS = np.array([0, 1, 2, 3, 4, 0, 0, 1, 2, 3, 4, 7], np.int32)


@pytest.fixture
def vectors(rng):
    return 3 * rng.normal(size=(12, 8)).astype(np.float32)


def test_regions_are_kept_and_weighed_by_generalised_max_pooling(vectors):
    nodes = make_nodes(vectors, OFFSETS, NUMBERS, lam=2.0)
    np.testing.assert_array_equal(nodes.offsets, OFFSETS)
    np.testing.assert_array_equal(nodes.region_ix, NUMBERS)
    np.testing.assert_allclose(nodes.vectors, unit(vectors), atol=1e-6)
    for a, b in ((0, 5), (5, 6), (6, 12)):
        Phi = unit(vectors[a:b]).astype(np.float64)
        expected = np.linalg.inv(Phi @ Phi.T + 2 * np.eye(b - a)).sum(1)
        np.testing.assert_allclose(nodes.weights[a:b], expected, atol=1e-6)


@pytest.mark.parametrize("compress", [0, 2])
def test_what_an_image_becomes_depends_on_it_alone(vectors, compress):
    together = make_nodes(vectors, OFFSETS, NUMBERS, compress=compress)
    for i, (a, b) in enumerate(((0, 5), (5, 6), (6, 12))):
        alone = make_nodes(vectors[a:b], np.array([0, b - a]), NUMBERS[a:b], compress=compress)
        some = slice(together.offsets[i], together.offsets[i + 1])
        np.testing.assert_array_equal(alone.vectors, together.vectors[some])
        np.testing.assert_array_equal(alone.region_ix, together.region_ix[some])
        np.testing.assert_array_equal(alone.weights, together.weights[some])


def test_means_are_named_by_the_nearest_region(vectors):
    nodes = make_nodes(vectors, OFFSETS, NUMBERS, compress=2)
    assert np.diff(nodes.offsets).tolist() == [2, 1, 2]
    np.testing.assert_allclose(np.linalg.norm(nodes.vectors, axis=1), 1, atol=1e-6)
    similar = nodes.vectors[3:] @ unit(vectors[6:]).T
    np.testing.assert_array_equal(nodes.region_ix[3:], NUMBERS[6:][similar.argmax(1)])


@pytest.mark.parametrize("compress", [0, 3])
def test_unusable_regions_stay_and_weigh_nothing(vectors, compress):
    vectors[5], vectors[1], vectors[8] = 0, np.nan, 0
    nodes = make_nodes(vectors, OFFSETS, NUMBERS, compress=compress)
    assert sorted(nodes.status[nodes.status != "ok"]) == ["nan", "zero", "zero"]
    np.testing.assert_array_equal(np.isnan(nodes.weights), nodes.status != "ok")
    usable = np.delete(vectors[:5], 1, axis=0)
    alone = make_nodes(usable, np.array([0, 4]), np.delete(NUMBERS[:5], 1), compress=compress)
    first = slice(0, nodes.offsets[1])
    np.testing.assert_array_equal(nodes.weights[first][nodes.status[first] == "ok"], alone.weights)
