import numpy as np
import pyarrow as pa
import pytest

from resight.dedup.keep import keep_order, parse_policy
from resight.dedup.spark import find_pairs, find_saturated, represent_copies
from resight.tables import IMAGES
from tests.dedup import oracle
from tests.dedup.planted import (
    TIME,
    image,
    lists_frame,
    neighbour_lists,
    random_collection,
    to_frame,
)

SAME = {"content_hash": "dead", "pixel_hash": "dead"}
UNKNOWN = {"content_hash": None, "pixel_hash": None, "width": None}
SCENE = [
    *(image(i, content_hash="b", pixel_hash="p", width=100) for i in range(1000, 2000)),
    image(2000, pixel_hash="p", width=101),  # the largest of a thousand copies
    image(1, **SAME),
    image(2, **SAME, removed_at=TIME),
    image(3, **SAME, status="crashed"),
    image(4),
    image(11, **UNKNOWN),
    image(12, **UNKNOWN),
    image(21, content_hash="d", pixel_hash="old", width=700),
    image(22, content_hash="d", pixel_hash="new"),
    image(23, pixel_hash="new"),
    image(31),
    image(32, pixel_hash="q"),
    image(33, pixel_hash="q", n_bytes=9999),
    image(41, width=200, height=100),
    image(42, width=50, height=100),
    image(43, width=0),
]
LISTS = {
    2: [(4, 0.99)],
    4: [(2, 0.99), (3, 0.99)],
    31: [(32, 0.95)],
    32: [(33, 1.0), (31, 0.96)],
    42: [(41, 0.95)],
    43: [(42, 0.95), (41, 0.95)],
}


def pairs_of(spark, images, lists, n_partitions=3):
    copies = represent_copies(to_frame(spark, IMAGES, images, n_partitions), parse_policy())
    rows = find_pairs(copies, lists_frame(spark, lists, n_partitions), threshold=0.9).collect()
    found = {(row.image_a, row.image_b): row for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.fixture(scope="module")
def scene(spark):
    return pairs_of(spark, SCENE, LISTS)


def within(pairs, low, high):
    """Relations of the pairs between images of a range of ids."""
    return {p: row.relation for p, row in pairs.items() if low <= p[0] <= p[1] <= high}


@pytest.mark.parametrize(("seed", "n_partitions"), [(0, 1), (1, 3), (2, 20)])
def test_pairs_equal_the_slow_search(spark, seed, n_partitions):
    images, ids, X = random_collection(seed)
    lists = neighbour_lists(ids, X, k=10)
    found = pairs_of(spark, images, lists, n_partitions)
    expected = oracle.find_pairs(images, lists, 0.9)
    assert {p: row.relation for p, row in found.items()} == {p: r for p, (r, _) in expected.items()}
    values = [(found[p].similarity, expected[p][1]) for p in expected]
    np.testing.assert_allclose(*zip(*values, strict=True), rtol=1e-6)
    assert {row.relation for row in found.values()} == set(oracle.RELATIONS)


def test_a_thousand_copies_are_a_star(scene):
    star = within(scene, 1000, 2000)
    assert star == {(i, 2000): "same_pixels" for i in range(1000, 2000)}


def test_removed_and_broken_images_never_appear(scene):
    assert not within(scene, 1, 4)


def test_unknown_hashes_are_not_equal(scene):
    assert not within(scene, 11, 12)


def test_equal_bytes_are_exact_even_where_decoders_differed(scene):
    assert within(scene, 21, 23) == {(21, 22): "exact", (21, 23): "same_pixels"}


def test_near_pairs_are_between_representatives(scene):
    assert within(scene, 31, 33) == {(32, 33): "same_pixels", (31, 33): "near"}
    assert scene[31, 33].similarity == np.float32(0.96)


def test_size_ratio_is_pixels_of_b_over_pixels_of_a(scene):
    ratios = [scene[p].size_ratio for p in [(41, 42), (41, 43), (42, 43)]]
    assert ratios == [0.25, 0.0, 0.0]


@pytest.mark.parametrize(
    "criteria", [None, ["sharpness:reverse", "path:reverse"], ["under:photo-1", "oldest", "bytes"]]
)
def test_spark_keeps_what_the_kernel_keeps(spark, criteria):
    policy = parse_policy() if criteria is None else parse_policy(criteria)
    images = [r | {"pixel_hash": "p"} for r in random_collection(3)[0] if r["status"] == "ok"]
    live = [r for r in images if r["removed_at"] is None]
    copies = represent_copies(to_frame(spark, IMAGES, live), policy)
    table = pa.Table.from_pylist(live, IMAGES.schema)
    best = table["image_id"][keep_order(table, policy)[0]].as_py()
    assert {row.representative for row in copies.collect()} == {best}


def test_saturated_lists_are_found(spark):
    lists = {1: [(2, 0.95), (3, 0.9)], 2: [(1, 0.95), (3, 0.5)], 3: []}
    found = find_saturated(lists_frame(spark, lists), threshold=0.9).collect()
    assert [row.src for row in found] == [1]
