"""Operators of an index against the kernels: for any partitions, on shuffled rows."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from resight.asmk import spark as asmk_spark
from resight.asmk.across import merge_entries
from resight.asmk.binarize import binarize
from resight.asmk.kernel import Entries, Selectivity, Values, self_scores
from resight.asmk.merging.spark import merge_across
from resight.asmk.shard import ShardFiles
from resight.asmk.spark import (
    ShardPlace,
    find_live,
    find_lost,
    list_images,
    norm_images,
    place_images,
    shard_writer,
    unpack_entries,
    write_shards,
)
from resight.asmk.statistics import inverse_roots
from resight.asmk.work import INDEXED
from resight.store import spark_schema
from resight.tables import ENTRIES

K, N_BITS = 9, 11
IMAGES = {50: [1, 1, 4], 7: [0, 4, 8], 9: [], 30: [2, 4, 4, 4, 5], 11: [4, 8]}  # image -> words


@pytest.fixture(scope="module")
def codes():
    rng = np.random.default_rng(2)
    return {i: binarize(rng.normal(size=(len(words), N_BITS))) for i, words in IMAGES.items()}


def listed(codes, *, once=False):
    """Entries as (word, image, code), one per code, or the first of each word."""
    rows = [(w, i, c.tobytes()) for i, words in IMAGES.items() for w, c in zip(words, codes[i], strict=True)]
    return list({(w, i): (w, i, c) for w, i, c in reversed(rows)}.values()) if once else rows


def indexed(spark, codes):
    rows = [
        {
            "image_id": i,
            "status": "ok",
            "words": np.array(words, "<i4").tobytes(),
            "codes": codes[i].tobytes(),
        }
        for i, words in IMAGES.items()
    ]
    rows.append({"image_id": 99, "status": "missing"})
    return spark.createDataFrame(pa.Table.from_pylist(rows, schema=INDEXED))


def joined(codes):
    """What the table holds: per word and image, all codes."""
    found = {}
    for w, i, c in listed(codes):
        found[w, i] = found.get((w, i), b"") + c
    return found


def entries_frame(spark, rows):
    typed = [(int(w), int(i), bytearray(c)) for w, i, c in rows]
    return spark.createDataFrame(typed, spark_schema(ENTRIES))


@pytest.mark.parametrize("n_partitions", [1, 3])
def test_entries_are_the_packed_lists_taken_apart(spark, codes, n_partitions):
    rows = unpack_entries(indexed(spark, codes).repartition(n_partitions), values=Values(N_BITS)).collect()
    assert {(r["word_id"], r["image_id"]): bytes(r["code"]) for r in rows} == joined(codes)
    assert len(rows) == len(joined(codes))


@pytest.mark.parametrize("group", [1, 3, 100])
def test_norms_equal_the_kernel(spark, codes, monkeypatch, group):
    monkeypatch.setattr(asmk_spark, "GROUP_IMAGES", group)
    weights, selectivity = np.arange(K) / 4, Selectivity(2.0, 0.1)
    frame = entries_frame(spark, [(w, i, c) for (w, i), c in joined(codes).items()]).repartition(3)
    rows = norm_images(frame, weights, values=Values(N_BITS), n_images=5, selectivity=selectivity).collect()
    ids = sorted(IMAGES)
    words, owners, packed = zip(
        *((w, ids.index(i), np.frombuffer(c, "u1")) for w, i, c in listed(codes)), strict=True
    )
    entries = Entries(np.array(words), np.array(owners), np.stack(packed), N_BITS)
    expected = inverse_roots(self_scores(entries, weights, n_images=5, selectivity=selectivity))
    found = {r["image_id"]: (r["n_words"], r["norm"]) for r in rows}
    assert found == {i: (len(set(IMAGES[i])), expected[ids.index(i)]) for i in ids if IMAGES[i]}


@pytest.mark.parametrize("n_shards", [1, 2, 8])
def test_shards_hold_every_image_once_with_its_entries(spark, codes, tmp_path, n_shards):
    images = spark.createDataFrame([(i,) for i in IMAGES], "image_id long").repartition(3)
    frame = entries_frame(spark, [(w, i, c) for (w, i), c in joined(codes).items()] + [(3, 77, b"xx")])
    place = ShardPlace(str(tmp_path), K, Values(N_BITS))
    placed = place_images(images, first_shard=5, n_shards=n_shards)
    rows = write_shards(placed, frame, place).collect()
    found = {}
    for row in rows:
        shard = ShardFiles(place.folder_of(row["shard"]), row["sha256"]).open()
        assert (row["n_images"], row["n_entries"]) == (shard.n_images, len(shard.codes))
        words = shard.words_of(np.arange(len(shard.codes)))
        owners = shard.image_ids[shard.ordinals]
        for i in shard.image_ids.tolist():
            assert i not in found
            found[i] = sorted(
                zip(words[owners == i].tolist(), map(bytes, shard.codes[owners == i]), strict=True)
            )
    assert found == {i: sorted(zip(IMAGES[i], map(bytes, codes[i]), strict=True)) for i in IMAGES}
    held = [(row["shard"], ShardFiles(place.folder_of(row["shard"]), row["sha256"])) for row in rows]
    assert sorted(r["image_id"] for r in list_images(spark, held).collect()) == sorted(IMAGES)
    check_damaged(spark, held)


def check_damaged(spark, held):
    """A shard one of whose ids was altered holds no image any more: its images are lost."""
    number, place = held[-1]
    lost = place.open().image_ids.tolist()
    file = Path(place.folder, "image_ids.npy")
    ids = np.load(file)
    np.save(file, ids + 1)
    located = list_images(spark, held)
    assert [r["shard"] for r in located.where("image_id is null").collect()] == [number]
    stats = spark.createDataFrame([(i, "ok") for i in IMAGES], "image_id long, status string")
    found = find_lost(located, stats, stats.where("image_id < 0"))
    assert sorted(r["image_id"] for r in found.collect()) == sorted(lost)


def test_an_image_that_was_split_over_batches_is_refused(tmp_path):
    columns = {"shard": [5] * 4, "image_id": [3, 3, 8, 3], "place": [0, 0, 1, 0], "word_id": [2, 1, 2, 2]}
    rows = pa.table({name: np.array(column, np.int64) for name, column in columns.items()})
    rows = rows.append_column("code", pa.array([b"ab"] * 4))
    write_one = shard_writer(ShardPlace(str(tmp_path), K, Values(N_BITS)))
    with pytest.raises(ValueError, match="image 3 was split: it has word 2 in two rows"):
        write_one(rows)
    assert write_one(rows.slice(0, 3))["n_entries"].to_pylist() == [3]


def test_images_that_are_not_indexed_any_more_are_not_live_whenever_they_went(spark):
    located = spark.createDataFrame([(0, i) for i in range(6)] + [(1, 6)], "shard int, image_id long")
    stats = [(0, "ok"), (3, "ok"), (4, "nan"), (5, "ok"), (6, "ok"), (9, "ok")]  # 1 and 2 went before
    stats = spark.createDataFrame(stats, "image_id long, status string")
    indexed = spark.createDataFrame([(5, "ok"), (9, "ok")], "image_id long, status string")
    found = find_live(located, stats, indexed).collect()
    assert sorted((row["shard"], row["image_id"]) for row in found) == [(0, 0), (0, 3), (1, 6)]


@pytest.mark.parametrize("block", [1, 3, 100])
def test_aggregation_across_images_equals_the_kernel(spark, rng, block):
    tau, min_matches = 0.25, 2
    base = rng.choice([-1, 1], (4, N_BITS))
    pairs = [(c, i) for i in range(8) for c in range(4) if rng.random() < 0.8]
    pairs = [pairs[i] for i in rng.permutation(len(pairs))]
    signs = np.stack([base[c] * np.where(rng.random(N_BITS) < 0.15, -1, 1) for c, _ in pairs])
    words, images = np.array(pairs).T
    packed = binarize(signs)
    frame = entries_frame(spark, zip(words, images, map(bytes, packed), strict=True)).repartition(3)
    merged = merge_across(frame, n_bits=N_BITS, tau=tau, min_matches=min_matches, block_entries=block)
    found = {(r["word_id"], r["image_id"]): bytes(r["code"]) for r in merged.collect()}
    local = merge_entries(words, images, packed, n_bits=N_BITS, tau=tau, min_matches=min_matches)
    assert found == {(w, i): bytes(c) for w, i, c in zip(words.tolist(), images.tolist(), local, strict=True)}
    assert (local != packed).any()


@pytest.mark.parametrize("crowd", [1, 3, 100])
def test_copies_and_crowds_of_equal_codes_change_nothing_and_bound_the_matches(spark, rng, crowd):
    tau, min_matches, n = 0.25, 3, 24
    base = rng.choice([-1, 1], (7, N_BITS))
    signs = base[:, None] * np.where(rng.random((7, n, N_BITS)) < 0.15, -1, 1)
    signs[:2, :20] = base[:2, None]  # two words in which most codes are equal
    signs[:, 20:] = signs[:, [3]]  # copies of one image
    words, images = (place.ravel() for place in np.mgrid[:7, :n])
    there = (rng.random((7, n)) < 0.7).ravel() | np.isin(images, [3, *range(20, n)])
    words, images, packed = words[there], images[there], binarize(signs.reshape(-1, N_BITS)[there])
    frame = entries_frame(spark, zip(words, images, map(bytes, packed), strict=True)).repartition(3)
    held = []
    merged = merge_across(
        frame, n_bits=N_BITS, tau=tau, min_matches=min_matches, crowd=crowd, hold=keep(held)
    )
    found = {(r["word_id"], r["image_id"]): bytes(r["code"]) for r in merged.collect()}
    local = merge_entries(words, images, packed, n_bits=N_BITS, tau=tau, min_matches=min_matches)
    assert found == {(w, i): bytes(c) for w, i, c in zip(words.tolist(), images.tolist(), local, strict=True)}
    copies, crowds, matches = (frame.collect() for frame in held)
    assert sorted((r["image_id"], r["leader"]) for r in copies) == [(i, 3) for i in range(20, n)]
    within = sum(row["word_id"] < 2 for row in matches)
    assert within < 10 if crowd < 18 else within > 100
    assert all(len(row["crowds"]) < min_matches for row in crowds)


def keep(held):
    """Hold frames as an operator asks for it, and list them."""

    def hold(frame):
        held.append(frame.localCheckpoint())
        return held[-1]

    return hold
