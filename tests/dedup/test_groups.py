import numpy as np
import pytest

from resight.dedup.groups import cosine_measure, split_component, unknown_measure
from tests.dedup import oracle


def split(n, links, similarity, limit, measure=unknown_measure, order=None):
    """Split with images named by their place in the order of keeping."""
    order = np.arange(n) if order is None else np.asarray(order)
    pairs = np.array(links, np.int64).reshape(-1, 2)
    values = np.asarray(similarity, np.float32)
    return split_component(order, pairs, values, measure, min_similarity=limit)


def random_collection(rng, n, n_links):
    X = rng.normal(size=(n, 3)).astype(np.float32)
    links = rng.integers(0, n, (n_links, 2))
    links = np.unique(np.sort(links[links[:, 0] != links[:, 1]], axis=1), axis=0)
    measure = cosine_measure(X)
    values = [measure(a, np.array([b]))[0] for a, b in links]
    return X, links, np.array(values, np.float32)


def test_a_chain_of_near_pairs_does_not_join_strangers():
    result = split(3, [(0, 1), (1, 2)], [0.95, 0.95], 0.9)
    assert result.kept.tolist() == [0, 0, 2]
    assert result.cut_image.tolist() == [2]
    assert result.cut_kept.tolist() == [0]
    assert np.isnan(result.cut_similarity).all()


def test_a_chain_holds_together_where_every_member_reaches_the_kept_one():
    X = np.array([[1, 0], [1, 0.1], [1, 0.2]], np.float32)
    result = split(3, [(0, 1), (1, 2)], [0.99, 0.99], 0.9, cosine_measure(X))
    assert result.kept.tolist() == [0, 0, 0]
    np.testing.assert_allclose(result.similarity[2], 1 / np.sqrt(1.04), rtol=1e-6)


def test_members_that_are_cut_form_groups_of_their_own():
    links = [(0, 1), (1, 2), (2, 3), (3, 4)]
    result = split(5, links, [0.95] * 4, 0.9)
    assert result.kept.tolist() == [0, 0, 2, 2, 4]


def test_the_limit_may_be_above_the_threshold_of_the_pairs():
    result = split(3, [(0, 1), (0, 2)], [0.9, 0.99], 0.95)
    assert result.kept.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(result.cut_similarity, np.float32([0.9]))


def test_a_similarity_equal_to_the_limit_is_enough():
    assert split(2, [(0, 1)], [0.9], 0.9).kept.tolist() == [0, 0]


def test_no_pairs_leave_every_image_alone():
    assert split(3, [], [], 0.5).kept.tolist() == [0, 1, 2]


@pytest.mark.parametrize("seed", range(25))
def test_split_equals_the_slow_definition(seed):
    rng = np.random.default_rng(seed)
    X, links, values = random_collection(rng, 40, rng.integers(20, 120))
    limit = float(rng.uniform(0.2, 0.95))
    measure = cosine_measure(X)
    result = split(40, links, values, limit, measure)
    expected = oracle.split(
        range(40),
        set(map(tuple, links.tolist())),
        lambda i, kept: measure(kept, np.array([i]))[0],
        np.float32(limit),
    )
    assert result.kept.tolist() == [expected[i] for i in range(40)]


@pytest.mark.parametrize("seed", range(5))
def test_every_member_reaches_the_kept_image_and_every_cut_does_not(seed):
    rng = np.random.default_rng(seed)
    X, links, values = random_collection(rng, 60, 200)
    measure = cosine_measure(X)
    result = split(60, links, values, 0.7, measure)
    rows = [measure(k, np.array([i]))[0] for i, k in enumerate(result.kept)]
    np.testing.assert_array_equal(result.similarity, rows)
    assert (result.similarity >= np.float32(0.7)).all()
    assert (result.cut_similarity < np.float32(0.7)).all()


@pytest.mark.parametrize("seed", range(5))
def test_every_pair_across_groups_has_its_cut_recorded(seed):
    rng = np.random.default_rng(seed)
    X, links, values = random_collection(rng, 60, 200)
    result = split(60, links, values, 0.7, cosine_measure(X))
    cuts = set(zip(result.cut_image.tolist(), result.cut_kept.tolist(), strict=True))
    for a, b in links.tolist():
        kept_a, kept_b = int(result.kept[a]), int(result.kept[b])
        assert kept_a == kept_b or (b, kept_a) in cuts or (a, kept_b) in cuts


def test_split_does_not_depend_on_the_order_of_pairs(rng):
    X, links, values = random_collection(rng, 50, 150)
    first = split(50, links, values, 0.6, cosine_measure(X))
    shuffled = rng.permutation(len(links))
    flipped = links[shuffled][:, ::-1]
    second = split(50, flipped, values[shuffled], 0.6, cosine_measure(X))
    np.testing.assert_array_equal(first.kept, second.kept)
    np.testing.assert_array_equal(first.cut_image, second.cut_image)


def test_components_in_one_call_are_split_as_if_alone(rng):
    X, links, values = random_collection(rng, 30, 60)
    alone = split(30, links, values, 0.6, cosine_measure(X))
    both = split(
        60,
        np.concatenate([links, links + 30]),
        np.tile(values, 2),
        0.6,
        cosine_measure(np.concatenate([X, X])),
        order=np.arange(60).reshape(2, 30).T.ravel(),
    )
    np.testing.assert_array_equal(both.kept, np.concatenate([alone.kept, alone.kept + 30]))


def test_measurements_are_linear_in_the_pairs_of_a_long_chain():
    n, asked = 3000, []

    def measure(kept, images):
        asked.extend(images.tolist())
        return np.full(len(images), 0.5, np.float32)

    links = np.column_stack([np.arange(n - 1), np.arange(1, n)])
    split(n, links, np.full(n - 1, 0.95), 0.9, measure)
    assert len(asked) <= 2 * n


def test_vectors_without_length_or_with_nan_are_unknown():
    X = np.array([[1, 0], [0, 0], [np.nan, 1]], np.float32)
    assert np.isnan(cosine_measure(X)(0, np.array([1, 2]))).all()


def test_one_centre_with_100000_members_is_one_group():
    n = 100_001
    links = np.column_stack([np.zeros(n - 1, np.int64), np.arange(1, n)])
    assert not split(n, links, np.full(n - 1, 0.95), 0.9).kept.any()


def test_a_full_group_takes_the_most_similar_and_the_rest_form_their_own():
    order = np.arange(5)
    pairs = np.array([[0, 1], [0, 2], [0, 3], [0, 4], [1, 4]])
    similarity = np.float32([0.7, 0.9, 0.8, 0.8, 0.95])
    found = split_component(order, pairs, similarity, unknown_measure, min_similarity=0.5, max_size=3)
    assert found.kept.tolist() == [0, 1, 0, 0, 1]  # of 3 and 4, equally similar, the first is taken
    assert list(zip(found.cut_image.tolist(), found.cut_kept.tolist(), strict=True)) == [(1, 0), (4, 0)]
    assert found.cut_similarity.tolist() == pytest.approx([0.7, 0.8])
    alone = split_component(order, pairs, similarity, unknown_measure, min_similarity=0.5, max_size=1)
    assert alone.kept.tolist() == [0, 1, 2, 3, 4]
