"""Found copies and right pairs, against loops over a small planted table."""

import pyarrow as pa
import pytest

from resight.dedup.audit.plant import PLANTED
from resight.dedup.audit.spark import count_pairs, judge_pairs, match_copies, sample_pairs, sample_photos
from resight.store import spark_schema
from resight.tables import DUPLICATE_GROUPS, DUPLICATE_PAIRS, IMAGES, PLANTED_COPIES, SOURCES
from tests.dedup.planted import TIME, image, to_frame

# photos 1 to 5, 2 has the pixels of 1; copies 11 to 15; photo 4 is in a group with 3
COPIES = [  # copy, original, mixed with
    (11, 1, None),
    (12, 2, None),
    (13, 3, 4),
    (14, 4, None),
    (15, 5, None),
    (None, 5, None),
]
PAIRS = [
    (1, 11, "near", 0.9),
    (1, 12, "crop", 0.8),  # with the photo of the same pixels
    (4, 13, "composite", 0.7),  # with what it was mixed with: right, but not found with its original
    (3, 14, "near", 0.6),  # with a photo of the group of its original
    (5, 15, "same_scene", 0.99),  # not claimed to be a copy
    (2, 15, "near", 0.5),  # wrong
    (11, 12, "near", 0.95),  # two copies of one photo
    (3, 4, "near", 0.97),  # no copy is part of it
]


@pytest.fixture(scope="module")
def tables(spark):
    rows = [
        image(i, pixel_hash="pixels 1" if i == 2 else f"pixels {i}") for i in [1, 2, 3, 4, 5, *range(11, 16)]
    ]
    pairs = [dict(zip(("image_a", "image_b", "relation", "similarity"), pair, strict=True)) for pair in PAIRS]
    groups = [{"group_id": 3, "image_id": i, "keep": i == 3} for i in (3, 4)]
    clone_groups = groups + [{"group_id": 3, "image_id": i, "keep": False} for i in (13, 14)]
    planted = [
        {"image_id": o, "other_id": other, "transformation": f"edit {n}", "strength": 1.0, "status": "ok"}
        | {"copy_id": c}
        for n, (c, o, other) in enumerate(COPIES)
    ]
    schema = PLANTED.append(pa.field("copy_id", pa.int64()))
    frames = {"images": to_frame(spark, IMAGES, rows), "pairs": to_frame(spark, DUPLICATE_PAIRS, pairs)}
    frames |= {"groups": to_frame(spark, DUPLICATE_GROUPS, groups)}
    frames |= {"clone_groups": to_frame(spark, DUPLICATE_GROUPS, clone_groups)}
    return frames | {"planted": spark.createDataFrame(pa.Table.from_pylist(planted, schema))}


def test_a_copy_is_found_by_a_pair_with_its_pixels_or_by_its_group(tables):
    names = ("planted", "images", "pairs", "clone_groups")
    found = match_copies(*(tables[name] for name in names))
    assert found.schema.names == spark_schema(PLANTED_COPIES).names
    rows = {row["transformation"]: row for row in found.collect()}
    assert len(rows) == len(COPIES)
    assert [rows[f"edit {n}"]["found"] for n in range(6)] == [True, True, True, True, False, False]
    relations = [rows[f"edit {n}"]["relation"] for n in range(6)]
    assert relations == ["near", "crop", None, None, None, None]
    assert rows["edit 1"]["similarity"] == pytest.approx(0.8)


def test_pairs_of_copies_are_right_where_both_show_one_photo(tables):
    counted = judge_pairs(*(tables[name] for name in ("planted", "images", "pairs", "groups")))
    found = {row["relation"]: (row["n"], row["n_right"]) for row in counted.collect()}
    assert found == {"near": (4, 3), "crop": (1, 1), "composite": (1, 1)}


def test_judged_pairs_are_counted_by_relation(tables):
    judged = {"image_a": [1, 3, 7], "image_b": [12, 4, 8], "right": [True, False, True]}
    counted, sizes, n_known = count_pairs(tables["pairs"], pa.table(judged))
    assert counted == {"crop": (1, 1), "near": (1, 0)}
    assert sizes == {"near": 5, "crop": 1, "composite": 1}
    assert n_known == 2


def test_pairs_to_judge_are_some_of_each_relation(spark):
    rows = [{"image_a": i, "image_b": i + 1, "relation": "near" if i % 10 else "crop"} for i in range(1, 400)]
    drawn = sample_pairs(to_frame(spark, DUPLICATE_PAIRS, rows), n=50, seed=1).collect()
    relations = [row["relation"] for row in drawn]
    assert relations.count("crop") == 39
    assert 25 <= relations.count("near") <= 80


def test_a_sample_has_no_photo_twice_and_none_without_pixels(spark):
    rows = [image(i, content_hash=f"bytes {i // 2}", source_id="s") for i in range(20)]
    rows += [image(30, removed_at=TIME, source_id="s"), image(31, status="undecodable", source_id="s")]
    rows += [image(32, pixel_hash=None, source_id="s")]
    frame = to_frame(spark, IMAGES, rows)
    sources = to_frame(spark, SOURCES, [{"source_id": "s", "root": "/photos", "kind": "folder"}])
    drawn = sample_photos(frame, sources, sample=6, seed=2)
    assert len(drawn) == 6
    assert len({i // 2 for i in drawn["image_id"].to_pylist()}) == 6
    assert max(drawn["image_id"].to_pylist()) < 20
    assert len(sample_photos(frame, sources, sample=99, seed=2)) == 10
