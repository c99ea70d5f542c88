"""What the reader answers is what the job `search` writes, on one workspace."""

import numpy as np
import pytest
from PIL import Image

import resight
from resight.job import Options
from resight.jobs.build_graph import GraphConfig
from resight.jobs.build_graph import main as build_graph
from resight.jobs.diffuse import main as diffuse
from resight.jobs.extract_features import ExtractConfig
from resight.jobs.extract_features import main as extract
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.jobs.search import SearchConfig
from resight.jobs.search import main as search
from resight.reader import open as open_tables
from resight.store import TableStore
from resight.tables import EXPLANATIONS, IMAGES, QUERIES, RESULTS
from resight.workspace import Workspace
from tests.pictures import save_collection, save_photo


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = save_collection(tmp_path_factory.mktemp("photos"))
    for name in ("china", "rocket", "coffee"):
        save_photo(name, folder / f"{name} small.png", side=120)
    (folder / "again.jpg").write_bytes((folder / "coffee.jpg").read_bytes())
    return folder


@pytest.fixture(scope="module")
def store(spark, photos, tmp_path_factory):
    store = TableStore(Workspace.open(str(tmp_path_factory.mktemp("w")), "delta", create=True), spark)
    ingest(store, IngestConfig(source=str(photos)))
    extract(store, ExtractConfig(regions=True, longer_side=96))
    build_graph(store, GraphConfig(k=4), Options(name="images"))
    build_graph(store, GraphConfig(of="regions", k=8), Options(name="regions"))
    diffuse(store)
    return store


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    folder = save_collection(tmp_path_factory.mktemp("asked"), ["flower", "rocket"])
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def check_equal(found, results, order):
    """Ids are equal, scores to 1e-6; ``order`` are the query_ids in the order of asking."""
    rows = results.sort_by([("query_id", "ascending"), ("rank", "ascending")]).to_pylist()
    expected = {}
    for row in rows:
        expected.setdefault(row["query_id"], []).append((row["image_id"], row["score"]))
    answers = {}
    for row in found.results.to_pylist():
        answers.setdefault(order[row["query"]], []).append((row["image_id"], row["score"]))
    assert {q: [i for i, _ in a] for q, a in answers.items()} == {
        q: [i for i, _ in a] for q, a in expected.items()
    }
    for query, answer in answers.items():
        np.testing.assert_allclose([s for _, s in answer], [s for _, s in expected[query]], atol=1e-6)


@pytest.mark.parametrize("method", ["diffusion", "offline_diffusion", "regional_diffusion"])
def test_images_of_the_collection_are_answered_as_by_the_job(store, method):
    filter, explain = ("format=jpeg", "format=gif"), 2 * (method == "diffusion")
    conf = SearchConfig(method=method, queries_from="collection", depth=4, filter=filter, explain=explain)
    search(store, conf, Options(name=method))
    tables, opened = open_tables(store.workspace.root), resight.open(store.workspace.root)
    ids = tables.read(IMAGES)["image_id"].to_pylist()
    found = opened.search(ids, method=method, depth=4, filter=filter)
    assert set(found.queries["status"].to_pylist()) == {"ok"}
    assert all(uri.endswith(".jpg") for uri in found.results["uri"].to_pylist())
    check_equal(found, tables.read(RESULTS, method), ids)
    if explain:
        hops = tables.read(EXPLANATIONS, method).sort_by("hop").to_pylist()
        query, image = hops[0]["query_id"], hops[0]["image_id"]
        chain = [(h["src"], h["dst"]) for h in hops if (h["query_id"], h["image_id"]) == (query, image)]
        explained = opened.explain(query, image)
        assert list(zip(explained["src"].to_pylist(), explained["dst"].to_pylist(), strict=True)) == chain


@pytest.mark.parametrize("method", ["global", "regional_diffusion"])
def test_image_files_and_their_pixels_are_answered_as_by_the_job(store, asked, method):
    name = f"{method} files"
    search(store, SearchConfig(method=method, queries=str(asked), depth="all"), Options(name=name))
    tables, opened = open_tables(store.workspace.root), resight.open(store.workspace.root)
    queries = {row["uri"]: row for row in tables.read(QUERIES, name).to_pylist()}
    uris = sorted(queries)
    found = opened.search([asked / uri for uri in uris], method=method, depth="all")
    assert found.queries["status"].to_pylist() == [queries[uri]["status"] for uri in uris]
    order = [queries[uri]["query_id"] for uri in uris]
    check_equal(found, tables.read(RESULTS, name), order)
    with Image.open(asked / "flower.jpg") as photo:
        pixels = np.asarray(photo.convert("RGB"))
    again = opened.search([pixels, asked / "absent.jpg"], method=method, depth="all")
    assert again.queries["status"].to_pylist() == ["ok", "missing"]
    first = [
        i
        for q, i in zip(*(found.results[c].to_pylist() for c in ("query", "image_id")), strict=True)
        if q == 1
    ]
    assert again.results["image_id"].to_pylist() == first
