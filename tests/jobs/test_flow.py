"""The jobs after extraction, on a small collection with known copies."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resight.arrow import arrow_to_lists
from resight.config import SettingError
from resight.job import Options
from resight.jobs.build_graph import GraphConfig
from resight.jobs.build_graph import main as build_graph
from resight.jobs.evaluate import EvaluateConfig
from resight.jobs.evaluate import main as evaluate
from resight.jobs.extract_features import ExtractConfig
from resight.jobs.extract_features import main as extract
from resight.jobs.find_duplicates import DuplicatesConfig
from resight.jobs.find_duplicates import main as find_duplicates
from resight.jobs.import_descriptors import ImportConfig
from resight.jobs.import_descriptors import main as import_descriptors
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.jobs.report import main as report
from resight.jobs.search import SearchConfig
from resight.jobs.search import main as search
from resight.store import TableStore
from resight.tables import (
    COMPONENTS,
    DUPLICATE_GROUPS,
    DUPLICATE_PAIRS,
    EDGES,
    GLOBAL_DESCRIPTORS,
    GROUP_CHANGES,
    IMAGES,
    METRICS,
    NEIGHBORS,
    QUERIES,
    RESULTS,
)
from resight.workspace import Workspace
from tests.pictures import PHOTOS, save_collection, save_photo


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = save_collection(tmp_path_factory.mktemp("photos"))
    shutil.copy(folder / "china.jpg", folder / "china copy.jpg")
    save_photo("china", folder / "china small.jpg", side=120)
    save_photo("rocket", folder / "rocket small.jpg", side=120)
    return folder


@pytest.fixture(scope="module")
def store(spark, photos, tmp_path_factory):
    store = TableStore(Workspace.open(str(tmp_path_factory.mktemp("w")), "delta", create=True), spark)
    ingest(store, IngestConfig(source=str(photos)))
    extract(store, ExtractConfig(extractor="colour", dtype="float32"))
    build_graph(store, GraphConfig(k=5))
    return store


def names(store):
    rows = store.reader.read(IMAGES, columns=["image_id", "uri"]).to_pylist()
    return {row["image_id"]: row["uri"] for row in rows}


def test_neighbours_are_the_nearest_by_the_stored_vectors(store):
    described = store.reader.read(GLOBAL_DESCRIPTORS).sort_by("image_id")
    X = np.stack([np.frombuffer(v, "f4") for v in described["vector"].to_pylist()])
    ids = described["image_id"].to_numpy()
    listed = store.reader.read(NEIGHBORS).sort_by("src")
    offsets, dst = arrow_to_lists(listed["dst"], "int64")
    similarity = arrow_to_lists(listed["similarity"], "float32")[1]
    for row, src in enumerate(listed["src"].to_pylist()):
        found = dst[offsets[row] : offsets[row + 1]]
        expected = X[np.searchsorted(ids, found)] @ X[np.searchsorted(ids, src)]
        np.testing.assert_allclose(similarity[offsets[row] : offsets[row + 1]], expected, atol=1e-3)
        assert src not in found
    run = store.workspace.find_build(NEIGHBORS)
    assert (run.notes["method"], run.notes["recall"], run.notes["copies"]) == ("exact", 1.0, 1)


def test_components_follow_the_edges_and_copies_follow_their_vector(store):
    labels = {r["node_id"]: r["component_id"] for r in store.reader.read(COMPONENTS).to_pylist()}
    edges = store.reader.read(EDGES).to_pylist()
    assert all(labels[edge["src"]] == labels[edge["dst"]] for edge in edges)
    uris = {uri: image_id for image_id, uri in names(store).items()}
    assert labels[uris["china.jpg"]] == labels[uris["china copy.jpg"]]
    assert sorted(labels) == sorted(names(store))
    assert {(e["dst"], e["src"]) for e in edges} == {(e["src"], e["dst"]) for e in edges}


def test_inverted_lists_are_another_build_with_measured_recall(store):
    outcome = build_graph(store, GraphConfig(k=5, method="ivf"), Options(name="inverted"))
    assert outcome.notes["method"] == "ivf"
    assert 0.5 <= outcome.notes["recall"] <= 1
    assert store.workspace.find_build(NEIGHBORS, "build-graph").notes["method"] == "exact"


def test_copies_are_paired_grouped_kept_and_listed(store, tmp_path):
    files = (str(tmp_path / "go.csv"), str(tmp_path / "go.jsonl"))
    conf = DuplicatesConfig(effort="quick", graph="build-graph", threshold=0.9, export=files)
    outcome = find_duplicates(store, conf)
    uris = names(store)
    pairs = {
        frozenset((uris[r["image_a"]], uris[r["image_b"]])): r["relation"]
        for r in store.reader.read(DUPLICATE_PAIRS).to_pylist()
    }
    assert pairs[frozenset(("china.jpg", "china copy.jpg"))] == "exact"
    assert pairs[frozenset(("rocket.jpg", "rocket small.jpg"))] == "near"
    groups = store.reader.read(DUPLICATE_GROUPS).to_pylist()
    kept = {r["group_id"]: uris[r["image_id"]] for r in groups if r["keep"]}
    assert len(kept) == len({r["group_id"] for r in groups})
    assert "rocket.jpg" in kept.values()
    table = csv.DictReader(Path(files[0]).read_text().splitlines())
    listed = {row["uri"].rsplit("/", 1)[-1] for row in table}
    lines = [json.loads(line) for line in Path(files[1]).read_text().splitlines()]
    assert "rocket small.jpg" in listed
    assert len(lines) == outcome.notes["removable"]
    assert set(store.reader.read(GROUP_CHANGES)["change"].to_pylist()) == {"new"}
    Path(files[0]).unlink()
    assert find_duplicates(store, conf).state == "unchanged"
    assert Path(files[0]).exists(), "a list is written although nothing was computed"


def test_a_file_that_two_sources_hold_is_never_listed_as_removable(spark, photos, tmp_path):
    store = TableStore(Workspace.open(str(tmp_path / "w"), "parquet", create=True), spark)
    for source in (str(photos), str(photos / "*small.jpg")):
        ingest(store, IngestConfig(source=source))
    extract(store, ExtractConfig(extractor="colour"))
    build_graph(store, GraphConfig(k=3))
    conf = DuplicatesConfig(effort="quick", threshold=0.999, export=(str(tmp_path / "go.jsonl"),))
    find_duplicates(store, conf)
    listed = [json.loads(line)["uri"] for line in (tmp_path / "go.jsonl").read_text().splitlines()]
    assert not any("small" in uri for uri in listed)
    assert len(listed) == 1


def test_a_collection_without_a_usable_image_goes_through_to_the_report(spark, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"no picture")
    store = TableStore(Workspace.open(str(tmp_path / "w"), "parquet", create=True), spark)
    ingest(store, IngestConfig(source=str(tmp_path / "photos")))
    extract(store, ExtractConfig(extractor="colour"))
    build_graph(store)
    find_duplicates(store)
    search(store, SearchConfig(queries_from="collection"))
    assert "undecodable" in Path(report(store).notes["page"]).read_text()


def test_every_image_asks_and_is_left_out_of_its_own_answer(store):
    search(store, SearchConfig(queries_from="collection", depth=3))
    rows = store.reader.read(RESULTS).to_pylist()
    assert all(row["query_id"] != row["image_id"] for row in rows)
    uris = names(store)
    best = {uris[r["query_id"]]: uris[r["image_id"]] for r in rows if r["rank"] == 0}
    assert best["china copy.jpg"] == "china.jpg"
    assert best["rocket small.jpg"] == "rocket.jpg"
    assert {row["rank"] for row in rows} == {0, 1, 2}


def test_query_files_are_described_as_the_collection_was(store, photos, tmp_path):
    asked = save_collection(tmp_path / "asked", ["flower", "coffee"])
    (asked / "broken.jpg").write_bytes(b"no picture")
    outcome = search(store, SearchConfig(queries=str(asked), depth="all"), Options(name="asked"))
    assert outcome.run.outputs["queries"].statuses == {"ok": 2, "undecodable": 1}
    queries = {r["query_id"]: r["uri"] for r in store.reader.read(QUERIES, "asked").to_pylist()}
    rows = store.reader.read(RESULTS, "asked").to_pylist()
    best = {queries[r["query_id"]]: (names(store)[r["image_id"]], r["score"]) for r in rows if r["rank"] == 0}
    assert all(image == query for query, (image, _) in best.items())
    assert len(best) == 2
    assert all(score == pytest.approx(1, abs=1e-3) for _, score in best.values())
    assert len(rows) == 2 * len(list(photos.iterdir()))


def test_an_unchanged_folder_of_queries_is_not_described_again(store, tmp_path):
    asked = save_collection(tmp_path / "asked", ["flower"])
    conf = SearchConfig(queries=str(asked), depth=2)
    states = [search(store, conf).state, search(store, conf).state]
    save_photo("coffee", asked / "coffee.jpg")
    states.append(search(store, conf).state)
    assert states == ["committed", "unchanged", "committed"]


def test_boxes_of_a_manifest_are_queries_of_their_own(store, photos, tmp_path):
    manifest = tmp_path / "boxes.csv"
    manifest.write_text(
        "uri,y0,x0,y1,x1\nflower.jpg,0,0,60,60\nflower.jpg,10,10,90,90\nchina.jpg,,,,\nflower.jpg,5,,x,9\n"
    )
    shutil.copy(photos / "flower.jpg", tmp_path)
    shutil.copy(photos / "china.jpg", tmp_path)
    search(store, SearchConfig(queries=str(manifest), depth=1), Options(name="boxes"))
    rows = store.reader.read(QUERIES, "boxes").to_pylist()
    asked = {(r["uri"], r["y1"], r["status"]): r["query_id"] for r in rows}
    assert ("flower.jpg", None, "bad_box") in asked
    scores = {r["query_id"]: r["score"] for r in store.reader.read(RESULTS, "boxes").to_pylist()}
    assert len(scores) == 3
    assert scores[asked["china.jpg", None, "ok"]] == pytest.approx(1, abs=1e-3)
    assert scores[asked["flower.jpg", 60, "ok"]] < 0.999
    assert ("flower.jpg", 90, "ok") in asked


def test_evaluation_scores_the_search_and_names_what_it_cannot_find(store, tmp_path):
    search(store, SearchConfig(queries_from="collection", depth="all"), Options(name="all"))
    truth = tmp_path / "truth.csv"
    truth.write_text(
        "query_uri,image_uri,label\nchina.jpg,china small.jpg,positive\nchina.jpg,china copy.jpg,junk\n"
        "rocket.jpg,rocket small.jpg,positive\nabsent.jpg,china.jpg,positive\n"
    )
    outcome = evaluate(store, EvaluateConfig(ground_truth=str(truth), results="all"))
    assert outcome.notes["old.map_step"] == pytest.approx(2 / 3, abs=1e-3)
    assert outcome.notes["unknown_query"] == 1
    rows = store.reader.read(METRICS).to_pylist()
    single = [r["value"] for r in rows if r["metric"] == "ap_step" and r["query_id"] is not None]
    assert sorted(single) == [0, 1, 1]
    truth.write_text("query_uri,image_uri,label\nnothing.jpg,china.jpg,positive\n")
    with pytest.raises(SettingError, match="none of its queries was asked"):
        evaluate(store, EvaluateConfig(ground_truth=str(truth), results="all"))


def test_the_report_is_one_page_with_the_groups(store):
    find_duplicates(store, DuplicatesConfig(effort="quick", graph="build-graph", threshold=0.9))
    page = report(store).notes["page"]
    text = Path(page).read_text()
    assert "china small.jpg" in text
    assert "data:image/jpeg;base64," in text


def test_imported_vectors_make_a_graph_without_pixels(spark, tmp_path, rng):
    store = TableStore(Workspace.open(str(tmp_path / "w"), "parquet", create=True), spark)
    X = rng.normal(size=(30, 8)).astype("f4")
    X[7], X[9, 0], X[11] = X[3], np.nan, 0
    table = pa.table({"uri": [f"item {i}" for i in range(30)], "vector": X.tolist()})
    pq.write_table(table, tmp_path / "clip.parquet")
    source = str(tmp_path / "clip.parquet")
    ingest(store, IngestConfig(source=source, kind="vectors"))
    outcome = import_descriptors(store, ImportConfig(source=source))
    assert outcome.name == "clip"
    assert outcome.run.outputs["global_descriptors"].statuses == {"nan": 1, "ok": 28, "zero": 1}
    assert import_descriptors(store, ImportConfig(source=source)).state == "unchanged"
    graph = build_graph(store, GraphConfig(k=3, descriptors="clip"))
    assert graph.run.outputs["nodes"].statuses == {"nan": 1, "ok": 28, "zero": 1}
    found = find_duplicates(store).run  # by their similarity: there are no pixels to compare
    assert (found.settings["effort"], found.notes["pairs"]) == ("quick", {"exact": 1})
    with pytest.raises(SettingError, match="made elsewhere"):
        search(store, SearchConfig(queries=str(save_collection(tmp_path / "q", list(PHOTOS)[:1]))))
