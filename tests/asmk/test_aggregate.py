"""Entries of one image: against the definition, and unchanged by what must not matter."""

import numpy as np
import pytest

from resight.asmk.aggregate import aggregate_image, aggregate_vectors
from resight.asmk.binarize import unpack_codes
from resight.codebook.model import Codebook
from resight.codebook.quantize import assign
from tests.asmk import oracles
from tests.asmk.sets import draw_sets, embed, entries_of


@pytest.mark.parametrize("m", [1, 2, 99])
@pytest.mark.parametrize("aggregate", [True, False])
@pytest.mark.parametrize("projected", [False, True])
def test_codes_are_the_signs_of_the_definition(rng, aggregate, m, projected):
    C, sets = draw_sets(rng, most=40)
    codebook = embed(C, sets, 11) if projected else Codebook(C)
    variant = "asmk*" if aggregate else "smk*"
    rule = {"Q": codebook.projection, "medians": codebook.medians} if projected else {}
    expected = oracles.describe(sets[0], C, variant, m=min(m, len(C)), **rule)
    words, codes = aggregate_image(sets[0], assign(sets[0], codebook, m), codebook, aggregate=aggregate)
    assert words.tolist() == [c for c in sorted(expected) for _ in expected[c]]
    found = unpack_codes(codes, codebook.n_bits) / np.sqrt(codebook.n_bits)
    stacked = np.concatenate([expected[c] for c in sorted(expected)])
    np.testing.assert_allclose(found, stacked)


def test_order_of_the_descriptors_changes_nothing(rng):
    C, sets = draw_sets(rng, most=60)
    codebook, X = Codebook(C), np.concatenate(sets)
    words = assign(X, codebook, 2)
    order = rng.permutation(len(X))
    for found, expected in zip(
        aggregate_image(X[order], words[order], codebook), aggregate_image(X, words, codebook), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_the_sign_of_the_sum_is_that_of_the_mean_and_scaling_a_word_changes_nothing(rng):
    C = np.zeros((1, 6), np.float32)
    X, words = rng.normal(size=(5, 6)).astype(np.float32), np.zeros((5, 1), np.int32)
    mean = X.mean(0, keepdims=True)
    np.testing.assert_array_equal(
        aggregate_image(X, words, Codebook(C))[1], aggregate_image(mean, words[:1], Codebook(C))[1]
    )
    scaled = aggregate_vectors(np.float32(7) * X, words, C)[1]
    np.testing.assert_allclose(scaled, aggregate_vectors(X, words, C)[1], rtol=1e-6)


def test_aggregation_never_adds_entries_and_removes_none_where_words_differ(rng):
    C, sets = draw_sets(rng)
    counts = {k: [] for k in (2, 5)}
    for k in counts:
        codebook = Codebook(C[:k])
        plain, once = (entries_of(sets, codebook, variant) for variant in ("smk*", "asmk*"))
        for owner, X in enumerate(sets):
            n_plain, n_once = ((found.owners == owner).sum() for found in (plain, once))
            n_words = len(np.unique(assign(X, codebook)))
            assert (n_plain, n_once) == (len(X), n_words)
        counts[k] = len(once.words) / len(plain.words)
    assert counts[2] < counts[5] < 1


def test_a_residual_without_length_is_no_entry_of_the_real_variants():
    C = np.array([[1, 2], [5, 5]], np.float32)
    X = np.array([[1, 2], [6, 5], [4, 5]], np.float32)  # the second and the third cancel out
    words = assign(X, Codebook(C))
    assert aggregate_vectors(X, words, C)[0].tolist() == []
    assert aggregate_vectors(X, words, C, aggregate=False)[0].tolist() == [1, 1]
    own, codes = aggregate_image(X, words, Codebook(C))
    assert (own.tolist(), codes.tolist()) == ([0, 1], [[3], [3]])


@pytest.mark.parametrize("aggregate", [True, False])
def test_an_image_without_descriptors_has_no_entries(aggregate):
    codebook = Codebook(np.ones((3, 10), np.float32))
    empty = np.zeros((0, 10), np.float32), np.zeros((0, 1), np.int32)
    words, codes = aggregate_image(*empty, codebook, aggregate=aggregate)
    assert (words.shape, words.dtype, codes.shape) == ((0,), np.int32, (0, 2))
    words, vectors = aggregate_vectors(*empty, codebook.centroids, aggregate=aggregate)
    assert (words.shape, vectors.shape) == ((0,), (0, 10))


def test_what_does_not_fit_the_codebook_is_refused():
    codebook, words = Codebook(np.ones((3, 4), np.float32)), np.zeros((2, 1), np.int32)
    with pytest.raises(ValueError, match=r"descriptors of shape \(2, 5\), d = 4"):
        aggregate_image(np.zeros((2, 5), np.float32), words, codebook)
    with pytest.raises(ValueError, match=r"words -1 to 0 are not in \[0, 3\)"):
        aggregate_image(np.zeros((2, 4), np.float32), words - [[0], [1]], codebook)


@pytest.mark.parametrize("d", [3, 8, 63, 64, 70, 130])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_are_the_signs_of_float64_sums_to_the_last_bit(rng, d, dtype):
    C = rng.normal(size=(4, d)).astype(np.float32)
    near = np.nextafter(C, np.float32(rng.choice([-9, 9])))  # one bit away
    tiny = np.full((1, d), 1e-45, np.float32)
    X = np.concatenate([C, near, tiny, -tiny]).astype(dtype)
    C = np.concatenate([C, np.zeros((1, d), np.float32)])
    words = np.array([0, 1, 2, 3, 0, 0, 2, 3, 4, 4], np.int32)[:, None]
    for aggregate in (True, False):
        own, codes = aggregate_image(X, words, Codebook(C), aggregate=aggregate)
        R = X.astype(np.float64) - C[words[:, 0]]
        order = np.argsort(words[:, 0], kind="stable")
        sums = [R[words[:, 0] == c].sum(0) for c in range(5)] if aggregate else R[order]
        np.testing.assert_array_equal(codes, np.packbits(np.array(sums) >= 0, axis=1, bitorder="little"))
        assert own.tolist() == (list(range(5)) if aggregate else np.sort(words[:, 0]).tolist())
