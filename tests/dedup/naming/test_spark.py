"""Names of the pairs that were compared: composites, scenes, splits."""

import pytest

from resight.dedup.keep import parse_policy
from resight.dedup.naming.spark import attach_splits, complete_pairs, mark_splits, name_pairs
from resight.dedup.spark import represent_copies
from resight.store import spark_schema
from resight.tables import DUPLICATE_CANDIDATES, DUPLICATE_PAIRS, IMAGES
from tests.dedup.planted import image, to_frame

PASTED, SMALL, GROUND, COPY = 1, 2, 3, 4


def related(a, b, relation, overlaps, share, **facts):
    row = {"image_a": a, "image_b": b, "relation": relation, "status": "ok", "agreement": 0.9}
    shares = {"overlap_a": overlaps[0], "overlap_b": overlaps[1], "share": share}
    return dict.fromkeys(DUPLICATE_CANDIDATES.schema.names) | row | shares | facts


RELATED = [
    related(PASTED, SMALL, "composite", (0.2, 1.0), 1.0),
    related(PASTED, GROUND, "near", (1.0, 1.0), 0.8),
    related(PASTED, 7, "crop", (0.1, 1.0), 1.0),  # a crop of the small one: no seam tells
    related(PASTED, 8, "near", (1.0, 1.0), 1.0),
    related(GROUND, COPY, "near", (1.0, 1.0), 0.8),
    related(SMALL, 5, "same_scene", (1.0, 0.6), 0.3, agreement=None),
    related(SMALL, 6, None, (1.0, 0.6), 0.3),
    related(COPY, 6, None, (0, 0), 0, status="undecodable"),
]
IMAGES_OF = [image(i, extra={"part": "train" if i % 2 else "test"}, width=100 * i) for i in range(1, 9)]


@pytest.fixture(scope="module")
def copies(spark):
    images = to_frame(spark, IMAGES, IMAGES_OF)
    return represent_copies(images, parse_policy()).localCheckpoint()


def names(pairs):
    return {(r.image_a, r.image_b): r.relation for r in pairs.collect()}


def test_what_a_composite_shows_of_a_third_photo_is_composite_too(spark, copies):
    frame = to_frame(spark, DUPLICATE_CANDIDATES, RELATED)
    found = name_pairs(frame, copies, same_scene=False)
    composites = dict.fromkeys([(1, 2), (1, 3), (1, 7)], "composite")
    expected = composites | {(1, 8): "near", (3, 4): "near"}
    assert names(found) == expected
    assert names(name_pairs(frame, copies, same_scene=True)) == expected | {(2, 5): "same_scene"}


def test_pairs_say_in_which_splits_they_lie_and_have_every_column(spark, copies):
    images = attach_splits(to_frame(spark, IMAGES, IMAGES_OF), "part")
    frame = to_frame(spark, DUPLICATE_CANDIDATES, RELATED)
    pairs = complete_pairs(mark_splits(name_pairs(frame, copies, same_scene=False), images))
    assert pairs.schema.fieldNames() == spark_schema(DUPLICATE_PAIRS).fieldNames()
    rows = {(r.image_a, r.image_b): (r.split_a, r.split_b) for r in pairs.where("image_b < 5").collect()}
    assert rows == {(1, 2): ("train", "test"), (1, 3): ("train", "train"), (3, 4): ("train", "test")}
    ratio = pairs.where("image_a = 3").first().size_ratio
    assert ratio == pytest.approx(4 / 3)


def test_an_image_of_the_wanted_split_is_kept(spark):
    rows = [image(i, pixel_hash="p", width=100 * i, extra={"part": part}) for i, part in ((1, "a"), (2, "b"))]
    frame = to_frame(spark, IMAGES, [*rows, image(3, pixel_hash="p", width=999)])
    policy = parse_policy(["split:a", "resolution"])
    copies = represent_copies(attach_splits(frame, "part"), policy)
    assert {r.representative for r in copies.collect()} == {1}
