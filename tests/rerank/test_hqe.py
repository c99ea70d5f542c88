import numpy as np
import pytest

from resight.asmk.search import Asked, search_index
from resight.rerank.hqe import (
    Entries,
    Expansion,
    choose_words,
    collect_entries,
    expand_query,
    find_reliable,
    join_entries,
    majority,
    search_expanded,
)
from tests.asmk.indexes import draw_images, make_table, to_asked, write_index

B = 32
SETTINGS = Expansion(B, n_matches=2)


def entries_of(images, ids):
    parts = [to_asked(image, B // 8) for image in images]
    return join_entries([Entries(np.full(len(p.words), i), *p) for p, i in zip(parts, ids, strict=True)])


def flip(rng, code, n):
    bits = np.unpackbits(code, bitorder="little")
    bits[rng.choice(len(bits), n, replace=False)] ^= 1
    return np.packbits(bits, bitorder="little")


@pytest.mark.parametrize(("n", "rate", "error"), [(1, 0.2, 0.2), (3, 0.2, 0.104), (5, 0.1, 0.0086)])
def test_a_majority_of_noisy_copies_errs_as_computed(rng, n, rate, error):
    flips = rng.random((4000, n, B)) < rate
    codes = np.packbits(flips, axis=2, bitorder="little").reshape(-1, B // 8)
    _, found = majority(np.repeat(np.arange(4000), n), codes, SETTINGS, key=1)
    share = np.unpackbits(found).mean()
    assert abs(share - error) < 5 * np.sqrt(error / (4000 * B))


def test_a_majority_ignores_order_and_only_ties_follow_the_seed(rng):
    codes = rng.integers(0, 256, (4, B // 8), np.uint8)
    words, order = np.zeros(4, int), rng.permutation(4)
    _, first = majority(words, codes, SETTINGS, key=1)
    assert majority(words, codes[order], SETTINGS, key=1)[1].tobytes() == first.tobytes()
    _, other = majority(words, codes, SETTINGS._replace(seed=9), key=1)
    tied = np.unpackbits(codes, axis=1).sum(0) == 2
    differs = np.unpackbits(first ^ other, axis=1)[0].astype(bool)
    assert differs.any()
    assert not differs[~tied].any()
    assert majority(words, codes[[0, 0, 0, 0]], SETTINGS, key=1)[1].tobytes() == codes[0].tobytes()


def test_coins_are_fair(rng):
    code = rng.integers(0, 256, B // 8, np.uint8)
    both = np.tile([code, ~code], (2000, 1))
    _, found = majority(np.repeat(np.arange(2000), 2), both, SETTINGS, key=3)
    assert abs(np.unpackbits(found, axis=1).mean(0) - 0.5).max() < 5 * 0.5 / np.sqrt(2000)


def test_reliable_images_share_enough_close_codes(rng):
    query = {c: rng.integers(0, 256, B // 8, np.uint8) for c in range(6)}
    near = {c: flip(rng, query[c], 7) for c in range(4)}  # u = 1 - 14 / 32 > 0.5
    edge = {c: flip(rng, query[c], 8) for c in range(4)}  # u = 0.5: not above
    elsewhere = {c + 10: query[c] for c in range(4)}
    entries = entries_of([near, edge, elsewhere], [30, 20, 10])
    asked = to_asked(query, B // 8)
    for n_matches, reliable in [(1, [30]), (4, [30]), (5, [])]:
        assert find_reliable(asked, entries, SETTINGS._replace(n_matches=n_matches)).tolist() == reliable
    assert find_reliable(asked, entries, SETTINGS._replace(similarity=0.49)).tolist() == [20, 30]


def test_the_most_frequent_other_words_are_taken():
    found = np.array([7, 7, 7, 9, 9, 8, 8, 2, 2, 2, 5])
    assert choose_words(np.array([1, 2, 3, 4]), found, 0.5).tolist() == [2, 7, 8]
    assert choose_words(np.array([1, 2, 3, 4]), found, 0.0).tolist() == [2]


def test_an_expanded_query_keeps_its_words_and_grows_by_its_share(rng):
    images = draw_images(rng, n=6, k=40, n_bits=B, most=30)
    asked = to_asked(dict(list(images[0].items())[::2]), B // 8)
    expanded = expand_query(asked, entries_of(images, range(6)), SETTINGS)
    assert set(asked.words) < set(expanded.words)
    assert len(asked.words) < len(expanded.words) <= 1.5 * len(asked.words)
    assert (np.diff(expanded.words) > 0).all()
    same = expand_query(asked, entries_of(images, range(6)), SETTINGS._replace(share=0.0))
    assert same.words.tolist() == asked.words.tolist()


def test_without_a_reliable_image_the_query_stays(rng):
    images = draw_images(rng, n=4, k=20, n_bits=B)
    asked = to_asked(images[0], B // 8)
    for entries in (entries_of(images[1:], range(3)), join_entries([])):
        found = expand_query(asked, entries, SETTINGS._replace(n_matches=99))
        assert [column.tobytes() for column in found] == [column.tobytes() for column in asked]
    empty = Asked(np.zeros(0, np.int32), np.zeros((0, B // 8), np.uint8))
    assert len(expand_query(empty, entries_of(images, range(4)), SETTINGS).words) == 0


def test_only_the_query_itself_gives_the_majority_of_its_own_codes(rng):
    image = draw_images(rng, n=1, k=20, n_bits=B, most=20)[0]
    asked = to_asked(image, B // 8)
    found = expand_query(asked, entries_of([image], [5]), SETTINGS)
    assert [column.tobytes() for column in found] == [column.tobytes() for column in asked]


def test_entries_are_collected_from_the_shards_that_hold_the_images(tmp_path, rng):
    images, ids = draw_images(rng, n=9, k=20, n_bits=B), np.arange(9) * 5 + 3
    index = write_index(tmp_path, images, ids, np.ones(20), n_bytes=B // 8, per_shard=4).open()
    found = collect_entries(np.array([38, 3, 4, 23]), index, range(3))
    expected = entries_of([images[0], images[4], images[7]], [3, 23, 38])
    assert [column.tolist() for column in found] == [column.tolist() for column in expected]


def test_images_that_share_patches_only_with_matches_are_found(tmp_path, rng):
    patches = rng.integers(0, 256, (40, B // 8), np.uint8)  # word c has one patch of the object

    def view(words):
        clutter = {int(c): rng.integers(0, 256, B // 8, np.uint8) for c in rng.choice(range(40, 200), 20)}
        return clutter | {int(c): flip(rng, patches[c], 3) for c in words}

    query, bridges, far = view(range(10)), [view(range(20)) for _ in range(4)], view(range(10, 20))
    images = [*bridges, far, *(view([]) for _ in range(15))]
    index = write_index(tmp_path, images, np.arange(20), np.ones(200), n_bytes=B // 8, per_shard=8).open()
    asked, table, nobody = [to_asked(query, B // 8)], make_table(B), np.array([-1])
    plain = search_index(asked, nobody, index, table, depth=20)[0].image_ids.tolist()
    found = search_expanded(asked, nobody, index, table, SETTINGS, depth=20)[0].image_ids.tolist()
    assert set(found[:4]) == {0, 1, 2, 3}
    assert found.index(4) == 4 < plain.index(4)
