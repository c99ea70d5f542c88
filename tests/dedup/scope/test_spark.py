"""Which images are looked at: filters, and deliveries by source or by condition."""

import pytest

from resight.config import SettingError
from resight.dedup.keep import parse_policy
from resight.dedup.scope.spark import keep_new, name_sources, scope_images
from resight.dedup.spark import find_pairs, represent_copies
from resight.tables import IMAGES, SOURCES
from tests.dedup.planted import TIME, image, lists_frame, random_collection, to_frame

SET = [
    *(image(i, source_id="old", format="jpeg", extra=[("day", "1")]) for i in (1, 2)),
    image(3, source_id="old", format="png", extra=[("day", "2")]),
    *(image(i, source_id="new", format="jpeg", extra=[("day", "2")]) for i in (4, 5)),
    image(6, source_id="third", format="png", removed_at=TIME),
]
PLACES = [("old", "/data/old"), ("new", "/data/new=2"), ("third", "s3a://bucket/third")]


@pytest.fixture(scope="module")
def names(spark):
    rows = [{"source_id": name, "root": root, "kind": "folder", "path": root} for name, root in PLACES]
    return name_sources(to_frame(spark, SOURCES, rows))


@pytest.mark.parametrize(
    ("given", "new", "old"),
    [
        ({}, {1, 2, 3, 4, 5, 6}, set()),
        ({"filter": ["format=jpeg", "day=2"]}, {4, 5}, set()),
        ({"new": ["new"]}, {4, 5}, {1, 2, 3, 6}),
        ({"new": ["/data/new=2/"], "against": ["/data/old", "s3a://bucket/third/"]}, {4, 5}, {1, 2, 3, 6}),
        ({"new": ["new"], "against": ["old", "format=png"]}, {4, 5}, {3}),
        ({"new": ["day=2"], "filter": ["format=jpeg"]}, {4, 5}, {1, 2}),
        ({"new": ["day=2", "old"], "against": ["day=1"]}, {3}, {1, 2}),
    ],
)
def test_the_images_looked_at_and_the_new_ones_of_them(spark, names, given, new, old):
    options = dict.fromkeys(("filter", "new", "against"), ()) | given
    rows = scope_images(to_frame(spark, IMAGES, SET), names, **options).collect()
    assert {row.image_id for row in rows if row.is_new} == new
    assert {row.image_id for row in rows if not row.is_new} == old


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"new": ["elsewhere"]}, r"--new: elsewhere is no source and no column=value; sources: new \(/data"),
        ({"new": ["new"], "against": ["x"]}, r"--against: x is no source"),
        ({"new": ["third"]}, r"--new: no image of the collection is one of third"),
    ],
)
def test_a_word_that_names_nothing_is_refused(spark, names, given, message):
    options = dict.fromkeys(("filter", "new", "against"), ()) | given
    with pytest.raises(SettingError, match=message):
        scope_images(to_frame(spark, IMAGES, SET), names, **options)


def test_pairs_of_a_delivery_are_those_of_all_with_a_member_in_it(spark):
    rows, ids, _ = random_collection(5, n=40)
    new = set(ids[::3].tolist())
    lists = {int(i): [(int(j), 0.95) for j in ids[ids != i][int(i) % 7 :: 9]] for i in ids}
    frame = to_frame(spark, IMAGES, rows)
    whole = represent_copies(frame, parse_policy())
    part = represent_copies(frame.withColumn("is_new", frame.image_id.isin(new)), parse_policy())
    listed = lists_frame(spark, lists)
    every = {tuple(row) for row in find_pairs(whole, listed, threshold=0.9).collect()}
    found = [tuple(row) for row in find_pairs(part, listed, threshold=0.9, is_partial=True).collect()]
    assert len(set(found)) == len(found)
    assert set(found) == {row for row in every if new & {*row[:2]}}
    assert 0 < len(found) < len(every)
    near = [row[:2] for row in every if row[2] == "near"]
    kept = keep_new(spark.createDataFrame(near, "image_a long, image_b long"), part).distinct().collect()
    assert {tuple(row) for row in kept} == {row[:2] for row in found if row[2] == "near"}
