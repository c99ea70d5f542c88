"""The graph of regions and search by it, through the jobs, on photos."""

from shutil import copytree

import numpy as np
import pytest

from resight.config import SettingError
from resight.job import Options
from resight.jobs.build_graph import GraphConfig
from resight.jobs.build_graph import main as build_graph
from resight.jobs.extract_features import ExtractConfig
from resight.jobs.extract_features import main as extract
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.jobs.search import SearchConfig
from resight.jobs.search import main as search
from resight.store import TableStore
from resight.tables import COMPONENTS, EDGES, IMAGES, NEIGHBORS, NODES, QUERIES, REGION_DESCRIPTORS, RESULTS
from resight.workspace import Workspace
from tests.pictures import save_collection, save_photo
from tests.search.region_collections import Regions, dense_regional, weigh

REGIONAL = {"method": "regional_diffusion", "depth": "all", "tol": 1e-10, "alpha": 0.9, "query_neighbors": 9}
SMALL = {"longer_side": 96, "dtype": "float32"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = save_collection(tmp_path_factory.mktemp("photos"))
    (folder / "again.jpg").write_bytes((folder / "coffee.jpg").read_bytes())
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def store(spark, photos, tmp_path_factory):
    store = TableStore(Workspace.open(str(tmp_path_factory.mktemp("w")), "parquet", create=True), spark)
    loss = Options(accept_loss=True)
    ingest(store, IngestConfig(source=str(photos)), loss)
    extract(store, ExtractConfig(**SMALL), Options(name="plain", accept_loss=True))
    with pytest.raises(SettingError, match="resight extract-features --regions writes it"):
        build_graph(store, GraphConfig(of="regions"))
    extract(store, ExtractConfig(regions=True, **SMALL), Options(name="regions", accept_loss=True))
    build_graph(store, GraphConfig(of="regions", k=8), Options(name="k8"))
    return store


def read_regions(store):
    """The nodes by id, their vectors, and the ids of their images in order."""
    nodes = store.reader.read(NODES, "k8").sort_by("node_id")
    stored = store.reader.read(REGION_DESCRIPTORS).to_pylist()
    vectors = {(row["image_id"], row["region_ix"]): row["vector"] for row in stored}
    keys = list(zip(nodes["image_id"].to_pylist(), nodes["region_ix"].to_pylist(), strict=True))
    R = np.stack([np.frombuffer(vectors[key], np.float32) for key in keys])
    R /= np.linalg.norm(R, axis=1, keepdims=True)
    images, owner = np.unique(nodes["image_id"].to_numpy(), return_inverse=True)
    ids, numbers = nodes["node_id"].to_numpy(), nodes["region_ix"].to_numpy()
    return images, Regions(ids, R, owner, numbers, nodes["weight"].to_numpy()), nodes


def test_every_region_is_a_node_with_its_weight_and_copies_point_to_one(store):
    images, regions, nodes = read_regions(store)
    assert len(nodes) == len(store.reader.read(REGION_DESCRIPTORS))
    assert len(images) == 7
    np.testing.assert_allclose(regions.weights, weigh(regions.R, regions.owner), atol=1e-5)
    copies = nodes["dup_of"].is_valid().to_numpy()
    assert copies.sum() == len(nodes) - len(np.unique(regions.R, axis=0))
    standing = np.searchsorted(regions.node_ids, nodes["dup_of"].drop_null())
    np.testing.assert_array_equal(regions.R[copies], regions.R[standing])
    assert copies.sum() >= (regions.owner == regions.owner[standing[0]]).sum()  # one photo is there twice


def dense_affinity(store, regions):
    """The stored edges among nodes that stand for themselves, as a matrix in the order of ids."""
    edges = store.reader.read(EDGES, "k8")
    first = np.sort(np.unique(regions.R, axis=0, return_index=True)[1])
    src, dst = (np.searchsorted(regions.node_ids[first], edges[end].to_numpy()) for end in ("src", "dst"))
    A = np.zeros((len(first), len(first)))
    A[src, dst] = edges["affinity"].to_numpy()
    return A


def test_search_equals_a_dense_solve_on_the_tables(store):
    images, regions, _ = read_regions(store)
    A = dense_affinity(store, regions)
    outcome = search(store, SearchConfig(queries_from="collection", **REGIONAL))
    results = store.reader.read(RESULTS, outcome.build_id).to_pylist()
    assert len(results) == 7 * 6
    for query, image in enumerate(images.tolist()):
        f = dense_regional(regions.of(query), regions, A, k_q=9, alpha=0.9)
        F = dict(zip(images.tolist(), np.bincount(regions.owner, regions.weights * f), strict=True))
        reached = np.bincount(regions.owner, weights=f != 0) > 0
        for row in (row for row in results if row["query_id"] == image):
            is_reached = reached[np.searchsorted(images, row["image_id"])]
            assert (row["region_ix"] is not None) == is_reached
            if is_reached:
                assert abs(row["score"] - F[row["image_id"]]) < 1e-5


def test_a_shortlist_of_all_images_ranks_as_the_whole_graph(store):
    rankings = []
    for settings in ({}, {"shortlist": 1000}):
        conf = SearchConfig(queries_from="collection", **REGIONAL | {"tol": 1e-11} | settings)
        outcome = search(store, conf)
        assert outcome.run.notes["path"] == ("truncated" if settings else "replicated")
        rows = store.reader.read(RESULTS, outcome.build_id).to_pylist()
        rankings.append({(row["query_id"], row["image_id"]): row["score"] for row in rows})
    assert rankings[0] == pytest.approx(rankings[1], abs=1e-6)


def test_query_files_are_described_by_their_regions(store, photos):
    outcome = search(store, SearchConfig(queries=str(photos), chunk_size=3, **REGIONAL))
    queries = store.reader.read(QUERIES, outcome.build_id).to_pylist()
    status = {row["uri"]: row["status"] for row in queries}
    assert status.pop("broken.jpg") != "ok"
    assert set(status.values()) == {"ok"}
    assert max(row["residual"] for row in queries if row["status"] == "ok") <= 1e-10
    asked = {row["query_id"]: row["uri"] for row in queries}
    tops = [row for row in store.reader.read(RESULTS, outcome.build_id).to_pylist() if row["rank"] == 0]
    names = {row["image_id"]: row["uri"] for row in store.reader.read(IMAGES).to_pylist()}
    found = {asked[row["query_id"]]: names[row["image_id"]] for row in tops}
    assert all(found[uri] == uri for uri in ("chelsea.jpg", "rocket.jpg", "china.jpg"))
    assert {found["coffee.jpg"], found["again.jpg"]} <= {"coffee.jpg", "again.jpg"}


def test_compressed_regions_are_few_and_named_by_stored_ones(store):
    conf = GraphConfig(of="regions", compress=2)
    assert (conf.n_neighbors, GraphConfig(of="regions").n_neighbors, GraphConfig().n_neighbors) == (
        50,
        200,
        50,
    )
    build_graph(store, conf, Options(name="means"))
    nodes = store.reader.read(NODES, "means").to_pylist()
    assert len(nodes) == 7 * 2
    stored = {(r["image_id"], r["region_ix"]) for r in store.reader.read(REGION_DESCRIPTORS).to_pylist()}
    assert {(row["image_id"], row["region_ix"]) for row in nodes} <= stored
    outcome = search(store, SearchConfig(queries_from="collection", graph="means", **REGIONAL))
    assert len(store.reader.read(RESULTS, outcome.build_id)) == 7 * 6


def test_a_graph_of_regions_that_grows_equals_one_from_nothing(spark, store, tmp_path):
    copytree(store.workspace.root, tmp_path / "w")
    grown = TableStore(Workspace.open(str(tmp_path / "w")), spark)
    save_photo("coffee", tmp_path / "more" / "large.jpg", side=120)
    ingest(grown, IngestConfig(source=str(tmp_path / "more")))
    extract(grown, ExtractConfig(regions=True, **SMALL), Options(name="regions"))
    run = build_graph(grown, GraphConfig(of="regions", k=8), Options(name="k8")).run
    anew = build_graph(grown, GraphConfig(of="regions", k=8, recall=0.9)).run
    assert run.notes["lists"] == "renew"
    assert 0 < run.notes["new"] < run.notes["vectors"] // 4
    for table in (NEIGHBORS, NODES, EDGES, COMPONENTS):
        rows = [
            grown.reader.read(table, r.build_id).sort_by([(c, "ascending") for c in table.key[1:]])
            for r in (run, anew)
        ]
        assert rows[0].equals(rows[1])
        assert len(rows[0]) > len(store.reader.read(table, "k8"))


def test_each_method_takes_the_newest_graph_of_its_kind(store):
    with pytest.raises(SettingError, match="'edges' is missing in the workspace"):
        search(store, SearchConfig(queries_from="collection", method="diffusion"))
    made = build_graph(store, GraphConfig(descriptors="regions", k=3), Options(name="images"))
    with pytest.raises(SettingError, match="build-graph --of regions writes it"):
        search(store, SearchConfig(queries_from="collection", graph="images", **REGIONAL))
    regional = search(store, SearchConfig(queries_from="collection", **REGIONAL))
    plain = search(store, SearchConfig(queries_from="collection", method="diffusion"))
    builds = store.workspace.builds()
    assert builds[plain.build_id].parents[EDGES.name] == made.build_id
    assert builds[builds[regional.build_id].parents[EDGES.name]].name == "means"
    rows = store.reader.read(RESULTS, plain.build_id)
    assert rows["region_ix"].null_count == len(rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"compress": 5}, "compress: only for a graph of regions"),
        ({"k": 0}, "k: from 1 to 2048, or auto"),
        ({"k": 3000}, "k: from 1 to 2048, or auto"),
    ],
)
def test_settings_that_cannot_be_are_named(settings, message):
    with pytest.raises(SettingError, match=message):
        GraphConfig.from_mapping(settings)
