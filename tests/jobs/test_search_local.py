"""Searches by local features, by the job and without Spark, on photos whose views are known."""

import cv2
import numpy as np
import pytest

import resight
from resight.config import SettingError
from resight.jobs.build_index import IndexConfig
from resight.jobs.build_index import main as build_index
from resight.jobs.extract_local_features import ExtractLocalConfig
from resight.jobs.extract_local_features import main as extract
from resight.jobs.fit_model import FitConfig
from resight.jobs.fit_model import main as fit_model
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.jobs.search import SearchConfig
from resight.jobs.search import main as search
from resight.store import TableStore
from resight.tables import IMAGES, QUERIES, RESULTS
from resight.workspace import Workspace
from tests.verification.scenes import draw_scene, turn, warp_scene

SIZE = (200, 160)
VIEWS = {"b": turn(20, 0.9, (40, -10)), "q": turn(-15, 0.95, (10, 30))}


def draw_photos():
    """Views a and b of one scene, c and d of another, e without a keypoint; the queries q, of a, and n."""
    first, second = (draw_scene(seed, width=200, height=160) for seed in (1, 5))
    plain = np.full((160, 200, 3), 90, np.uint8)
    photos = {"a": first, "b": warp_scene(first, VIEWS["b"], SIZE), "c": second, "e": plain}
    photos["d"] = warp_scene(second, VIEWS["b"], SIZE)
    return photos, {"q": warp_scene(first, VIEWS["q"], SIZE), "n": plain}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    for name, photos in zip(("photos", "queries"), draw_photos(), strict=True):
        (folder / name).mkdir()
        for stem, pixels in photos.items():
            cv2.imwrite(str(folder / name / f"{stem}.png"), pixels[:, :, ::-1])
    (folder / "queries" / "x.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def store(spark, folder):
    store = TableStore(Workspace.open(str(folder / "w"), "parquet", create=True), spark)
    ingest(store, IngestConfig(source=str(folder / "photos")))
    extract(store, ExtractLocalConfig(max_keypoints=150, min_side=0))
    fit_model(store, FitConfig(kind="codebook", words=150, points_per_word=3, iterations=3))
    build_index(store, IndexConfig(shard_images=2, idf=False))
    return store


def read_answers(store):
    """Rankings as lists of (uri, score), and rows of ``queries``, by the query's uri."""
    uris = {row["image_id"]: row["uri"] for row in store.reader.read(IMAGES).to_pylist()}
    queries = store.reader.read(QUERIES).to_pylist()
    names = {row["query_id"]: row["uri"] for row in queries}
    rankings = {row["uri"]: [] for row in queries}
    for row in (
        store.reader.read(RESULTS).sort_by([("query_id", "ascending"), ("rank", "ascending")]).to_pylist()
    ):
        rankings[names[row["query_id"]]].append((uris[row["image_id"]], row["score"]))
    return rankings, {row["uri"]: row for row in queries}


def test_every_image_of_the_collection_finds_its_other_view(store):
    search(store, SearchConfig(queries_from="collection", method="asmk", depth="all", assignments=1))
    rankings, queries = read_answers(store)
    assert {name: found[0][0][0] for name, found in rankings.items() if name != "e.png"} == {
        "a.png": "b",
        "b.png": "a",
        "c.png": "d",
        "d.png": "c",
    }
    assert all(len(found) == 4 for found in rankings.values())
    assert all(0 <= score < 1 for found in rankings.values() for _, score in found)
    assert all(dict(found)["e.png"] == 0 for name, found in rankings.items() if name != "e.png")
    assert [score for _, score in rankings["e.png"]] == [0.0] * 4
    assert {name: row["no_support"] for name, row in queries.items()} == {
        f"{name}.png": name == "e" for name in "abcde"
    }
    compare_with_reader(store, rankings)


@pytest.mark.parametrize("method", ["asmk", "hqe"])
def test_query_files_are_ranked_by_the_job_as_by_the_reader(store, folder, method):
    conf = SearchConfig(queries=str(folder / "queries"), method=method, depth=3, assignments=3, hqe_matches=3)
    search(store, conf)
    rankings, queries = read_answers(store)
    assert {uri for uri, _ in rankings["q.png"][:2]} == {"a.png", "b.png"}
    assert (queries["n.png"]["status"], queries["n.png"]["no_support"]) == ("ok", True)
    assert [score for _, score in rankings["n.png"]] == [0.0] * 3
    assert (queries["x.png"]["status"] != "ok", rankings["x.png"]) == (True, [])
    opened = resight.open(store.workspace.root)
    files = [folder / "queries" / f"{name}.png" for name in "qnx"]
    found = opened.search(files, method=method, depth=3, assignments=3, hqe_matches=3)
    for i, name in enumerate("qnx"):
        rows = [row for row in found.results.to_pylist() if row["query"] == i]
        assert [(row["uri"], row["score"]) for row in rows] == rankings[f"{name}.png"]
    flags = found.queries.to_pylist()
    assert [row["no_support"] for row in flags] == [False, True, None]
    assert flags[2]["status"] == queries["x.png"]["status"]


def test_boxes_ask_by_the_keypoints_inside(store, folder, tmp_path):
    boxes = [(0, 0, 90, 120), (40, 60, 160, 200), None]
    rows = [f"q.png,{','.join(map(str, box)) if box else ',,,'}" for box in boxes]
    manifest = tmp_path / "boxes.csv"
    manifest.write_text("\n".join(["uri,y0,x0,y1,x1", *rows]))
    conf = {"method": "asmk", "depth": "all", "assignments": 2}
    search(store, SearchConfig(queries=str(manifest), root=str(folder / "queries"), **conf))
    queries = {row["query_id"]: row for row in store.reader.read(QUERIES).to_pylist()}
    opened, file = resight.open(store.workspace.root), folder / "queries" / "q.png"
    found = opened.search([file] * 3, boxes=boxes, **conf).results.to_pylist()
    scores = {(row["query"], row["image_id"]): row["score"] for row in found}
    for row in store.reader.read(RESULTS).to_pylist():
        box = tuple(queries[row["query_id"]][name] for name in ("y0", "x0", "y1", "x1"))
        place = boxes.index(box if box[0] is not None else None)
        assert row["score"] == pytest.approx(scores[place, row["image_id"]], abs=1e-6)
    assert len({tuple(s for (q, _), s in sorted(scores.items()) if q == i) for i in range(3)}) == 3
    for boxes, message in (
        ([None], "1 boxes for 2"),
        ((0, 0, 0, 5), "a box is"),
        ([None, (0, 0, 1, 1)], "belongs"),
    ):
        with pytest.raises(ValueError, match=message):
            opened.search([file, 5] if len(boxes) < 3 else [file], boxes=boxes, method="asmk")


def compare_with_reader(store, rankings):
    """Ask for the same images by their ids: the stored keypoints, or the files, give the same answers."""
    ids = {row["uri"]: row["image_id"] for row in store.reader.read(IMAGES).to_pylist()}
    names = sorted(rankings)
    opened = resight.open(store.workspace.root)
    found = opened.search([ids[n] for n in names], method="asmk", depth="all", assignments=1)
    for i, name in enumerate(names):
        rows = [row for row in found.results.to_pylist() if row["query"] == i]
        assert [(row["uri"], row["score"]) for row in rows] == rankings[name]


def test_a_reader_filters_and_refuses_vectors_and_unknown_images(store, folder):
    opened = resight.open(store.workspace.root)
    query = folder / "queries" / "q.png"
    assert len(opened.search(query, method="asmk", filter="format=png").results) == 5
    assert len(opened.search(query, method="asmk", filter="format=jpeg").results) == 0
    assert opened.search(-5, method="asmk").queries["status"].to_pylist() == ["missing"]
    with pytest.raises(ValueError, match="not vectors"):
        opened.search(np.zeros(128), method="asmk")
    with pytest.raises(SettingError, match="no build"):
        resight.open(store.workspace.root, index="other").search(query, method="asmk")
