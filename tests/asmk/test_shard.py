import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resight.asmk.shard import MAX_IMAGES, NAMES, CorruptShardError, ShardFiles, write_shard

K = 5


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RESIGHT_CACHE", str(tmp_path / "cache"))


def draw(rng, *, n=20, n_entries=100, width=16, k=K):
    words, ordinals = rng.integers(0, k, n_entries), rng.integers(0, n, n_entries)
    codes = rng.integers(0, 256, (n_entries, width), dtype=np.uint8)
    return words, ordinals, codes, np.sort(rng.choice(10**12, n, replace=False))


def by_word_and_image(words, ordinals, codes):
    return sorted(zip(words.tolist(), ordinals.tolist(), map(bytes, codes), strict=True))


ENTRIES = st.lists(
    st.tuples(st.integers(0, K - 1), st.integers(0, 3), st.binary(min_size=3, max_size=3)), max_size=25
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(ENTRIES)
def test_entries_of_any_order_come_back_grouped_by_word_then_image(tmp_path_factory, entries):
    words = np.array([word for word, _, _ in entries], np.int32)
    ordinals = np.array([ordinal for _, ordinal, _ in entries], np.int64)
    codes = np.frombuffer(b"".join(code for *_, code in entries), np.uint8).reshape(-1, 3)
    folder = str(tmp_path_factory.mktemp("shard"))
    info = write_shard(folder, words, ordinals, codes, np.array([2, 3, 5, 2**62]), n_words=K)
    shard = ShardFiles(folder, info.sha256).open()
    found = shard.words_of(np.arange(info.n_entries))
    assert by_word_and_image(found, shard.ordinals, shard.codes) == by_word_and_image(words, ordinals, codes)
    key = found.astype(np.int64) * 4 + shard.ordinals
    assert (np.diff(key) >= 0).all()
    assert (shard.n_images, shard.n_words, info.n_images) == (4, K, 4)


def test_entries_of_some_images_are_found(tmp_path, rng):
    words, ordinals, codes, ids = draw(rng)
    shard = ShardFiles(
        str(tmp_path), write_shard(str(tmp_path), words, ordinals, codes, ids, n_words=K).sha256
    )
    opened = shard.open()
    entries = opened.entries_of(np.array([3, 17]))
    found = by_word_and_image(opened.words_of(entries), opened.ordinals[entries], opened.codes[entries])
    kept = np.isin(ordinals, [3, 17])
    assert found == by_word_and_image(words[kept], ordinals[kept], codes[kept])


def test_the_order_of_entries_does_not_change_a_byte(tmp_path, rng):
    _, _, codes, ids = draw(rng, n_entries=60)
    pairs = rng.permutation(20 * K)[:60]
    words, ordinals = pairs % K, pairs // K
    order = rng.permutation(60)
    first = write_shard(str(tmp_path / "a"), words, ordinals, codes, ids, n_words=K)
    mixed = (words[order], ordinals[order], codes[order])
    assert write_shard(str(tmp_path / "b"), *mixed, ids, n_words=K) == first


def test_an_entry_of_128_bits_takes_18_bytes(tmp_path, rng):
    large = write_shard(str(tmp_path / "a"), *draw(rng, n_entries=5000), n_words=K)
    small = write_shard(str(tmp_path / "b"), *draw(rng, n_entries=1000), n_words=K)
    assert large.n_bytes - small.n_bytes == 4000 * 18


def test_a_shard_holds_as_many_images_as_an_ordinal_can_name(tmp_path):
    ids = np.arange(MAX_IMAGES)
    one = (np.array([0]), np.array([MAX_IMAGES - 1]), np.zeros((1, 2), np.uint8))
    info = write_shard(str(tmp_path), *one, ids, n_words=1)
    assert ShardFiles(str(tmp_path), info.sha256).open().ordinals.tolist() == [MAX_IMAGES - 1]
    with pytest.raises(ValueError, match="a shard takes 65536"):
        write_shard(str(tmp_path), *one, np.arange(MAX_IMAGES + 1), n_words=1)


def test_vectors_are_kept_as_they_are(tmp_path, rng):
    words, ordinals, _, ids = draw(rng, n_entries=9)
    V = rng.normal(size=(9, 7)).astype(np.float16)
    info = write_shard(str(tmp_path), words, ordinals, V, ids, n_words=K)
    found = ShardFiles(str(tmp_path), info.sha256).open().codes
    assert found.dtype == np.float16
    assert sorted(map(bytes, found)) == sorted(map(bytes, V))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"words": np.array([0, K])}, "words 0 to 5 are not in"),
        ({"ordinals": np.array([-1, 0])}, "ordinals -1 to 0 are not in"),
        ({"ordinals": np.array([0])}, "ordinals"),
        ({"image_ids": np.array([3, 3])}, "strictly ascending"),
        ({"codes": np.zeros((2, 2))}, "got float64"),
    ],
)
def test_entries_that_do_not_fit_are_refused(tmp_path, change, message):
    good = {"words": np.array([0, 1]), "ordinals": np.array([0, 1]), "codes": np.zeros((2, 2), np.uint8)}
    with pytest.raises(ValueError, match=message):
        write_shard(str(tmp_path), **(good | {"image_ids": np.array([3, 9])} | change), n_words=K)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["flip", "cut", "lose"])
def test_a_damaged_shard_is_named_and_never_opened(tmp_path, rng, cache, name, damage):
    folder = tmp_path / "shard-7"
    info = write_shard(str(folder), *draw(rng), n_words=K)
    file = folder / name
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    if damage == "lose":
        file.unlink()
    else:
        file.write_bytes(data if damage == "flip" else data[:-1])
    with pytest.raises(CorruptShardError, match="shard-7"):
        ShardFiles(str(folder), info.sha256).open()


def test_files_that_were_verified_are_verified_again_only_when_they_change(tmp_path, rng, cache):
    from resight.asmk.shard import verify_shard

    folder = str(tmp_path / "shard")
    info = write_shard(folder, *draw(rng), n_words=K)
    verify_shard(folder, info.sha256)
    notes = list((tmp_path / "cache" / "verified").iterdir())
    verify_shard(folder, info.sha256)
    assert list((tmp_path / "cache" / "verified").iterdir()) == notes
    shutil.copy(f"{folder}/codes.npy", f"{folder}/ordinals.npy")
    with pytest.raises(CorruptShardError, match="expected"):
        verify_shard(folder, info.sha256)
