"""Copies by their pixels, from files to groups: relations, groups, a delivery against an archive."""

import cv2
import numpy as np
import pytest

from resight.config import SettingError
from resight.job import Options
from resight.jobs.build_graph import GraphConfig
from resight.jobs.build_graph import main as build_graph
from resight.jobs.extract_features import ExtractConfig
from resight.jobs.extract_features import main as describe
from resight.jobs.extract_local_features import ExtractLocalConfig
from resight.jobs.extract_local_features import main as extract
from resight.jobs.find_duplicates import DuplicatesConfig
from resight.jobs.find_duplicates import main as find_duplicates
from resight.jobs.hash_images import HashConfig
from resight.jobs.hash_images import main as hash_images
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.jobs.verify_pairs import VerifyConfig
from resight.jobs.verify_pairs import main as verify_pairs
from resight.store import TableStore
from resight.tables import DUPLICATE_CANDIDATES, DUPLICATE_GROUPS, DUPLICATE_PAIRS, IMAGES
from resight.workspace import Workspace
from tests.dedup.relating.copies import draw_photos, paste, save_jpeg
from tests.verification.scenes import draw_scene

SCENE, OTHER = draw_photos()
PHOTOS = {
    "scene": SCENE,
    "again": SCENE,
    "small": save_jpeg(SCENE[::2, ::2], 60),
    "mirrored": SCENE[:, ::-1],
    "cropped": SCENE[40:200, 60:260],
    "pasted": paste(SCENE, OTHER),
    "other": OTHER,
    "stranger": draw_scene(9, width=320, height=240),
}
DELIVERED = {"turned": np.rot90(SCENE, -1), "flipped": OTHER[:, ::-1]}  # of codes that no other photo has
WIDE = {"candidate_bits": 0.49, "max_side": 320}  # by codes, most photos are candidates of each other
CONF = DuplicatesConfig(**WIDE)
FAMILY = {"scene", "again", "small", "mirrored", "cropped"}


def save_photos(folder, photos):
    folder.mkdir()
    for name, pixels in photos.items():
        assert cv2.imwrite(str(folder / f"{name}.png"), np.ascontiguousarray(pixels[:, :, ::-1]))
    return str(folder)


def take_in(store, source, name):
    """Ingest a source and hash its photos: neither descriptors nor a graph."""
    ingest(store, IngestConfig(source=source, source_id=name))
    hash_images(store, HashConfig(kinds=("phash", "dhash")))


@pytest.fixture(scope="module")
def store(spark, tmp_path_factory):
    root = tmp_path_factory.mktemp("w")
    store = TableStore(Workspace.open(str(root / "workspace"), "parquet", create=True), spark)
    take_in(store, save_photos(root / "photos", PHOTOS), "archive")
    return store


def read_rows(store, table):
    """Pairs of names and what the table says of them."""
    listed = store.reader.read(IMAGES, columns=["image_id", "uri"]).to_pylist()
    names = {row["image_id"]: row["uri"].removesuffix(".png") for row in listed}
    rows = store.reader.read(table).to_pylist()
    if table is DUPLICATE_GROUPS:
        return {names[row["image_id"]]: row for row in rows}
    return {(names[row["image_a"]], names[row["image_b"]]): row for row in rows}


def relation_of(pairs, a, b):
    """What a is to b; a copy of the same bytes is a representative of either."""
    forth = [r["relation"] for (x, y), r in pairs.items() if (x, y) == (a, b)]
    turned = {"crop": "contains", "contains": "crop"}
    back = [turned.get(r["relation"], r["relation"]) for (x, y), r in pairs.items() if (x, y) == (b, a)]
    return (forth + back or [None])[0]


def test_pixels_name_the_pairs_and_groups_without_a_graph(store):
    outcome = find_duplicates(store, CONF)
    pairs, groups = (read_rows(store, table) for table in (DUPLICATE_PAIRS, DUPLICATE_GROUPS))
    whole = next(name for name in ("scene", "again") if relation_of(pairs, name, "small"))
    expected = {"small": "near", "mirrored": "mirrored", "cropped": "contains", "pasted": "composite"}
    assert {name: relation_of(pairs, whole, name) for name in expected} == expected
    assert relation_of(pairs, "scene", "again") == "exact"
    assert relation_of(pairs, "pasted", "other") == "composite"
    assert not any("stranger" in pair for pair in pairs)
    assert set(groups) == FAMILY
    assert [row["keep"] for row in groups.values()].count(True) == 1
    assert all(row["cut"] for row in pairs.values() if row["relation"] == "composite")
    n_candidates = len(read_rows(store, DUPLICATE_CANDIDATES))
    assert outcome.notes["compared"] == outcome.notes["candidates"] == n_candidates
    assert 15 < n_candidates <= 21  # of seven pictures
    assert find_duplicates(store, CONF).state == "unchanged"


def test_a_delivery_is_compared_with_all_and_the_archive_not_again(store, tmp_path):
    before = read_rows(store, DUPLICATE_CANDIDATES)
    take_in(store, save_photos(tmp_path / "delivery", DELIVERED), "delivery")
    whole = find_duplicates(store, CONF)
    after, pairs = read_rows(store, DUPLICATE_CANDIDATES), read_rows(store, DUPLICATE_PAIRS)
    assert set(read_rows(store, DUPLICATE_GROUPS)) == FAMILY | {"turned", "other", "flipped"}
    assert whole.notes["compared"] == len(set(after) - set(before)) > 8
    assert {pair: after[pair] for pair in listed(before)} == listed(before)

    conf = {"new": ("delivery",), "against": ("source_id=archive",), "also_thresholds": (1.0,)}
    part = find_duplicates(store, DuplicatesConfig(**WIDE, **conf, filter=("format=png",)))
    candidates, found = read_rows(store, DUPLICATE_CANDIDATES), read_rows(store, DUPLICATE_PAIRS)
    assert all(DELIVERED.keys() & {*pair} for pair in [*candidates, *found])
    expected = {pair for pair in listed(after) if DELIVERED.keys() & {*pair}}
    assert set(listed(candidates)) == expected
    assert part.notes["compared"] == len(candidates)
    assert evidence(found, expected) == evidence(pairs, expected)
    assert len(evidence(found, expected)) > 4
    assert part.notes["codes_compared"] < whole.notes["codes_compared"] / 2
    assert part.notes["thresholds"]["1"]["pairs"] < len(found)
    assert part.notes["thresholds"]["1"]["largest"] <= 2
    assert set(read_rows(store, DUPLICATE_GROUPS)) > {"turned", "other", "flipped"}


def listed(candidates):
    """Those that codes gave; others are compared as the best photo of a group is."""
    return {pair: row for pair, row in candidates.items() if row["found_by"] == "codes"}


def evidence(pairs, chosen):
    """What chosen pairs say, apart from their groups."""
    dropped = {"build_id", "group_id", "cut"}
    return {
        pair: {k: v for k, v in pairs[pair].items() if k not in dropped} for pair in chosen & pairs.keys()
    }


def test_quick_counts_the_groups_at_further_thresholds(store):
    describe(store, ExtractConfig(extractor="colour"))
    build_graph(store, GraphConfig(k=9))
    conf = DuplicatesConfig(effort="quick", threshold=0.999, also_thresholds=(0.01,))
    outcome = find_duplicates(store, conf)
    counted = outcome.notes["thresholds"]["0.01"]
    assert counted["groups"] == 1
    assert counted["largest"] >= len(FAMILY)
    assert not store.reader.read(DUPLICATE_PAIRS)["transform"].drop_null()


def test_a_background_is_left_out_and_lowers_what_resembles_it(store):
    pairs = {}
    for weight in (0.0, 1.0):
        conf = {"background": ("delivery",), "background_top": 1, "background_weight": weight}
        settings = DuplicatesConfig(candidates=("descriptors",), background_margin=0.5, max_side=320, **conf)
        assert find_duplicates(store, settings).notes["background"] == len(DELIVERED)
        found = read_rows(store, DUPLICATE_CANDIDATES)
        pairs[weight] = {pair for pair, row in found.items() if row["found_by"] == "descriptors"}
    assert not {name for found in pairs.values() for pair in found for name in pair} & DELIVERED.keys()
    assert len(pairs[0.0]) > 5  # colours of turned copies are those of the photo: the background takes all
    assert not pairs[1.0]


def test_pairs_that_geometry_verified_are_compared_as_well(store, tmp_path):
    extract(store, ExtractLocalConfig(max_keypoints=300, min_side=0))
    listed = tmp_path / "pairs.csv"
    listed.write_text("uri_a,uri_b\nscene.png,cropped.png\nscene.png,stranger.png\n")
    verify_pairs(store, VerifyConfig(candidates="file", pairs=str(listed)), Options(name="seen"))
    settings = {"candidates": ("codes",), "candidate_bits": 0.0, "max_side": 320}
    find_duplicates(store, DuplicatesConfig(**settings))
    without = read_rows(store, DUPLICATE_CANDIDATES)
    find_duplicates(store, DuplicatesConfig(**settings, verified="seen"))
    found = read_rows(store, DUPLICATE_CANDIDATES)
    (added,) = (pair for pair, row in found.items() if "verified" in row["found_by"].split("+"))
    assert added not in without
    assert "cropped" in added
    assert {"scene", "again"} & {*added}
    assert read_rows(store, DUPLICATE_PAIRS)[added]["relation"] in ("crop", "contains")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"effort": "quick", "strict": True}, "strict: only with --effort"),
        ({"effort": "quick", "verified": "x"}, "verified: only with --effort"),
        ({"threshold": 0.9}, "threshold: only with --effort quick"),
        ({"keep": ["split:train"]}, "needs --splits"),
        ({"also_thresholds": [0.0]}, "similarities from 0 to 1"),
        ({"also_thresholds": [0.5]}, "from --min-agreement up"),
        ({"against": ["x"]}, "against: only with --new"),
        ({"background": ["x"], "candidates": ["codes"]}, "background: only where descriptors"),
        ({"candidates": ["keypoints"]}, "keypoints only with --effort thorough"),
        ({"effort": "quick", "candidates": ["codes"]}, "candidates: only with --effort"),
        ({"filter": ["split"]}, "filter: 'split' is not of the form column=value"),
    ],
)
def test_settings_that_do_not_belong_together_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        DuplicatesConfig.from_mapping(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"effort": "thorough"}, r"resight search --method asmk --queries-from collection"),
        ({"candidates": ("descriptors",), "graph": "none"}, r"--graph: no build of 'neighbors'"),
        ({"new": ("nowhere",)}, r"--new: nowhere is no source and no column=value; sources: archive \("),
        ({"new": ("format=bmp",)}, r"--new: no image of the collection is one of format=bmp"),
        ({"background": ("nowhere",)}, r"--background: nowhere is no source and no column=value"),
    ],
)
def test_what_is_missing_is_named(store, settings, message):
    with pytest.raises(SettingError, match=message):
        find_duplicates(store, DuplicatesConfig(**settings))
