import numpy as np
import pytest

from resight.asmk.score import score_shard, score_vectors
from resight.asmk.shard import Shard, ShardFiles, write_shard
from tests.asmk.indexes import make_table

N, K = 11, 7


@pytest.fixture
def write(tmp_path):
    def write(words, ordinals, codes, n=N):
        info = write_shard(str(tmp_path), words, ordinals, codes, np.arange(n), n_words=K)
        return ShardFiles(str(tmp_path), info.sha256).open()

    return write


def draw(rng, n_bits, n_entries=60):
    bits = rng.integers(0, 2, (n_entries, n_bits), np.uint8)
    codes = np.packbits(bits, axis=1, bitorder="little")
    return rng.integers(0, K, n_entries), rng.integers(0, N, n_entries), codes


def sum_pairs(entries, query, weights, table):
    """Every entry against every code of the query, one by one."""
    scores = np.zeros(N)
    for word, ordinal, code in zip(*entries, strict=True):
        for asked, own in zip(*query, strict=True):
            if word == asked:
                scores[ordinal] += weights[word] * float(table[np.unpackbits(code ^ own).sum()])
    return scores


@pytest.mark.parametrize("n_bits", [1, 7, 8, 13, 16, 24, 32, 33, 64, 100, 128, 192, 256])
def test_scores_are_the_sum_over_all_pairs_of_entries(write, rng, n_bits):
    entries, query = draw(rng, n_bits), draw(rng, n_bits, 9)
    order = np.argsort(query[0], kind="stable")
    words, codes = query[0][order].astype(np.int32), query[2][order]
    weights, table = rng.random(K).astype(np.float32), make_table(n_bits, alpha=2.5, tau=-1)
    found = score_shard(write(*entries), words, codes, weights, table)
    expected = sum_pairs(entries, (words, codes), weights, table)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_table_holds_the_threshold(write, rng):
    code = np.zeros((1, 16), np.uint8)
    near = np.packbits(np.arange(128) < np.arange(0, 129, 8)[:, None], axis=1, bitorder="little")
    shard = write(np.zeros(17, int), np.arange(17), near, n=17)
    one = np.ones(K, np.float32)
    found = score_shard(shard, np.zeros(1, np.int32), code, one, make_table(128, tau=0.25))
    u = 1 - 2 * np.arange(0, 129, 8) / 128
    np.testing.assert_allclose(found, np.where(u > 0.25, u**3, 0), atol=1e-7)


def test_an_image_scores_the_same_bits_whichever_shard_it_is_in(tmp_path, rng):
    words, ordinals, codes = draw(rng, 128, 900)
    asked = np.arange(K, dtype=np.int32), rng.integers(0, 256, (K, 16), dtype=np.uint8)
    weights, table = rng.random(K).astype(np.float32), make_table(128, tau=-1)
    pieces = []
    for number, (start, stop) in enumerate([(0, N), (0, 4), (4, 5), (5, N)]):
        own = (ordinals >= start) & (ordinals < stop)
        folder = str(tmp_path / str(number))
        entries = words[own], ordinals[own] - start, codes[own]
        info = write_shard(folder, *entries, np.arange(start, stop), n_words=K)
        pieces.append(score_shard(ShardFiles(folder, info.sha256).open(), *asked, weights, table))
    assert np.concatenate(pieces[1:]).tobytes() == pieces[0].tobytes()


def test_no_entries_and_no_words_score_zero(write, rng):
    words, ordinals, codes = draw(rng, 16)
    ones, table = np.ones(K, np.float32), make_table(16)
    nothing = np.zeros(0, np.int32), np.zeros((0, 2), np.uint8)
    assert score_shard(write(words, ordinals, codes), *nothing, ones, table).tolist() == [0.0] * N
    empty = write(words[:0], ordinals[:0], codes[:0])
    assert score_shard(empty, np.zeros(1, np.int32), codes[:1], ones, table).tolist() == [0.0] * N


def test_codes_and_tables_of_another_width_are_refused(write, rng):
    shard, word, ones = write(*draw(rng, 16)), np.zeros(1, np.int32), np.ones(K, np.float32)
    with pytest.raises(ValueError, match=r"expected \(1, 2\) uint8"):
        score_shard(shard, word, np.zeros((1, 3), np.uint8), ones, make_table(16))
    with pytest.raises(ValueError, match="table of 24 bits for codes of 2 bytes"):
        score_shard(shard, word, np.zeros((1, 2), np.uint8), ones, make_table(24))


def test_vectors_are_scored_by_their_inner_products(write, rng):
    words, ordinals, _ = draw(rng, 8)
    V = rng.normal(size=(60, 5)).astype(np.float32)
    V /= np.linalg.norm(V, axis=1, keepdims=True)
    shard: Shard = write(words, ordinals, V)
    weights = rng.random(K).astype(np.float32)
    found = score_vectors(shard, np.arange(K), V[:K], weights, alpha=3.0, tau=0.1)
    u = (V.astype(np.float64) * V[:K].astype(np.float64)[words]).sum(1)
    expected = np.bincount(ordinals, weights[words] * np.where(u > 0.1, u**3, 0), minlength=N)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"vectors \(2, 5\), expected \(1, 5\)"):
        score_vectors(shard, np.zeros(1, np.int32), V[:2], weights, alpha=3.0, tau=0.0)
