"""Pairs of codes over all images, distributed: equal to the comparison of all pairs, however it is spread."""

import numpy as np
import pytest

from resight.hashing.perceptual import invert_turn
from resight.hashing.plan import Plan, plan_parts
from resight.hashing.spark import find_code_pairs

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
    rows = [(ids[i], t, bytearray(codes[i, t])) for i in range(len(ids)) for t in range(8)]
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    frame = spark.createDataFrame(shuffled, "image_id long, turn int, code binary").repartition(parts)
    found = find_code_pairs(frame, radius=RADIUS, plan=plan, block=block).collect()
    assert sorted(tuple(row) for row in found) == expected


def test_images_of_one_code_are_a_star(spark):
    rows = [(i, 0, bytearray(b"12345678")) for i in (5, 3, 9, 7)]
    frame = spark.createDataFrame(rows, "image_id long, turn int, code binary")
    found = find_code_pairs(frame, radius=0, plan=plan_parts(64, 0, 1 + 1)).collect()
    assert sorted(tuple(row) for row in found) == [(3, 5, 0, 0), (3, 7, 0, 0), (3, 9, 0, 0)]
