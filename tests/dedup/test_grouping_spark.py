import numpy as np
import pytest

from resight.dedup.grouping.spark import group_pairs
from resight.dedup.groups import GroupRule, cosine_measure
from resight.dedup.keep import explain_kept, parse_policy
from resight.dedup.naming.spark import complete_pairs
from resight.dedup.spark import find_pairs, list_removable, represent_copies
from resight.store import spark_schema
from resight.tables import DUPLICATE_GROUPS, DUPLICATE_PAIRS, IMAGES
from tests.dedup import oracle
from tests.dedup.planted import (
    components_frame,
    image,
    lists_frame,
    neighbour_lists,
    random_collection,
    to_frame,
    vectors_frame,
)

IMAGES_PLANTED = [
    *[image(1, width=900), image(2), image(3)],  # a chain whose ends are unlike
    *[image(11, width=900), image(12), image(13)],  # the same, without vectors
    *[image(21), image(22), image(23), image(24)],  # a chain of four
    image(31, width=900),
    *(image(i, content_hash="b", pixel_hash="p") for i in range(32, 60)),
    *[image(61, n_bytes=5), image(62, n_bytes=7)],
    *[image(71, width=900), image(72, n_bytes=9), image(73, width=900, n_bytes=9999)],
    *[image(81), image(82), image(83)],
    *(image(i, width=900, content_hash="c", pixel_hash="q") for i in (91, 92)),
    *[image(93, width=900, pixel_hash="q"), image(94)],
]
LISTS = {
    **{1: [(2, 0.95)], 2: [(3, 0.95)], 11: [(12, 0.95)], 12: [(13, 0.95)]},
    **{21: [(22, 0.95)], 22: [(23, 0.95)], 23: [(24, 0.95)]},
    **{32: [(31, 0.95)], 61: [(62, 0.95)], 91: [(94, 0.95)]},
    **{71: [(72, 0.95), (73, 0.95)], 72: [(73, 0.95)]},
}
VECTORS = np.arange(1, 4), np.float32([[1, 0], [0.95, 0.3], [3, 4]])
VERIFIED = [(81, 82, "composite", 0.99), (82, 83, "crop", 0.95)]
SHORT = "image_a long, image_b long, relation string, similarity float"


def group(spark, images, lists, vectors, *, limit=0.9, n_blocks=3, parts=3):
    rule = GroupRule(min_similarity=limit, n_blocks=n_blocks)
    copies = represent_copies(to_frame(spark, IMAGES, images, parts), rule.policy).localCheckpoint()
    pairs = find_pairs(copies, lists_frame(spark, lists, parts), threshold=0.9)
    verified = spark.createDataFrame(VERIFIED if images is IMAGES_PLANTED else [], SHORT)
    pairs = pairs.unionByName(verified, allowMissingColumns=True).localCheckpoint()
    ends = [(r.image_a, r.image_b) for r in pairs.select("image_a", "image_b").collect()]
    frame = vectors_frame(spark, *vectors, parts)
    return group_pairs(pairs, copies, components_frame(spark, ends), frame, rule=rule)


@pytest.fixture(scope="module")
def frames(spark):
    """The planted pairs and groups, as frames."""
    pairs, groups = group(spark, IMAGES_PLANTED, LISTS, VECTORS)
    return pairs.localCheckpoint(), groups.localCheckpoint()


@pytest.fixture(scope="module")
def pairs(frames):
    """(image_a, image_b) -> row."""
    return {(row.image_a, row.image_b): row for row in frames[0].collect()}


@pytest.fixture(scope="module")
def groups(frames):
    """image_id -> row."""
    return {row.image_id: row for row in frames[1].collect()}


def groups_of(rows, low=0, high=2**63):
    """Map kept image -> members, of the groups called by ids of a range."""
    kept = {}
    for row in (row for row in rows if low <= row.group_id <= high):
        kept.setdefault(row.group_id, []).append(row)
    for members in kept.values():
        assert sum(row.keep for row in members) == 1
        assert min(row.image_id for row in members) == members[0].group_id
    return {
        next(row.image_id for row in members if row.keep): {row.image_id for row in members}
        for members in kept.values()
    }


def expected_groups(images, ids, X, lists, limit):
    by_id = {i["image_id"]: i for i in images}
    vector = {i: X[n] for n, i in enumerate(ids.tolist())}
    representative = oracle.find_classes(images)
    pairs = oracle.find_pairs(images, lists, 0.9)
    reps = sorted(set(representative.values()), key=lambda i: oracle.keep_key(by_id[i]))
    place = {image_id: n for n, image_id in enumerate(reps)}
    near = {p for p, (relation, _) in pairs.items() if relation == "near"}
    links = {tuple(sorted((place[a], place[b]))) for a, b in near}

    def similarity(i, kept):
        rows = np.float16([vector[reps[kept]], vector[reps[i]]])
        return cosine_measure(rows)(0, np.array([1]))[0]

    kept = oracle.split(range(len(reps)), links, similarity, np.float32(limit))
    groups = {}
    for image_id, rep in representative.items():
        groups.setdefault(reps[kept[place[rep]]], set()).add(image_id)
    return {k: members for k, members in groups.items() if len(members) > 1}


@pytest.mark.parametrize(("n_blocks", "parts"), [(1, 1), (3, 5), (1000, 2)])
def test_groups_equal_the_slow_definition(spark, n_blocks, parts):
    images, ids, X = random_collection(11, n=80)
    lists = neighbour_lists(ids, X, k=12)
    _, groups = group(spark, images, lists, (ids, X), limit=0.93, n_blocks=n_blocks, parts=parts)
    assert groups_of(groups.collect()) == expected_groups(images, ids, X, lists, 0.93)


def test_a_chain_is_cut_and_the_cut_is_recorded(pairs, groups):
    assert groups_of(groups.values(), 1, 9) == {1: {1, 2}}
    assert (pairs[1, 2].group_id, pairs[1, 2].cut) == (1, None)
    assert pairs[2, 3].group_id is None
    assert pairs[2, 3].cut == "image 3 reaches 0.6000 of 0.9000 to kept image 1"


def test_what_cannot_be_measured_is_cut(pairs, groups):
    assert groups_of(groups.values(), 11, 19) == {11: {11, 12}}
    assert pairs[12, 13].cut == "image 13 cannot be measured to kept image 11"


def test_what_was_cut_forms_its_own_group(pairs, groups):
    assert groups_of(groups.values(), 21, 29) == {21: {21, 22}, 23: {23, 24}}
    assert [pairs[p].cut is None for p in [(21, 22), (22, 23), (23, 24)]] == [True, False, True]


def test_copies_follow_their_representative(groups):
    assert groups_of(groups.values(), 31, 59) == {31: set(range(31, 60))}
    assert groups[31].similarity == 1
    assert {groups[i].similarity for i in range(32, 60)} == {np.float32(0.95)}


def test_reasons_are_in_words(groups):
    assert [groups[i].reason for i in (1, 2, 61, 62)] == [
        "highest resolution of 2",
        "larger: 900x480 over 640x480",
        "more bytes: 7 over 5",
        "most bytes of 2",
    ]


def test_the_kept_image_is_described_as_by_the_kernel(groups):
    assert groups[73].keep
    assert groups[73].reason == explain_kept([0, 1], 3, parse_policy())


def test_relations_that_join_nothing_link_without_a_group(pairs, groups):
    assert groups_of(groups.values(), 81, 89) == {82: {82, 83}}
    composite, crop = pairs[81, 82], pairs[82, 83]
    assert (composite.group_id, composite.cut) == (None, "joins no group: composite")
    assert (crop.group_id, crop.cut) == (82, None)


def test_every_pair_has_either_a_group_or_a_reason(pairs, groups):
    for (a, b), row in pairs.items():
        ids = [groups[i].group_id if i in groups else None for i in (a, b)]
        assert (row.group_id is None) != (row.cut is None)
        assert row.group_id == (ids[0] if ids[0] == ids[1] else None)


def test_the_list_names_all_but_the_kept_with_their_relation(spark, frames):
    listed = list_removable(frames[1], frames[0], to_frame(spark, IMAGES, IMAGES_PLANTED)).collect()
    rows = [r for r in listed if r.group_id == 91]
    assert [(r.uri, r.kept_uri, r.relation, r.n_bytes) for r in rows] == [
        ("photo-92.jpg", "photo-91.jpg", "exact", 1000),
        ("photo-93.jpg", "photo-91.jpg", "same_pixels", 1000),
        ("photo-94.jpg", "photo-91.jpg", "near", 1000),
    ]
    assert [(r.kept_uri, r.relation) for r in listed if r.image_id == 83] == [("photo-82.jpg", "contains")]
    assert len(listed) == frames[1].where("not keep").count()


def test_rows_have_the_columns_of_their_tables(frames):
    complete = complete_pairs(frames[0]), frames[1]
    for frame, table in zip(complete, (DUPLICATE_PAIRS, DUPLICATE_GROUPS), strict=True):
        stated = {field.name: field.dataType for field in spark_schema(table).fields}
        assert {field.name: field.dataType for field in frame.schema.fields} == stated


def test_a_collection_without_copies_has_no_rows(spark):
    empty = np.arange(0), np.zeros((0, 2), np.float32)
    pairs, groups = group(spark, [image(1), image(2)], {1: [(2, 0.5)]}, empty)
    assert not pairs.collect()
    assert not groups.collect()
