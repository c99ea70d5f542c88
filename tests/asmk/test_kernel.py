"""The kernels against the double loop, and what the paper says of them."""

import numpy as np
import pytest

from resight.asmk.binarize import binarize
from resight.asmk.kernel import (
    CUBE,
    Entries,
    Selectivity,
    lookup_table,
    max_distance,
    raw_scores,
    self_scores,
    sigma,
)
from resight.asmk.statistics import inverse_roots, word_weights
from resight.codebook.model import Codebook
from tests.asmk import oracles
from tests.asmk.sets import draw_sets, embed, entries_of


def score(query, base, weights, n, selectivity=CUBE):
    """K(Q, Y) of every image."""
    options = {"selectivity": selectivity}
    raw = raw_scores(query, base, weights, n_images=n, **options)
    asked = query._replace(owners=np.zeros(len(query.words), np.int64))
    gamma = inverse_roots(self_scores(asked, weights, n_images=1, **options))[0]
    return gamma * inverse_roots(self_scores(base, weights, n_images=n, **options)) * raw


def weights_of(base, k, n, **options):
    pairs = np.unique(np.stack([base.words, base.owners]), axis=1)
    return word_weights(np.bincount(pairs[0], minlength=k), n, **options)


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("variant", oracles.VARIANTS)
@pytest.mark.parametrize("projected", [False, True])
def test_scores_equal_the_double_sum(rng, variant, m, projected):
    C, sets = draw_sets(rng)
    codebook = embed(C, sets, 9) if projected else Codebook(C)
    selectivity, n = Selectivity(2.5, 0.05), len(sets)
    base = entries_of(sets, codebook, variant)
    weights = weights_of(base, len(C), n)
    rule = {"Q": codebook.projection, "medians": codebook.medians} if projected and "*" in variant else {}
    slow = [oracles.describe(X, C, variant, **rule) for X in sets]
    slow_weights = oracles.weigh(slow, len(C))
    np.testing.assert_allclose(weights, slow_weights, atol=1e-12)
    for X in sets:
        asked = oracles.describe(X, C, variant, m=m, **rule)
        expected = [oracles.similarity(asked, Y, slow_weights, *selectivity) for Y in slow]
        found = score(entries_of([X], codebook, variant, m=m), base, weights, n, selectivity)
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("variant", oracles.VARIANTS)
def test_an_image_is_one_to_itself_and_the_kernel_is_symmetric(rng, variant):
    C, sets = draw_sets(rng)
    base, n = entries_of(sets, Codebook(C), variant), len(sets)
    weights = weights_of(base, len(C), n, use_idf=False)
    K = np.stack([score(base.take(base.owners == i), base, weights, n) for i in range(n)])
    full = np.arange(n) != 1  # the second has no descriptors
    np.testing.assert_allclose(np.diag(K)[full], 1, atol=1e-6)
    np.testing.assert_allclose(K, K.T, atol=1e-12)
    assert not K[1].any()
    assert not K[:, 1].any()
    assert (K[0] == K[-1]).all()


def test_images_without_a_common_word_score_exactly_zero():
    C = np.array([[0, 0], [10, 0]], np.float32)
    near = [np.array([[1, 1]], np.float32), np.array([[11, 1]], np.float32)]
    base = entries_of(near, Codebook(C), "asmk")
    found = score(base.take(base.owners == 0), base, np.ones(2), 2)
    assert found[0] == pytest.approx(1, abs=1e-6)
    assert found[1] == 0


@pytest.mark.parametrize("variant", oracles.VARIANTS)
def test_scores_of_parts_of_the_words_add_up(rng, variant):
    C, sets = draw_sets(rng)
    base, n = entries_of(sets, Codebook(C), variant), len(sets)
    weights = weights_of(base, len(C), n)
    query, parts = base.take(base.owners == 0), np.arange(len(C)) % 3
    split = [raw_scores(query, base.take(parts[base.words] == p), weights, n_images=n) for p in range(3)]
    np.testing.assert_allclose(sum(split), raw_scores(query, base, weights, n_images=n), atol=1e-6)


@pytest.mark.parametrize("kinds", [("smk", "asmk"), ("smk*", "asmk*")])
def test_one_descriptor_per_word_makes_aggregation_do_nothing(rng, kinds):
    C = (10 * np.eye(6)).astype(np.float32)
    sets = [(C + rng.normal(size=(6, 6))).astype(np.float32)[: 3 + i] for i in range(3)]
    found = []
    for variant in kinds:
        base = entries_of(sets, Codebook(C), variant)
        found.append(score(base.take(base.owners == 2), base, np.ones(6), 3))
    assert (found[0] == found[1]).all()


def test_the_linear_kernel_of_residuals_is_the_inner_product_of_their_sums(rng):
    A, B = rng.normal(size=(2, 5, 8)).astype(np.float32)
    entries = [Entries(np.zeros(5, np.int32), np.zeros(5, np.int64), V) for V in (A, B)]
    linear = raw_scores(*entries, np.ones(1), n_images=1, selectivity=Selectivity(1.0, -np.inf))
    np.testing.assert_allclose(linear, A.sum(0) @ B.sum(0), rtol=1e-5)


@pytest.mark.parametrize("n_bits", [1, 7, 8, 32, 100, 128])
def test_the_table_is_sigma_at_every_distance(n_bits):
    h = np.arange(n_bits + 1)
    expected = [oracles.power(1 - 2 * d / n_bits, 3, 0.1) for d in h]
    np.testing.assert_allclose(lookup_table(n_bits, Selectivity(3, 0.1)), expected, atol=1e-15)


def test_thresholds_of_the_paper_are_distances():
    assert [max_distance(128, tau) for tau in (0.25, 0.375, 0.5)] == [48, 40, 32]
    assert [max_distance(10, tau) for tau in (-1, 1, 1.01)] == [10, 0, -1]


def test_a_similarity_exactly_at_the_threshold_is_left_out():
    assert sigma(np.array([0.25, 0.2500001]), Selectivity(1, 0.25)).tolist() == [0, 0.2500001]
    table = lookup_table(8, Selectivity(1, 0.25))
    assert table.tolist() == [1, 0.75, 0.5, 0, 0, 0, 0, 0, 0]


def test_a_fractional_exponent_keeps_the_sign():
    found = sigma(np.array([-0.5, 0.5]), Selectivity(2.5, -1.0))
    np.testing.assert_allclose(found, [-(0.5**2.5), 0.5**2.5])


@pytest.mark.parametrize("variant", ["asmk", "asmk*"])
def test_aggregated_scores_lie_in_zero_to_one_and_fall_with_alpha_and_tau(rng, variant):
    C, sets = draw_sets(rng)
    base, n = entries_of(sets, Codebook(C), variant), len(sets)
    weights, previous = np.ones(len(C)), np.full(n, 1 + 1e-6)
    for selectivity in [Selectivity(1, 0), Selectivity(3, 0), Selectivity(3, 0.3), Selectivity(7, 0.3)]:
        found = score(base.take(base.owners == 0), base, weights, n, selectivity)
        assert ((found >= 0) & (found <= previous + 1e-6)).all()
        previous = found


def test_smk_is_not_bounded_by_one():
    angles = np.arange(12) * np.pi / 6
    V = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    base = Entries(np.zeros(12, np.int32), np.arange(12) % 2, V)
    found = score(base.take(base.owners == 0), base, np.ones(1), 2)
    np.testing.assert_allclose(found, [1, 1.0392], atol=1e-4)


@pytest.mark.parametrize("variant", ["asmk", "asmk*"])
def test_more_words_per_query_descriptor_dilute_its_own_image(rng, variant):
    C, sets = draw_sets(rng)
    base = entries_of(sets, Codebook(C), variant)
    for i in (0, 2, 3):
        once, often = (entries_of([sets[i]], Codebook(C), variant, m=m) for m in (1, 3))
        assert len(often.words) >= len(once.words)
        bound = np.sqrt(len(once.words) / len(often.words))
        assert score(often, base, np.ones(len(C)), len(sets))[i] <= bound + 1e-6


def turn(direction, cosine, rng):
    """A unit vector at some cosine to ``direction``."""
    other = rng.normal(size=len(direction))
    other -= (other @ direction) * direction
    return cosine * direction + np.sqrt(1 - cosine**2) * other / np.linalg.norm(other)


def draw_bursts(rng, d=64):
    """A query with a burst in word 0, Y that shares only the burst, Z that shares ten words."""
    axes = rng.normal(size=(41, d))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    burst = [[(0, turn(axes[0], 0.8, rng)) for _ in range(30)] for _ in range(2)]
    query = burst[0] + [(c, axes[c]) for c in range(1, 21)]
    Y = burst[1] + [(c, axes[c]) for c in range(21, 40)]
    Z = [(c, turn(axes[c], 0.9, rng)) for c in range(1, 11)] + [(c, axes[c]) for c in range(31, 41)]
    return query, (Y, Z)


@pytest.mark.parametrize(("aggregate", "expected"), [(False, (0.85, 0.10)), (True, (0.05, 0.36))])
def test_aggregation_takes_the_weight_from_bursts(rng, aggregate, expected):
    query, others = draw_bursts(rng)
    packed = []
    for owner, image in enumerate((query, *others)):
        words = np.array([c for c, _ in image], np.int32)
        V = np.array([v for _, v in image])
        if aggregate:
            V = np.stack([V[words == c].sum(0) for c in np.unique(words)])
            V, words = V / np.linalg.norm(V, axis=1, keepdims=True), np.unique(words)
        packed.append(Entries(words, np.full(len(words), owner), V.astype(np.float32)))
    base = Entries(*(np.concatenate(column) for column in list(zip(*packed, strict=True))[:3]))
    found = score(base.take(base.owners == 0), base, np.ones(41), 3)
    np.testing.assert_allclose(found[1:], expected, atol=0.06)


def test_identical_codes_are_similar_by_one_and_opposite_ones_by_minus_one(rng):
    z = rng.normal(size=(3, 20))
    codes = binarize(np.concatenate([z, -z]))
    base = Entries(np.zeros(6, np.int32), np.arange(6), codes, 20)
    linear = Selectivity(1.0, -np.inf)
    found = raw_scores(base.take(np.array([0])), base, np.ones(1), n_images=6, selectivity=linear)
    signs = np.where(np.concatenate([z, -z]) >= 0, 1, -1)
    np.testing.assert_allclose(found, signs @ signs[0] / 20)
    assert (found[0], found[3]) == (1, -1)


def test_a_word_that_no_image_has_contributes_nothing(rng):
    C, sets = draw_sets(rng)
    codebook = Codebook(np.concatenate([C, C[:1] + 100]))
    base = entries_of(sets, codebook, "asmk*")
    weights = weights_of(base, len(C) + 1, len(sets))
    asked = entries_of([np.concatenate([sets[0], codebook.centroids[-1:] + 1])], codebook, "asmk*")
    assert weights[-1] == 0
    known = score(base.take(base.owners == 0), base, weights, len(sets))
    np.testing.assert_allclose(score(asked, base, weights, len(sets)), known)
