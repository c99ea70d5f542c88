"""Pairs of codes over all images, distributed: equal to the comparison of all pairs, however it is spread."""

from itertools import chain

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as sf

from resight.hashing.perceptual import invert_turn
from resight.hashing.plan import Plan, plan_parts
from resight.hashing.spark import fit_hash, join_codes, locate_pairs

RADIUS = 6


def draw_images(rng, n=36):
    """Codes (n, 8, 8) uint8 by position: families of near, equal and turned pictures, and strangers."""
    codes = rng.integers(0, 256, (n, 8, 8), dtype=np.uint8)
    for i in range(3, n, 3):
        codes[i] = codes[i - 3 if i % 4 else i - 1]
        codes[i, :, 0] ^= np.uint8(i % 8)
    for i, turn in ((1, 1), (4, 2), (7, 5), (10, 3)):
        flips = np.array([3, *[0] * 7], np.uint8)
        codes[i + 21, turn] = codes[i, 0] ^ flips
        codes[i, invert_turn(turn)] = codes[i + 21, 0] ^ (flips & 1)
    return codes


def expected_pairs(ids, codes):
    """All pairs by counting bits: of representatives, and of each image with its representative."""
    bits = np.unpackbits(codes, axis=2).astype(int)
    first = {}
    for i in np.argsort(ids):
        first.setdefault(codes[i, 0].tobytes(), i)
    best = {}
    for i in range(len(ids)):
        own = first[codes[i, 0].tobytes()]
        if own != i:
            note_pair(best, ids[own], ids[i], 0, 0)
    for i in first.values():
        for j in first.values():
            distances = (bits[i] != bits[j, 0]).sum(1)
            for turn in np.flatnonzero(distances <= RADIUS) if i != j else ():
                note_pair(best, ids[i], ids[j], int(turn), int(distances[turn]))
    return sorted((a, b, turn, distance) for (a, b), (distance, turn) in best.items())


def note_pair(best, src, dst, turn, distance):
    key = (min(src, dst), max(src, dst))
    turn = turn if src < dst else invert_turn(turn)
    best[key] = min(best.get(key, (99, 9)), (distance, turn))


def code_frame(spark, rng, ids, codes):
    """The codes (n, turns, 8) as shuffled rows."""
    rows = [(ids[i], t, bytearray(code)) for i, own in enumerate(codes) for t, code in enumerate(own)]
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    return spark.createDataFrame(shuffled, "image_id long, turn int, code binary")


def nearest_pairs(ids, codes, top):
    """Each representative with its ``top`` nearest, by counting bits, and the stars of equal codes."""
    bits = np.unpackbits(codes, axis=2).astype(int)
    first, pairs = {}, set()
    for i in np.argsort(ids):
        own = first.setdefault(codes[i, 0].tobytes(), i)
        pairs |= {(ids[own], ids[i])} if own != i else set()
    for i in first.values():
        far = {ids[j]: (bits[i] != bits[j, 0]).sum(1).min() for j in first.values() if j != i}
        for other in sorted(far, key=lambda j: (far[j], j))[:top]:
            pairs.add((min(ids[i], other), max(ids[i], other)))
    return sorted(pairs)


@pytest.mark.parametrize(
    ("plan", "block", "parts"),
    [(Plan(), 5, 3), (plan_parts(64, RADIUS, 7), 4096, 1), (plan_parts(64, RADIUS, 5), 2, 4)],
    ids=["scan", "equal parts", "flipped parts"],
)
def test_the_pairs_are_those_of_all_comparisons(spark, rng, plan, block, parts):
    codes = draw_images(rng)
    ids = rng.permutation(10_000)[: len(codes)].tolist()
    expected = expected_pairs(ids, codes)
    assert len({turn for _, _, turn, _ in expected}) >= 4
    frame = code_frame(spark, rng, ids, codes).repartition(parts)
    found = join_codes(frame, radius=RADIUS, plan=plan, block=block).pairs.collect()
    assert sorted(tuple(row) for row in found) == expected


@pytest.mark.parametrize("plan", [Plan(), plan_parts(64, RADIUS, 5)], ids=["scan", "parts"])
def test_new_images_are_compared_with_all_and_the_others_only_with_them(spark, rng, plan):
    codes = draw_images(rng)
    ids = rng.permutation(10_000)[: len(codes)].tolist()
    new = set(ids[::4])
    frame = code_frame(spark, rng, ids, codes).withColumn("is_new", sf.col("image_id").isin(new))
    joined = join_codes(frame, radius=RADIUS, plan=plan, block=5)
    found = sorted(tuple(row) for row in joined.pairs.collect())
    assert found == [row for row in expected_pairs(ids, codes) if new & {*row[:2]}]
    assert len(found) > 4
    if plan.is_scan:
        kept = {codes[i, 0].tobytes(): i for i in np.argsort(ids)[::-1]}.values()
        asks = {ids[i]: len({code.tobytes() for code in codes[i]}) for i in kept}
        n_new = len(new & set(asks))
        from_new = sum(n for i, n in asks.items() if i in new) * len(asks)
        from_others = sum(n for i, n in asks.items() if i not in new) * n_new
        looked = [row["n_compared"] for row in joined.compared.orderBy("part").collect()]
        assert looked == [from_new, from_others]


def test_only_the_nearest_of_each_image_are_paired_where_that_is_asked(spark, rng):
    codes = draw_images(rng)
    ids = rng.permutation(10_000)[: len(codes)].tolist()
    frame = code_frame(spark, rng, ids, codes)
    for top, block in ((1, 20), (3, 4096)):
        joined = join_codes(frame, radius=60, plan=Plan(), block=block, top=top)
        assert sorted(tuple(row[:2]) for row in joined.pairs.collect()) == nearest_pairs(ids, codes, top)


def test_what_a_bucket_limit_leaves_out_is_counted(spark, rng):
    codes = rng.integers(0, 256, (20, 1, 8), dtype=np.uint8)
    codes[:12, 0, 0] = 7  # twelve codes share the first part
    codes[1, 0, 1:] = codes[0, 0, 1:] ^ np.uint8([0, 0, 0, 0, 0, 0, 1])
    frame = code_frame(spark, rng, list(range(20)), codes)
    plan = plan_parts(64, 2, 8)
    whole = join_codes(frame, radius=2, plan=plan)
    cut = join_codes(frame, radius=2, plan=plan, max_bucket=11)
    assert whole.left_out.isEmpty()
    left = [(row.part, row.n_asked, row.n_held, row.n_compared) for row in cut.left_out.collect()]
    assert left == [(0, 12, 12, 144)]
    assert [tuple(row) for row in cut.pairs.collect()] == [(0, 1, 0, 1)], "another part gives the pair"
    assert join_codes(frame, radius=2, plan=Plan(), max_bucket=11).left_out.isEmpty()


def test_one_photo_thousands_of_times_is_a_star_and_its_many_versions_a_few_pairs_each(spark, rng):
    same = np.repeat(rng.integers(0, 256, (1, 1, 8), dtype=np.uint8), 3000, axis=0)
    versions = same[:400].copy()
    versions[:, 0, :2] = np.arange(400, dtype="<u2").view(np.uint8).reshape(-1, 2)
    frame = code_frame(spark, rng, list(range(3400)), np.concatenate([same, versions]))
    joined = join_codes(frame, radius=16, plan=Plan(), top=3)
    pairs = [tuple(row) for row in joined.pairs.collect()]
    star = [pair for pair in pairs if pair[1] < 3000]
    assert sorted(star) == [(0, i, 0, 0) for i in range(1, 3000)]
    assert 400 <= len(pairs) - len(star) <= 3 * 401
    assert {*chain(*(pair[:2] for pair in pairs))} == set(range(3400))


def test_a_stack_is_fitted_on_a_sample_and_the_pairs_that_match(spark, rng):
    X = np.repeat(rng.normal(size=(20, 12)), 2, axis=0) + 0.1 * rng.normal(size=(40, 12))
    ids = rng.permutation(1000)[:40]
    rows = [(int(i), bytearray(x.astype("<f4").tobytes())) for i, x in zip(ids, X, strict=True)]
    sampled = spark.createDataFrame(rows, "image_id long, vector binary")
    matching = [(int(a), int(b)) for a, b in ids.reshape(-1, 2)]
    pairs = spark.createDataFrame(matching, "image_a long, image_b long")
    options = {"dtype": "float32", "seed": 1, "layers": (16,)}
    model = fit_hash(sampled, "deephash", 8, pairs=pairs, **options)
    assert (model.kind, [W.shape for W in model.weights]) == ("deephash", [(12, 16), (16, 8)])
    codes = np.unpackbits(model.encode(X.astype(np.float32)), axis=1)
    near = (codes[::2] != codes[1::2]).sum(1).mean()
    assert near < (codes[:-2:2] != codes[2::2]).sum(1).mean()


def test_pairs_are_found_among_the_rows_of_a_sample():
    pairs = pa.table({"image_a": [7, 3, 5], "image_b": [9, 5, 8]})
    assert locate_pairs(pairs, np.array([3, 5, 7, 9])).tolist() == [[0, 1], [2, 3]]
    assert locate_pairs(pairs.slice(2), np.array([3, 5])).shape == (0, 2)
