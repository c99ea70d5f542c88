"""Copies by their pixels, from files to groups: relations, groups, a collection that grows."""

import cv2
import numpy as np
import pytest

from resight.config import SettingError
from resight.jobs.build_graph import GraphConfig
from resight.jobs.build_graph import main as build_graph
from resight.jobs.extract_features import ExtractConfig
from resight.jobs.extract_features import main as describe
from resight.jobs.find_duplicates import DuplicatesConfig
from resight.jobs.find_duplicates import main as find_duplicates
from resight.jobs.hash_images import HashConfig
from resight.jobs.hash_images import main as hash_images
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
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
CONF = DuplicatesConfig(candidate_similarity=-1.0, max_side=320)
FAMILY = {"scene", "again", "small", "mirrored", "cropped"}


def save_photo(folder, name, pixels):
    assert cv2.imwrite(str(folder / f"{name}.png"), np.ascontiguousarray(pixels[:, :, ::-1]))


def run_until_graph(store, folder):
    ingest(store, IngestConfig(source=str(folder)))
    hash_images(store, HashConfig(kinds=("phash",)))
    describe(store, ExtractConfig(extractor="colour"))
    build_graph(store, GraphConfig(k=9))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name, pixels in PHOTOS.items():
        save_photo(folder, name, pixels)
    return folder


@pytest.fixture(scope="module")
def store(spark, folder, tmp_path_factory):
    store = TableStore(Workspace.open(str(tmp_path_factory.mktemp("w")), "parquet", create=True), spark)
    run_until_graph(store, folder)
    return store


def read_tables(store):
    listed = store.reader.read(IMAGES, columns=["image_id", "uri"]).to_pylist()
    names = {row["image_id"]: row["uri"].removesuffix(".png") for row in listed}
    pairs = {
        (names[r["image_a"]], names[r["image_b"]]): r for r in store.reader.read(DUPLICATE_PAIRS).to_pylist()
    }
    groups = {names[r["image_id"]]: r for r in store.reader.read(DUPLICATE_GROUPS).to_pylist()}
    return pairs, groups


def relation_of(pairs, a, b):
    """What a is to b; a copy of the same bytes is a representative of either."""
    forth = [r["relation"] for (x, y), r in pairs.items() if (x, y) == (a, b)]
    turned = {"crop": "contains", "contains": "crop"}
    back = [turned.get(r["relation"], r["relation"]) for (x, y), r in pairs.items() if (x, y) == (b, a)]
    return (forth + back or [None])[0]


def test_pixels_name_the_pairs_and_groups_and_only_new_ones_are_compared_again(store, folder):
    outcome = find_duplicates(store, CONF)
    pairs, groups = read_tables(store)
    whole = next(name for name in ("scene", "again") if relation_of(pairs, name, "small"))
    expected = {"small": "near", "mirrored": "mirrored", "cropped": "contains", "pasted": "composite"}
    assert {name: relation_of(pairs, whole, name) for name in expected} == expected
    assert relation_of(pairs, "scene", "again") == "exact"
    assert relation_of(pairs, "pasted", "other") == "composite"
    assert not any("stranger" in pair for pair in pairs)
    assert set(groups) == FAMILY
    assert [row["keep"] for row in groups.values()].count(True) == 1
    assert all(row["cut"] for row in pairs.values() if row["relation"] == "composite")
    assert outcome.notes["compared"] == outcome.notes["candidates"] == 21  # of seven pictures
    assert find_duplicates(store, CONF).state == "unchanged"

    before = {(r["image_a"], r["image_b"]): r for r in store.reader.read(DUPLICATE_CANDIDATES).to_pylist()}
    save_photo(folder, "turned", np.rot90(SCENE, -1))
    run_until_graph(store, folder)
    outcome = find_duplicates(store, CONF)
    pairs, groups = read_tables(store)
    assert relation_of(pairs, whole, "turned") == "turned"
    assert set(groups) == FAMILY | {"turned"}
    assert outcome.notes["compared"] == 7
    after = {(r["image_a"], r["image_b"]): r for r in store.reader.read(DUPLICATE_CANDIDATES).to_pylist()}
    assert len(after) == 28
    assert {pair: after[pair] for pair in before} == before


def test_quick_counts_the_groups_at_further_thresholds(store):
    conf = DuplicatesConfig(effort="quick", threshold=0.999, also_thresholds=(0.01,))
    outcome = find_duplicates(store, conf)
    counted = outcome.notes["thresholds"]["0.01"]
    assert counted["groups"] == 1
    assert counted["largest"] >= len(FAMILY)
    assert not store.reader.read(DUPLICATE_PAIRS)["transform"].drop_null()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"effort": "quick", "strict": True}, "strict: only with --effort"),
        ({"threshold": 0.9}, "threshold: only with --effort quick"),
        ({"keep": ["split:train"]}, "needs --splits"),
        ({"also_thresholds": [0.0]}, "similarities from 0 to 1"),
        ({"also_thresholds": [0.5]}, "only with --effort quick"),
    ],
)
def test_settings_that_do_not_belong_together_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        DuplicatesConfig.from_mapping(settings)


def test_thorough_asks_for_a_ranking_of_the_collection(store):
    with pytest.raises(SettingError, match=r"resight search --method asmk --queries-from collection"):
        find_duplicates(store, DuplicatesConfig(effort="thorough"))
