import numpy as np

from resight.search.fused.similarity import Descriptors, Part
from tests.search.collections import save_vectors
from tests.search.fused.worlds import WEIGHT, joined_similarity, make_world


def test_parts_are_compared_as_joined_vectors(rng, tmp_path):
    world = make_world(tmp_path, rng)
    opened, ordinals = world.files.open(), rng.permutation(60)[:20]
    expected = joined_similarity(world)
    np.testing.assert_allclose(
        opened.compare((world.X[3], world.C[3]), ordinals), expected[3, ordinals], atol=1e-6
    )
    a, b = rng.integers(0, 60, (2, 40))
    np.testing.assert_allclose(opened.compare_pairs(a, b), expected[a, b], atol=1e-6)


def test_an_image_that_lacks_a_part_adds_nothing_by_it(rng, tmp_path):
    world = make_world(tmp_path, rng)
    colour = save_vectors(tmp_path / "some", world.ids[::2], world.C[::2])
    opened = Descriptors((Part(world.files.parts[0][0].open()), Part(colour.open(), WEIGHT)))
    found = opened.compare_pairs(np.array([0, 0]), np.array([2, 3]))
    both, one = joined_similarity(world)[0, 2], world.X[0] @ world.X[3] / (1 + WEIGHT**2)
    np.testing.assert_allclose(found, [both, one], atol=1e-6)
    query = opened.compare((world.X[0], None), np.array([2, 3]))
    np.testing.assert_allclose(query, world.X[[2, 3]] @ world.X[0] / (1 + WEIGHT**2), atol=1e-6)
