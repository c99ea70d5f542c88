import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resight.features.local.points import LocalFeatures
from resight.verification.match import LEVELS, match_features, prepare_features


def random_features(rng, n, d=16):
    return LocalFeatures(rng.random((n, 5), np.float32), rng.standard_normal((n, d)).astype(np.float32))


def noisy(rng, features, noise):
    order = rng.permutation(len(features.points))
    vectors = features.vectors[order] + noise * rng.standard_normal(features.vectors.shape)
    return LocalFeatures(features.points[order], vectors.astype(np.float32)), order


def brute_matches(a, b, ratio):
    """Compare all pairs of rounded unit vectors in exact integers."""
    A, B = (p.vectors.astype(np.int64) for p in (a, b))
    D = ((A[:, None] - B[None]) ** 2).sum(-1).astype(np.float64)
    for i, j in np.argwhere(a.words[:, None] != b.words[None]) if len(a.words) else ():
        D[i, j] = np.inf
    found = []
    for i, row in enumerate(D):
        j = int(np.argmin(row))
        others = np.append(np.delete(row, j), np.delete(D[:, j], i))  # of either keypoint
        passes = ratio == 1 or row[j] < ratio**2 * others.min(initial=np.inf)
        if np.isfinite(row[j]) and passes and int(np.argmin(D[:, j])) == i:
            found.append((i, j))
    return np.array(found, np.int64).reshape(-1, 2)


@pytest.mark.parametrize("ratio", [0.7, 0.9, 1.0])
@pytest.mark.parametrize("sizes", [(40, 40), (1, 30), (30, 1), (5, 60)])
def test_matches_equal_those_of_all_pairs(rng, sizes, ratio):
    a = random_features(rng, sizes[0])
    b = random_features(rng, sizes[1])
    b.vectors[: min(sizes)] = a.vectors[: min(sizes)] + 0.4 * b.vectors[: min(sizes)]
    prepared = prepare_features(a), prepare_features(b)
    np.testing.assert_array_equal(
        match_features(*prepared, ratio=ratio), brute_matches(*prepared, ratio=ratio)
    )


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.sampled_from([0.6, 0.85, 1.0]),
    st.booleans(),
)
def test_two_photos_match_alike_whichever_comes_first(seed, sizes, ratio, by_words):
    rng = np.random.default_rng(seed)
    vectors = [rng.integers(-2, 3, (n, 4)).astype(np.float32) for n in sizes]  # many equal distances
    words = [rng.integers(0, 3, n) if by_words else None for n in sizes]
    a, b = (
        prepare_features(LocalFeatures(np.zeros((len(V), 5), np.float32), V), words=w)
        for V, w in zip(vectors, words, strict=True)
    )
    there, back = match_features(a, b, ratio=ratio), match_features(b, a, ratio=ratio)
    assert sorted(map(tuple, there.tolist())) == sorted((i, j) for j, i in back.tolist())


@pytest.mark.parametrize("ratio", [0.8, 1.0])
def test_words_keep_keypoints_apart(rng, ratio):
    a = random_features(rng, 50)
    b, order = noisy(rng, a, 0.5)
    words = rng.integers(0, 12, 50)
    prepared = prepare_features(a, words=words), prepare_features(b, words=words[order])
    found = match_features(*prepared, ratio=ratio)
    np.testing.assert_array_equal(found, brute_matches(*prepared, ratio=ratio))
    assert len(found) > 20
    with pytest.raises(ValueError, match="50 with 0 words"):
        match_features(prepared[0], prepare_features(b))


def test_keypoints_meet_their_own_under_noise(rng):
    a = random_features(rng, 80, d=64)
    b, order = noisy(rng, a, 0.05)
    found = match_features(prepare_features(a), prepare_features(b))
    np.testing.assert_array_equal(order[found[:, 1]], found[:, 0])
    assert len(found) == 80


def test_dot_products_are_exact(rng):
    a = prepare_features(random_features(rng, 30, d=128))
    exact = a.vectors.astype(np.int64) @ a.vectors.astype(np.int64).T
    np.testing.assert_array_equal(a.vectors @ a.vectors.T, exact)
    assert 0.99 * LEVELS**2 < np.diag(exact).min() <= np.diag(exact).max() < 2**23


def test_only_the_strongest_keypoints_with_a_direction_take_part(rng):
    features = random_features(rng, 10)
    features.vectors[3] = 0
    prepared = prepare_features(features, max_keypoints=6)
    np.testing.assert_allclose(prepared.points, np.delete(features.points[:6], 3, axis=0))


def test_photos_without_keypoints_have_no_matches(rng):
    none = prepare_features(LocalFeatures(np.zeros((0, 5), np.float32), np.zeros((0, 0), np.float32)))
    some = prepare_features(random_features(rng, 4))
    assert match_features(none, some).shape == match_features(some, none).shape == (0, 2)
    with pytest.raises(ValueError, match="cannot match"):
        match_features(some, prepare_features(random_features(rng, 4, d=8)))
