import numpy as np

from tests.synthetic import anchor_vectors, planted


def test_planted_duplicates_are_exactly_the_equal_rows(rng):
    data = planted(rng, n_copies=7)
    n = len(data.vectors)
    equal = {(a, b) for a in range(n) for b in range(a + 1, n) if (data.vectors[a] == data.vectors[b]).all()}
    assert data.duplicate_pairs == equal
    assert len(equal) == 7


def test_views_are_nearest_to_views_of_their_object(rng):
    data = planted(rng, d=128)
    similarity = data.vectors @ data.vectors.T
    np.fill_diagonal(similarity, -1)
    shown = np.flatnonzero(data.object_ids >= 0)
    assert (data.object_ids[similarity[shown].argmax(1)] == data.object_ids[shown]).all()
    assert all(row not in data.positives(row) for row in shown)


def test_anchor_vectors_have_length_one_and_the_stated_copies(rng):
    vectors = anchor_vectors(1000, 16, rng)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert len(np.unique(vectors, axis=0)) == 980
