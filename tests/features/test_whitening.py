"""Properties of PCA and learned whitening (gem.md 6-11), against direct formulas."""

import io
from dataclasses import replace

import numpy as np
import pytest

from resight.features.whitening import (
    CovarianceSums,
    Whitening,
    fit_learned_whitening,
    fit_pca_whitening,
    pair_sums,
    parse_whitening,
)


@pytest.fixture
def sample(rng):
    return rng.normal(size=(900, 12)) @ rng.normal(size=(12, 12)) + rng.normal(size=12) * 5


def unit(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


@pytest.mark.parametrize("shards", [1, 3, 900])
def test_sharded_sums_give_the_covariance_whatever_their_shifts(sample, shards):
    parts = [CovarianceSums.of_rows(part) for part in np.array_split(sample, shards)]
    joined = sum(parts[1:], parts[0])
    assert joined.n == 900
    np.testing.assert_allclose(joined.mean, sample.mean(0), rtol=1e-10)
    np.testing.assert_allclose(joined.covariance, np.cov(sample.T, bias=True), rtol=1e-8, atol=1e-9)


def test_a_far_mean_does_not_cancel(rng):
    X = rng.normal(size=(500, 3)) + 1e7
    parts = [CovarianceSums.of_rows(part, shift=X[0]) for part in np.array_split(X, 4)]
    joined = sum(parts[1:], parts[0])
    np.testing.assert_allclose(joined.covariance, np.cov(X.T, bias=True), rtol=1e-6, atol=1e-8)


def test_an_empty_shard_changes_nothing(sample):
    empty = CovarianceSums.of_rows(sample[:0])
    for joined in (CovarianceSums.of_rows(sample) + empty, empty + CovarianceSums.of_rows(sample)):
        np.testing.assert_allclose(joined.covariance, np.cov(sample.T, bias=True), rtol=1e-8, atol=1e-8)


def test_sums_and_whitening_survive_their_bytes(sample):
    sums = CovarianceSums.of_rows(sample)
    again = CovarianceSums.from_bytes(sums.to_bytes())
    np.testing.assert_array_equal(again.covariance, sums.covariance)
    whitening, _ = fit_pca_whitening(sums, dims=5, power=0.3)
    copy = Whitening.from_bytes(whitening.to_bytes())
    assert copy.digest == whitening.digest
    assert whitening.to_bytes() == copy.to_bytes()
    np.testing.assert_array_equal(copy.apply(sample), whitening.apply(sample))


@pytest.mark.parametrize("power", [0.0, 0.3, 1.0])
def test_projected_variances_are_eigenvalues_to_one_minus_power(sample, power):
    whitening, _ = fit_pca_whitening(CovarianceSums.of_rows(sample), dims=12, power=power)
    Y = (sample - whitening.mean) @ whitening.projection
    lam = np.linalg.eigvalsh(np.cov(sample.T, bias=True))[::-1]
    np.testing.assert_allclose(Y.mean(0), 0, atol=1e-10)
    np.testing.assert_allclose(np.cov(Y.T, bias=True), np.diag(lam ** (1 - power)), atol=1e-6)


def test_fewer_dimensions_are_the_first_columns(sample):
    sums = CovarianceSums.of_rows(sample)
    short, _ = fit_pca_whitening(sums, dims=4, power=0.5)
    full, _ = fit_pca_whitening(sums, dims=12, power=0.5)
    np.testing.assert_allclose(short.projection, full.projection[:, :4], rtol=1e-8)


def test_applied_rows_are_unit_and_the_mean_itself_stays_zero(sample):
    whitening, _ = fit_pca_whitening(CovarianceSums.of_rows(sample), dims=6, power=0.3)
    Y = whitening.apply(np.vstack([sample, whitening.mean]).astype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(Y[:-1], axis=1), 1, rtol=1e-6)
    assert Y.dtype == np.float32
    exact = Whitening(np.zeros(2), np.eye(2)).apply(np.zeros((1, 2), np.float32))
    np.testing.assert_array_equal(exact, 0)


def test_small_samples_are_reported_not_hidden(sample):
    few = CovarianceSums.of_rows(sample[:20])
    assert "20 vectors are few for 12 dimensions" in fit_pca_whitening(few, dims=4, power=0.3)[1]
    fewer, text = fit_pca_whitening(CovarianceSums.of_rows(sample[:5]), dims=12, power=1.0)
    assert "lower dims" in text
    assert np.isfinite(fewer.projection).all()
    assert fit_pca_whitening(CovarianceSums.of_rows(sample), dims=4, power=0.3)[1] is None


@pytest.mark.parametrize("dims", [0, 13])
def test_impossible_dimensions_are_refused(sample, dims):
    with pytest.raises(ValueError, match=r"dims: .* allowed are 1 to 12"):
        fit_pca_whitening(CovarianceSums.of_rows(sample), dims=dims, power=0.3)


def test_wrong_rows_are_refused_with_both_shapes(sample):
    whitening, _ = fit_pca_whitening(CovarianceSums.of_rows(sample), dims=6, power=0.3)
    with pytest.raises(ValueError, match=r"\(3, 5\).*12 dimensions"):
        whitening.apply(np.ones((3, 5)))


def test_equal_vectors_are_refused():
    with pytest.raises(ValueError, match="vectors that differ"):
        fit_pca_whitening(CovarianceSums.of_rows(np.ones((9, 3))), dims=2, power=0.3)


def packed(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_a_whitening_from_elsewhere_is_taken_as_float64():
    found = parse_whitening(packed(mean=np.ones(3, "f4"), projection=np.eye(3, 2, dtype="f4"), note=1))
    assert (found.mean.dtype, found.projection.dtype, found.projection.shape) == ("f8", "f8", (3, 2))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (b"no archive", "not a npz archive"),
        (b"PK\x03\x04 cut", "not a npz archive"),
        (packed(mean=np.ones(3)), "not a npz archive"),
        (packed(mean=np.ones(3), projection=np.ones((2, 3))), r"shape \(3,\) and .* \(2, 3\) do not fit"),
        (packed(mean=np.ones(2), projection=np.full((2, 1), np.nan)), "finite numbers"),
        (packed(mean=np.array(["a", "b"]), projection=np.eye(2)), "finite numbers"),
    ],
)
def test_what_is_no_whitening_is_refused(params, message):
    with pytest.raises(ValueError, match=message):
        parse_whitening(params)


def noisy_pairs(rng, *, n=300, d=24, nuisance=6):
    """Objects as random directions; the photos of one differ by a strong shared subspace."""
    objects = rng.normal(size=(n, d))
    noise = rng.normal(size=(2 * n, nuisance)) @ rng.normal(size=(nuisance, d)) * 3
    X = unit(np.repeat(objects, 2, axis=0) + noise + rng.normal(size=(2 * n, d)) * 0.2)
    return X, np.arange(2 * n).reshape(n, 2)


def test_learned_whitening_makes_pairs_white_and_the_spread_diagonal(rng):
    X, pairs = noisy_pairs(rng)
    matching = pair_sums(X, pairs)
    whitening, ridge = fit_learned_whitening(matching, CovarianceSums.of_rows(X), dims=24)
    P, C_S = whitening.projection, matching.outer / matching.n
    spread = P.T @ np.cov(X.T, bias=True) @ P
    assert ridge == 0
    np.testing.assert_allclose(P.T @ C_S @ P, np.eye(24), atol=1e-8)
    np.testing.assert_allclose(spread, np.diag(np.diag(spread)), atol=1e-8)
    assert (np.diff(np.diag(spread)) <= 1e-9).all()


def test_learned_whitening_finds_pairs_that_pca_and_raw_vectors_miss(rng):
    X, pairs = noisy_pairs(rng, n=300)
    fit, test = X[:300], X[300:]
    sums = CovarianceSums.of_rows(fit)
    learned, _ = fit_learned_whitening(pair_sums(fit, pairs[:150]), sums, dims=12)
    pca, _ = fit_pca_whitening(sums, dims=12, power=1.0)

    def found(V):
        S = V @ V.T - 9 * np.eye(len(V))
        return (S.argmax(1) == np.arange(len(V)) ^ 1).mean()

    scores = found(learned.apply(test)), found(pca.apply(test)), found(test)
    assert scores[0] > scores[1] + 0.1 > scores[2] + 0.1


def test_learned_whitening_is_the_symmetric_route_of_the_paper(rng):
    X, pairs = noisy_pairs(rng)
    matching, everything = pair_sums(X, pairs), CovarianceSums.of_rows(X)
    whitening, _ = fit_learned_whitening(matching, everything, dims=7)
    lam, V = np.linalg.eigh(matching.outer / matching.n)
    W = (V / np.sqrt(lam)) @ V.T
    U = np.linalg.eigh(W @ everything.covariance @ W)[1][:, ::-1][:, :7]
    P = W @ U
    signs = np.sign((P * whitening.projection).sum(0))
    np.testing.assert_allclose(whitening.projection, P * signs, rtol=1e-6, atol=1e-7)


def outputs(X, whitening):
    """`Whitening.apply` in float64."""
    return unit((X - whitening.mean) @ whitening.projection)


@pytest.mark.parametrize("factor", [1e-6, 0.3, 7.0, 1e5])
def test_rescaling_of_c_s_or_c_d_leaves_outputs_and_rankings_unchanged(rng, factor):
    X, pairs = noisy_pairs(rng)
    matching, everything = pair_sums(X, pairs), CovarianceSums.of_rows(X)
    expected = outputs(X, fit_learned_whitening(matching, everything, dims=24)[0])
    for sums in (
        (replace(matching, outer=factor * matching.outer), everything),
        (matching, replace(everything, outer=factor * everything.outer)),
    ):
        Y = outputs(X, fit_learned_whitening(*sums, dims=24)[0])
        np.testing.assert_allclose(Y, expected, atol=1e-8)
        np.testing.assert_array_equal(
            (-Y @ Y.T).argsort(1)[:, :9], (-expected @ expected.T).argsort(1)[:, :9]
        )


def test_at_full_dimension_the_rotation_changes_no_inner_product(rng):
    X, pairs = noisy_pairs(rng)
    matching, everything = pair_sums(X, pairs), CovarianceSums.of_rows(X)
    Y = outputs(X, fit_learned_whitening(matching, everything, dims=24)[0])
    lam, V = np.linalg.eigh(matching.outer / matching.n)
    white = unit((X - X.mean(0)) @ (V / np.sqrt(lam)) @ V.T)
    np.testing.assert_allclose(Y @ Y.T, white @ white.T, atol=1e-8)


def test_learned_whitening_survives_dead_channels_and_few_pairs(rng):
    X, pairs = noisy_pairs(rng)
    X[:, 3] = 0
    whitening, ridge = fit_learned_whitening(pair_sums(X, pairs[:10]), CovarianceSums.of_rows(X), dims=8)
    assert ridge > 0
    assert np.isfinite(whitening.apply(X)).all()
