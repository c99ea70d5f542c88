"""Learned codes: what the papers' formulas promise, on a toy of correlated vectors."""

import faiss
import numpy as np
import pytest

from resight.hashing.learned import FITS, HashModel, fit_itq, fit_lsh, fit_pcah, random_rotation, rotate_itq


def toy(seed, *, d=64, n_train=3000, n_base=1500, n_queries=40):
    """Centres and noise of variances 1/k, turned and shifted: train, base and queries of length 1."""
    rng = np.random.default_rng(seed)
    scale, n = 1 / np.sqrt(np.arange(1, d + 1)), n_train + n_base + n_queries
    centres = rng.normal(size=(50, d)) * scale
    X = 0.7 * centres[rng.integers(50, size=n)] + rng.normal(size=(n, d)) * scale
    X = X @ random_rotation(d, seed) + 0.3
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return np.split(X.astype(np.float32), [n_train, n_train + n_base])


def mean_precision(model, base, queries, n_true=20):
    """Mean AP (step) of the Hamming order against the nearest by distance; ties by row."""
    truth = np.argsort(((queries[:, None] - base[None]) ** 2).sum(2), axis=1, kind="stable")[:, :n_true]
    a, b = (np.unpackbits(model.encode(X), axis=1).astype(np.float32) for X in (queries, base))
    distance = a @ (1 - b).T + (1 - a) @ b.T
    order = np.argsort(distance, axis=1, kind="stable")
    hits = (order[:, :, None] == truth[:, None]).any(2)
    precision = hits.cumsum(1) / np.arange(1, len(base) + 1)
    return float((precision * hits).sum(1).mean() / n_true)


@pytest.fixture(scope="module")
def sets():
    return [toy(seed) for seed in range(3)]


@pytest.mark.parametrize("kind", FITS)
def test_a_batch_is_encoded_as_its_rows_and_a_stored_model_gives_the_same(sets, kind):
    train, base, _ = sets[0]
    model = FITS[kind](train, 32)
    codes = model.encode(base[:40])
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(codes, np.vstack([model.encode(row[None]) for row in base[:40]]))
    again = HashModel.from_bytes(model.to_bytes())
    assert (again.kind, again.n_bits, again.to_bytes()) == (kind, 32, model.to_bytes())
    np.testing.assert_array_equal(again.encode(base[:40]), codes)
    np.testing.assert_array_equal(FITS[kind](train, 32).projection, model.projection)


def test_bits_are_packed_as_faiss_packs_them_and_zero_is_one(rng):
    X = rng.normal(size=(20, 16)).astype(np.float32)
    X[:, 3] = 0
    model = HashModel("lsh", np.zeros(16, np.float32), np.eye(16, dtype=np.float32))
    np.testing.assert_array_equal(model.encode(X), faiss.IndexLSH(16, 16, False, False).sa_encode(X))
    bits = np.unpackbits(model.encode(X), axis=1, bitorder="little")
    np.testing.assert_array_equal(bits, X >= 0)
    assert bits[:, 3].all()


@pytest.mark.parametrize("angle", [0.3, 1.0, 2.5])
def test_bits_of_lsh_differ_as_often_as_the_angle_says(rng, angle):
    a, b = rng.normal(size=(2, 1000, 32))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b -= (a * b).sum(1, keepdims=True) * a
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    model = fit_lsh(np.zeros((2, 32)), 1024)
    different = np.unpackbits(model.encode(a) ^ model.encode(np.cos(angle) * a + np.sin(angle) * b))
    assert different.mean() == pytest.approx(angle / np.pi, abs=0.02)


def test_the_objective_of_itq_never_grows_and_the_rotation_stays_one(rng):
    V = rng.normal(size=(500, 16)) / np.sqrt(np.arange(1, 17))
    start = random_rotation(16, 0)
    R, objective = rotate_itq(V, start, iterations=30)
    assert (np.diff(objective) <= 1e-9 * objective[:-1]).all()
    assert np.abs(R.T @ R - np.eye(16)).max() < 1e-6
    B = np.where(V @ R >= 0, 1.0, -1.0)
    loss = ((B - V @ R) ** 2).sum()
    assert loss == pytest.approx(V.size + (V**2).sum() - 2 * np.abs(V @ R).sum(), rel=1e-12)
    assert loss <= objective[-1] < objective[0]
    np.testing.assert_allclose(rotate_itq(4 * V, start, iterations=30)[0], R, atol=1e-9)


def test_bits_of_itq_are_even_and_nearly_independent(sets):
    train = sets[0][0]
    bits = np.unpackbits(fit_itq(train, 32).encode(train), axis=1).astype(float)
    assert np.abs(bits.mean(0) - 0.5).max() <= 0.05
    correlation = np.abs(np.corrcoef(bits.T))[np.triu_indices(32, 1)]
    assert correlation.mean() < 0.2


def test_itq_ranks_best_and_principal_components_alone_worst(sets):
    for train, base, queries in sets:
        found = {kind: mean_precision(fit(train, 32), base, queries) for kind, fit in FITS.items()}
        assert found["itq"] >= found["pca_rr"] > found["pcah"]
        assert found["itq"] > found["lsh"]


def test_centring_helps_lsh_and_more_bits_help_but_not_pcah(sets):
    train, base, queries = sets[0]
    centred = fit_lsh(train, 64)
    plain = HashModel("lsh", np.zeros_like(centred.mean), centred.projection)
    assert mean_precision(centred, base, queries) > mean_precision(plain, base, queries)
    for fit in (fit_itq, fit_lsh):
        few, many = (mean_precision(fit(train, n), base, queries) for n in (16, 32))
        assert many >= few - 0.01
    few, many = (mean_precision(fit_pcah(train, n), base, queries) for n in (32, 64))
    assert many < few


def test_more_bits_than_dimensions_only_for_lsh(sets):
    train = sets[0][0]
    assert fit_lsh(train, 128).encode(train[:2]).shape == (2, 16)
    with pytest.raises(ValueError, match="128 bits of 64 dimensions"):
        fit_itq(train, 128)
    with pytest.raises(ValueError, match="bits come in bytes"):
        fit_lsh(train, 12)
    with pytest.raises(ValueError, match=r"expected \(n, 64\)"):
        fit_lsh(train, 8).encode(train[:, :3])
