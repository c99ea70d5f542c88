"""Candidates: lists, codes in all positions, and one photo many times."""

import numpy as np
import pyarrow as pa
import pytest

from resight.dedup.candidates.spark import (
    collect_candidates,
    drop_collapsed,
    pair_codes,
    pair_descriptors,
    pair_members,
)
from resight.dedup.keep import parse_policy
from resight.dedup.spark import represent_copies
from resight.tables import CODES, IMAGES
from tests.dedup.planted import image, lists_frame, to_frame

MANY = range(1000, 1300)  # one photo, 300 times, all of other bytes
PAIR = "image_a long, image_b long"


def code_row(image_id, turn, bits, *, quality=0.9):
    row = {"image_id": image_id, "kind": "phash", "turn": turn, "code": bits.tobytes(), "n_bits": 64}
    return dict.fromkeys(CODES.schema.names) | row | {"quality": quality, "status": "ok"}


@pytest.fixture(scope="module")
def codes(spark):
    rng = np.random.default_rng(0)
    positions = {i: rng.integers(0, 256, (8, 8), np.uint8) for i in (1, 2, 3, 4, 5)}
    positions[2][0] = positions[1][3] ^ np.uint8([7, 0, 0, 0, 0, 0, 0, 0])  # 1, turned, is 2 but for 3 bits
    positions[3][0] = positions[1][0] ^ np.uint8([255, 255, 0, 0, 0, 0, 0, 0])
    rows = [code_row(i, t, bits) for i, all_bits in positions.items() for t, bits in enumerate(all_bits)]
    rows += [code_row(i, 0, np.zeros(8, np.uint8), quality=0.1) for i in (8, 9)]  # two flat pictures
    many = rng.integers(0, 256, (8, 8), np.uint8)
    rows += [code_row(i, t, bits) for i in MANY for t, bits in enumerate(many)]
    return to_frame(spark, CODES, rows).localCheckpoint()


def ends(pairs):
    rows = pairs.toArrow()
    found = list(zip(rows["image_a"].to_pylist(), rows["image_b"].to_pylist(), strict=True))
    assert len(set(found)) == len(found)
    return set(found)


def test_codes_pair_near_ones_in_any_position_and_one_photo_many_times_as_a_star(codes):
    pairs, buckets = pair_codes(codes, share=0.125, top=5)
    found = ends(pairs)
    assert {pair for pair in found if pair[0] < 1000} == {(1, 2)}
    assert {(row.kind, row.is_left_out) for row in buckets.collect()} == {("phash", False)}
    assert {pair for pair in found if pair[0] >= 1000} == {(MANY[0], i) for i in MANY[1:]}


def test_descriptors_pair_nothing_among_images_of_equal_codes_but_the_star(spark, codes):
    pairs = [(MANY[0], MANY[5]), (MANY[5], MANY[6]), (1, MANY[5]), (8, 9), (50, 51), (1, 2)]
    kept = ends(drop_collapsed(spark.createDataFrame(pairs, PAIR), codes))
    assert kept == set(pairs) - {(MANY[5], MANY[6])}


def test_lists_give_their_first_that_reach_the_threshold(spark):
    lists = {1: [(2, 0.9), (3, 0.8), (4, 0.7)], 4: [(1, 0.7), (5, 0.69)], 6: []}
    frame = lists_frame(spark, lists)
    assert ends(pair_descriptors(frame, threshold=0.7, top=2)) == {(1, 2), (1, 3), (1, 4)}
    assert ends(pair_descriptors(frame, threshold=0.0, top=1)) == {(1, 2), (1, 4)}


def test_candidates_are_those_of_representatives_with_what_found_them(spark):
    rows = [
        image(1, width=900),
        image(2),
        image(3),
        image(4, pixel_hash="p", width=9),
        image(5, pixel_hash="p"),
    ]
    copies = represent_copies(to_frame(spark, IMAGES, rows), parse_policy())
    parts = {
        "descriptors": spark.createDataFrame([(1, 2), (4, 5), (4, 1), (2, 99)], PAIR),
        "codes": spark.createDataFrame([(1, 5), (2, 3)], PAIR),
    }
    found = collect_candidates(parts, copies).toArrow().to_pylist()
    expected = {(1, 2): "descriptors", (1, 5): "codes+descriptors", (2, 3): "codes"}
    assert {(r["image_a"], r["image_b"]): r["found_by"] for r in found} == expected


def test_linked_images_are_compared_with_the_best_of_them_once(spark):
    rows = [image(1), image(2, width=900), image(3), image(4), image(7), image(8), image(9)]
    copies = represent_copies(to_frame(spark, IMAGES, rows), parse_policy())
    linked = pa.table({"node_id": [1, 2, 3, 4, 7, 8, 9], "component_id": [1, 1, 1, 1, 7, 7, 7]})
    known = spark.createDataFrame([(1, 2), (3, 4)], PAIR)
    further = pair_members(spark.createDataFrame(linked), copies, known, parse_policy(), limit=10)
    assert ends(further) == {(2, 3), (2, 4), (7, 8), (7, 9)}
    few = pair_members(spark.createDataFrame(linked), copies, known, parse_policy(), limit=3)
    assert ends(few) == {(7, 8), (7, 9)}
