import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resight.asmk.kernel import Selectivity
from resight.asmk.search import (
    Asked,
    best_of,
    encode_query,
    find,
    query_norm,
    search_index,
    search_shards,
)
from resight.asmk.shard import CorruptShardError
from resight.codebook.model import Codebook
from tests.asmk import oracles
from tests.asmk.indexes import (
    double_sum,
    draw_images,
    make_table,
    save_index,
    to_asked,
    word_weights,
    write_index,
)
from tests.asmk.sets import draw_sets

K, N = 9, 12
NOBODY = np.array([-1])


def rank_all(query, images, ids, weights, n_bits, **kernel):
    scores = np.array([double_sum(query, image, weights, n_bits, **kernel) for image in images])
    order = np.lexsort((ids, -scores))
    return ids[order], scores[order]


@pytest.fixture
def ids(rng):
    return np.sort(rng.choice(10**9, N, replace=False))


@pytest.mark.parametrize("n_probes", [0, 2])
def test_threads_change_no_code_of_a_query(rng, n_probes):
    codebook = Codebook(rng.normal(size=(20, 16)).astype("f4"), n_probes=n_probes)
    vectors = rng.normal(size=(600, 16)).astype("f4")
    one, four = (encode_query(vectors, codebook, 3, threads=threads) for threads in (1, 4))
    np.testing.assert_array_equal(one.words, four.words)
    np.testing.assert_array_equal(one.codes, four.codes)


@pytest.mark.parametrize("idf", [False, True])
@pytest.mark.parametrize(("alpha", "tau"), [(3.0, 0.0), (1.0, -1.0), (2.5, 0.2)])
@pytest.mark.parametrize("n_bits", [128, 20])
def test_scores_are_the_double_sum_of_the_definition(tmp_path, rng, ids, idf, alpha, tau, n_bits):
    n_bytes, images = -(-n_bits // 8), draw_images(rng, n=N, k=K, n_bits=n_bits)
    weights, queries = word_weights(images, K, idf=idf), draw_images(rng, n=5, k=K, n_bits=n_bits)
    index = write_index(tmp_path, images, ids, weights, n_bytes=n_bytes, per_shard=5).open()
    asked = [to_asked(query, n_bytes) for query in queries]
    table = make_table(n_bits, alpha=alpha, tau=tau)
    for query, found in zip(queries, search_index(asked, np.full(5, -1), index, table, depth=N), strict=True):
        expected = rank_all(query, images, ids, weights, n_bits, alpha=alpha, tau=tau)
        np.testing.assert_allclose(found.scores, expected[1], atol=1e-5)
        assert set(found.image_ids.tolist()) == set(ids.tolist())
        by_id = dict(zip(*(column.tolist() for column in found), strict=True))
        np.testing.assert_allclose([by_id[i] for i in expected[0]], expected[1], atol=1e-5)


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("variant", ["smk", "asmk"])
@pytest.mark.parametrize("per_shard", [2, 7])
def test_vectors_over_shards_score_as_the_double_sum(tmp_path, rng, variant, m, per_shard):
    C, sets = draw_sets(rng)
    kind, codebook, kernel = variant == "asmk", Codebook(C), Selectivity(2.5, 0.05)
    slow = [oracles.describe(X, C, variant) for X in sets]
    weights = oracles.weigh(slow, len(C))
    norms = [oracles.norm(Y, weights, *kernel) for Y in slow]
    own = [encode_query(X, codebook, 1, aggregate=kind, real=True) for X in sets]
    numbers = np.sort(rng.choice(10**6, len(sets), replace=False))
    index = save_index(tmp_path, own, numbers, norms, weights, per_shard=per_shard).open()
    asked = [encode_query(X, codebook, m, aggregate=kind, real=True) for X in sets]
    found = search_index(asked, np.full(len(sets), -1), index, kernel, depth=99)
    for X, one in zip(sets, found, strict=True):
        query = oracles.describe(X, C, variant, m=m)
        expected = [oracles.similarity(query, Y, weights, *kernel) for Y in slow]
        assert set(one.image_ids.tolist()) == set(numbers.tolist())
        np.testing.assert_allclose(one.scores[np.argsort(one.image_ids)], expected, atol=1e-5)


def test_an_image_has_similarity_one_to_itself_and_zero_without_a_common_word(tmp_path, rng, ids):
    images = [{0: c, 1: c} for c in rng.integers(0, 256, (N - 1, 16), np.uint8)] + [
        {2: np.ones(16, np.uint8)}
    ]
    weights = np.ones(K)
    index = write_index(tmp_path, images, ids, weights, n_bytes=16, per_shard=4).open()
    found = search_index([to_asked(images[3], 16)], NOBODY, index, make_table(128), depth=N)[0]
    assert (found.image_ids[0], found.image_ids[-1]) == (ids[3], ids[-1])
    assert found.scores[[0, -1]] == pytest.approx([1.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("per_shard", [1, 5, N, 100])
def test_shards_change_no_bit_of_a_ranking(tmp_path, rng, ids, per_shard):
    images = draw_images(rng, n=N, k=K, n_bits=64)
    weights, asked = word_weights(images, K, idf=True), [to_asked(images[i], 8) for i in (0, 4, 7)]
    sharded = write_index(tmp_path / "s", images, ids, weights, n_bytes=8, per_shard=per_shard).open()
    whole = write_index(tmp_path / "w", images, ids, weights, n_bytes=8, per_shard=N).open()
    for depth in (1, 4, N):
        some, all_ = (
            search_index(asked, ids[[0, 4, 7]], index, make_table(64), depth=depth)
            for index in (sharded, whole)
        )
        for a, b in zip(some, all_, strict=True):
            assert [column.tobytes() for column in a] == [column.tobytes() for column in b]


def test_the_norm_of_a_query_ranks_nothing(tmp_path, rng, ids):
    images = draw_images(rng, n=N, k=K)
    index = write_index(tmp_path, images, ids, np.ones(K), n_bytes=2, per_shard=5).open()
    asked = [to_asked(images[i], 2) for i in range(N)]
    given = (asked, np.full(N, -1), index, make_table(16))
    numbers = range(len(index.shards))
    for raw, normed in zip(
        search_shards(*given, depth=N, numbers=numbers), search_index(*given, depth=N), strict=True
    ):
        kept = normed.scores > 0
        np.testing.assert_array_equal(raw.image_ids[kept], normed.image_ids[kept])


def test_ties_and_images_without_a_common_word_follow_by_id(tmp_path, ids):
    code = np.zeros(2, np.uint8)
    images = [{0: code} if i % 2 else ({} if i % 4 else {5: code}) for i in range(N)]
    index = write_index(tmp_path, images, ids, np.ones(K), n_bytes=2, per_shard=5).open()
    found = search_index([to_asked({0: code}, 2)], NOBODY, index, make_table(16), depth=N)[0]
    assert found.image_ids.tolist() == [*ids[1::2].tolist(), *ids[::2].tolist()]
    assert found.scores.tolist() == [1.0] * (N // 2) + [0.0] * (N // 2)


def test_a_query_without_keypoints_gives_every_image_zero(tmp_path, rng, ids):
    images = draw_images(rng, n=N, k=K)
    index = write_index(tmp_path, images, ids, np.ones(K), n_bytes=2, per_shard=7).open()
    found = search_index([to_asked({}, 2)], NOBODY, index, make_table(16), depth=N)[0]
    assert (found.image_ids.tolist(), found.scores.tolist()) == (ids.tolist(), [0.0] * N)


def test_words_without_a_weight_give_zero_and_never_nan(tmp_path, rng, ids):
    images = [{0: rng.integers(0, 256, 2, np.uint8)} for _ in range(N)]
    weights = word_weights(images, K, idf=True)
    index = write_index(tmp_path, images, ids, weights, n_bytes=2, per_shard=7).open()
    query = to_asked(images[0] | {8: images[0][0]}, 2)
    assert search_index([query], NOBODY, index, make_table(16), depth=N)[0].scores.tolist() == [0.0] * N


def test_removed_images_filtered_ones_and_the_query_itself_are_not_returned(tmp_path, rng, ids):
    images = draw_images(rng, n=N, k=K)
    given = {"n_bytes": 2, "per_shard": 5, "removed": ids[[2, 6]]}
    index = write_index(tmp_path, images, ids, np.ones(K), **given).open()
    allowed = np.ones(N - 2, bool)
    allowed[0] = False
    asked = [to_asked(images[3], 2)]
    found = search_index(asked, ids[[3]], index.restrict(allowed), make_table(16), depth=N)[0]
    assert set(found.image_ids.tolist()) == set(ids.tolist()) - set(ids[[0, 2, 3, 6]].tolist())


def test_a_damaged_shard_is_named_and_not_searched(tmp_path, rng, ids, monkeypatch):
    monkeypatch.setenv("RESIGHT_CACHE", str(tmp_path / "cache"))
    images = draw_images(rng, n=N, k=K)
    files = write_index(tmp_path, images, ids, np.ones(K), n_bytes=2, per_shard=5)
    with (tmp_path / "shards/1/codes.npy").open("ab") as stream:
        stream.write(b"x")
    asked = [to_asked(images[3], 2)]
    assert len(search_shards(asked, NOBODY, files.open(), make_table(16), depth=3, numbers=[0, 2])[0].scores)
    with pytest.raises(CorruptShardError, match="shards/1"):
        search_index(asked, NOBODY, files.open(), make_table(16), depth=3)


def test_scores_do_not_grow_with_alpha_or_tau(tmp_path, rng, ids):
    images = draw_images(rng, n=N, k=K, n_bits=32)
    index = write_index(tmp_path, images, ids, np.ones(K), n_bytes=4, per_shard=6).open()
    asked = [to_asked(images[1], 4)]

    def scores(**kernel):
        found = search_index(asked, NOBODY, index, make_table(32, **kernel), depth=N)[0]
        return found.scores[np.argsort(found.image_ids)]

    for weak, strong in [({"alpha": 1}, {"alpha": 3}), ({"tau": 0}, {"tau": 0.3})]:
        low, high = scores(**strong), scores(**weak)
        assert (low <= high + 1e-7).all()
        assert ((low >= 0) & (high <= 1 + 1e-6)).all()


def test_the_norm_of_a_query_counts_all_pairs_inside_a_word(rng):
    codes = rng.integers(0, 256, (3, 4), np.uint8)
    query, weights, table = Asked(np.array([0, 0, 2]), codes), np.array([2.0, 1.0, 3.0]), make_table(32)
    off = table[np.unpackbits(codes[0] ^ codes[1]).sum()]
    assert query_norm(query, weights, table) == pytest.approx((2 * (2 + 2 * off) + 3) ** -0.5)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([-np.inf, 0.0, 0.5, 1.0]), max_size=9), st.integers(0, 10))
def test_the_best_are_those_of_a_full_sort(scores, k):
    values = np.array(scores, np.float64)
    order = [i for i in np.lexsort((np.arange(len(values)), -values)) if values[i] > -np.inf]
    assert best_of(values, k).tolist() == order[:k]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.sets(st.integers(0, 9)), st.integers(-1, 10))
def test_an_id_is_found_where_it_is(ids, wanted):
    assert find(np.array(sorted(ids), np.int64), wanted).tolist() == [
        i for i, value in enumerate(sorted(ids)) if value == wanted
    ]
