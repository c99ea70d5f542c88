"""Objects of planted photos, through the jobs."""

import cv2
import numpy as np
import pytest

from resight.discovery.settings import DiscoverySettings, network_settings
from resight.features.settings import ExtractSettings
from resight.job import Options
from resight.jobs import discover_objects
from resight.jobs.discover_objects import DiscoverConfig
from resight.jobs.discover_objects import main as discover_job
from resight.jobs.extract_features import ExtractConfig
from resight.jobs.extract_features import main as extract
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.jobs.search import SearchConfig
from resight.jobs.search import main as search
from resight.search.describe import find_recipe
from resight.store import TableStore
from resight.tables import (
    GLOBAL_DESCRIPTORS,
    IMAGES,
    OBJECT_INSTANCES,
    OBJECTS,
    QUERIES,
    RESULTS,
    SALIENCY_MAPS,
)
from resight.workspace import Workspace
from tests.discovery.planted import SIDE, overlap, plant_scenes
from tests.discovery.reference import discover

KERNEL = {"longer_side": 256, "query_neighbors": 12}
BLOCKS = {"chunk_size": 5, "block_rows": 7, "block_nodes": 3}
CONF = DiscoverConfig(represent=True, dtype="float32", k=12, similarity=0.4, **KERNEL, **BLOCKS)
LOSS = Options(accept_loss=True)


@pytest.fixture(scope="module")
def scenes():
    return plant_scenes(np.random.default_rng(0), n_things=2, views=4, n_empty=3)


@pytest.fixture(scope="module")
def photos(scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i, scene in enumerate(scenes):
        cv2.imwrite(str(folder / f"{i:02d}.png"), scene.pixels[:, :, ::-1])
    copied = next(i for i, scene in enumerate(scenes) if scene.thing == 1)
    (folder / f"{copied:02d}-copy.png").write_bytes((folder / f"{copied:02d}.png").read_bytes())
    cut = (folder / "00.png").read_bytes()
    (folder / "broken.png").write_bytes(cut[: len(cut) // 2])
    return folder


@pytest.fixture(scope="module")
def store(spark, photos, tmp_path_factory):
    store = TableStore(Workspace.open(str(tmp_path_factory.mktemp("w")), "parquet", create=True), spark)
    ingest(store, IngestConfig(source=str(photos)), LOSS)
    extract(store, ExtractConfig(pooling="gem", longer_side=64), Options(name="plain", accept_loss=True))
    with pytest.MonkeyPatch.context() as patch:  # ended when the boxes of all images are known
        patch.setattr(discover_objects, "find_objects", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            discover_job(store, CONF, LOSS)
    return store


@pytest.fixture(scope="module")
def outcome(store):
    return discover_job(store, CONF, LOSS)


def read(store, table, build=""):
    uris = {row["image_id"]: row["uri"] for row in store.reader.read(IMAGES).to_pylist()}
    rows = store.reader.read(table, build).to_pylist()
    return [row | {"uri": uris[row["image_id"]]} if "image_id" in row else row for row in rows]


def box_of(row):
    return tuple(row[name] for name in ("y0", "x0", "y1", "x1"))


def test_an_interrupted_run_goes_on_and_a_finished_one_has_nothing_to_do(store, outcome):
    assert set(outcome.run.notes["chunks"]) == {"skipped"}
    assert set(outcome.run.notes["object_chunks"]) == {"computed"}
    assert discover_job(store, CONF, LOSS).state == "unchanged"


def test_every_planted_thing_is_an_object_and_its_boxes_lie_on_it(store, outcome, scenes):
    rows = [row for row in read(store, OBJECT_INSTANCES) if "copy" not in row["uri"]]
    shown = {}
    for row in rows:
        shown.setdefault(row["object_id"], []).append((scenes[int(row["uri"][:2])], row))
    found = {}
    for pairs in shown.values():
        things = [scene.thing for scene, _ in pairs]
        thing = max(set(things), key=things.count)
        assert things.count(thing) >= 0.75 * len(things)
        for scene, row in pairs:
            if scene.thing == thing >= 0:
                key = scene.box
                found[key] = max(found.get(key, 0), overlap(scene.box, box_of(row)))
    planted = [scene.box for scene in scenes if scene.thing >= 0]
    assert sum(box in found for box in planted) >= 0.75 * len(planted)
    assert np.mean(list(found.values())) > 0.4


def test_the_job_finds_what_the_kernels_find(store, outcome, scenes, photos):
    contents = [(photos / f"{i:02d}.png").read_bytes() for i in range(len(scenes))]
    network = network_settings(ExtractSettings(pooling="gem"), KERNEL["longer_side"])
    local = discover(contents, network, DiscoverySettings(**KERNEL), k=12, similarity=0.4)
    maps = {row["uri"]: row for row in read(store, SALIENCY_MAPS)}
    for i, found in enumerate(local.found):
        row = maps[f"{i:02d}.png"]
        S = np.frombuffer(row["objects"], np.float32).reshape(row["height"], row["width"])
        np.testing.assert_allclose(S, found.objects, rtol=2e-2, atol=1e-3 * found.objects.max())
        assert row["n_regions"] == len(found.boxes)
    groups = [local.image[local.top == top] for top in np.unique(local.top)]
    expected = sorted(sorted(images.tolist()) for images in groups if len(np.unique(images)) >= 3)
    rows = [row for row in read(store, OBJECT_INSTANCES) if "copy" not in row["uri"]]
    ids = {row["object_id"] for row in rows}
    named = [sorted(int(row["uri"][:2]) for row in rows if row["object_id"] == one) for one in ids]
    assert sorted(named) == expected


def test_objects_count_their_images_and_boxes_lie_inside_them(store, outcome):
    objects = {row["object_id"]: row for row in read(store, OBJECTS)}
    rows = read(store, OBJECT_INSTANCES)
    assert set(objects) == {row["object_id"] for row in rows}
    for object_id, one in objects.items():
        own = [row for row in rows if row["object_id"] == object_id]
        images = {row["image_id"] for row in own}
        assert (one["n_images"], one["n_instances"]) == (len(images), len(own))
        best = [max(row["score"] for row in own if row["image_id"] == image) for image in images]
        assert one["score"] == pytest.approx(sum(best), rel=1e-5)
    for y0, x0, y1, x1 in map(box_of, rows):
        assert 0 <= y0 < y1 <= SIDE
        assert 0 <= x0 < x1 <= SIDE
    assert outcome.notes["objects"] == len(objects)


def test_copies_share_their_objects_and_a_broken_image_has_a_status(store, outcome):
    rows = read(store, OBJECT_INSTANCES)
    copy = next(row["uri"] for row in read(store, SALIENCY_MAPS) if "copy" in row["uri"])
    first = copy.replace("-copy", "")
    shown = [{(row["object_id"], box_of(row)) for row in rows if row["uri"] == uri} for uri in (copy, first)]
    assert shown[0] == shown[1]
    assert len(shown[0])
    assert outcome.run.outputs["saliency_maps"].statuses["ok"] == 12


def test_the_images_described_by_their_objects_are_searched(store, outcome, photos, scenes):
    X = [np.frombuffer(row["vector"], np.float32) for row in read(store, GLOBAL_DESCRIPTORS, "objects")]
    np.testing.assert_allclose([np.linalg.norm(x) for x in X], 1, rtol=1e-5)
    asked = search(store, SearchConfig(queries=str(photos / "0[0-5].png"), descriptors="objects", depth=3))
    names = {row["query_id"]: row["uri"] for row in store.reader.read(QUERIES, asked.build_id).to_pylist()}
    results = [row for row in read(store, RESULTS, asked.build_id) if row["rank"] == 0]
    assert len(results) == len(names) == 6
    recipe = find_recipe(store.reader, store.workspace.builds()[outcome.build_id])
    assert (recipe.settings.pooling, recipe.settings.sizes, len(recipe.whitening)) == ("gem", (256,), 1)
    things = [scenes[int(row["uri"][:2])].thing for row in results]
    wanted = [scenes[int(names[row["query_id"]][:2])].thing for row in results]
    assert sum(a == b for a, b in zip(things, wanted, strict=True) if b >= 0) >= 0.6 * sum(
        b >= 0 for b in wanted
    )
