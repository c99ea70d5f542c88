"""The fused ranking by jobs, on photos whose views are known; most keypoints are not stored."""

import shutil

import cv2
import numpy as np
import pytest

import resight
from resight.config import SettingError
from resight.job import Options
from resight.jobs.build_graph import GraphConfig
from resight.jobs.build_graph import main as build_graph
from resight.jobs.build_index import IndexConfig
from resight.jobs.build_index import main as build_index
from resight.jobs.extract_features import ExtractConfig
from resight.jobs.extract_features import main as extract_features
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.jobs.search import SearchConfig
from resight.jobs.search import main as search
from resight.jobs.verify_pairs import VerifyConfig
from resight.jobs.verify_pairs import main as verify_pairs
from resight.tables import EDGES, IMAGES, NEIGHBORS, RESULTS
from tests.jobs.test_search_local import folder, read_answers, store  # noqa: F401
from tests.verification.scenes import draw_scene

VIEWS = {"a.png": "b.png", "b.png": "a.png", "c.png": "d.png", "d.png": "c.png"}


@pytest.fixture(scope="module")
def fused(store):  # noqa: F811
    """The workspace with two kinds of descriptors, a search of the collection, and the graph of all three."""
    extract_features(store, ExtractConfig(longer_side=64, pooling="spoc"), named("net"))
    extract_features(store, ExtractConfig(extractor="colour", longer_side=64), named("hues"))
    search(store, SearchConfig(queries_from="collection", method="asmk", depth=101), named("sees"))
    build_graph(store, graph_config(colour="hues"), named("joined"))
    return store


def named(name):
    return Options(name=name)


def graph_config(**settings):
    return GraphConfig(of="fused", descriptors="net", ranked="sees", **settings)


def run_search(fused, **settings):
    """Search so that what a query sees counts more than the graph: all of so few images are neighbours."""
    search(fused, SearchConfig(method="fused", depth="all", alpha=0.1, verified_weight=1.0, **settings))
    return read_answers(fused)


def test_every_image_of_the_collection_finds_its_other_view(fused):
    rankings, queries = run_search(fused, queries_from="collection", graph="joined")
    assert {name: found[0][0] for name, found in rankings.items() if name in VIEWS} == VIEWS
    assert all(len(found) == 4 and name not in dict(found) for name, found in rankings.items())
    assert all((np.diff([score for _, score in found]) <= 0).all() for found in rankings.values())
    assert {row["status"] for row in queries.values()} == {"ok"}
    run = fused.workspace.find_build(RESULTS)
    builds = fused.workspace.builds()
    assert builds[run.parents["global_descriptors:colour"]].name == "hues"
    assert builds[run.parents["global_descriptors"]].name == "net"
    assert run.inputs["global_descriptors:colour"].startswith(run.parents["global_descriptors:colour"])


def test_the_defaults_rank_alike_with_and_without_spark(fused, folder):  # noqa: F811
    opened, asked = resight.open(fused.workspace.root, graph="joined"), sorted(VIEWS)
    ids = {row["uri"]: row["image_id"] for row in fused.reader.read(IMAGES).to_pylist()}
    search(fused, SearchConfig(method="fused", queries_from="collection", graph="joined"))
    compare(read_answers(fused)[0], opened.search([ids[name] for name in asked], method="fused"), asked)
    for settings in ({}, {"weighting": "adaptive", "n_verified": 2}, {"filter": ("uri=a.png", "uri=d.png")}):
        conf = {"method": "fused", "depth": 4, **settings}
        search(fused, SearchConfig(queries=str(folder / "queries"), graph="joined", **conf))
        files = [folder / "queries" / f"{name}.png" for name in "qnx"]
        found = opened.search(files, **conf)
        compare(read_answers(fused)[0], found, ["q.png", "n.png", "x.png"])
        assert [row == "ok" for row in found.queries["status"].to_pylist()] == [True, True, False]


def compare(rankings, found, names):
    """Answers of the reader are those of the job, in order and in score."""
    rows = found.results.to_pylist()
    for i, name in enumerate(names):
        own = [row for row in rows if row["query"] == i]
        assert [row["uri"] for row in own] == [uri for uri, _ in rankings[name]]
        np.testing.assert_allclose([row["score"] for row in own], [s for _, s in rankings[name]], atol=1e-5)


def test_pairs_that_were_verified_before_are_not_verified_again(fused):
    verify_pairs(fused, VerifyConfig(candidates="results", results="sees", top=4), named("pairs"))
    found = run_search(fused, queries_from="collection", graph="joined", verified="pairs")[0]
    assert {name: found[name][0][0] for name in VIEWS} == VIEWS
    assert "verified_pairs" in fused.workspace.find_build(RESULTS).parents
    ids = {row["uri"]: row["image_id"] for row in fused.reader.read(IMAGES).to_pylist()}
    opened, asked = resight.open(fused.workspace.root, graph="joined"), sorted(VIEWS)
    settings = {"depth": "all", "alpha": 0.1, "verified_weight": 1.0, "verified": "pairs"}
    compare(found, opened.search([ids[name] for name in asked], method="fused", **settings), asked)
    assert not opened.moment.fused.held  # no keypoints of candidates were looked up
    with pytest.raises(SettingError, match="verified: only for the method fused"):
        SearchConfig.from_mapping({"queries_from": "collection", "verified": "pairs"})


def test_query_files_that_lack_keypoints_or_cannot_be_read(fused, folder, tmp_path):  # noqa: F811
    rankings, queries = run_search(fused, queries=str(folder / "queries"), graph="joined")
    assert {uri for uri, _ in rankings["q.png"][:2]} == {"a.png", "b.png"}
    assert len(rankings["n.png"]) == 5
    assert rankings["n.png"][0][0] == "e.png"  # by its vector alone
    assert (queries["x.png"]["status"] != "ok", rankings["x.png"]) == (True, [])
    copied = shutil.copytree(folder / "queries", tmp_path / "queries")
    again = run_search(fused, queries=str(copied), graph="joined", chunk_size=1)[0]
    for name, found in rankings.items():
        assert [uri for uri, _ in again[name]] == [uri for uri, _ in found]
        np.testing.assert_allclose([s for _, s in again[name]], [s for _, s in found], atol=1e-4)


def test_filters_and_searches_without_verification(fused, folder):  # noqa: F811
    asked = {"queries": str(folder / "queries"), "graph": "joined", "n_verified": 0}
    plain = run_search(fused, **asked)[0]
    part = run_search(fused, **asked, filter=("uri=a.png", "uri=d.png", "uri=e.png"))[0]
    for name in ("q.png", "n.png"):
        kept = [uri for uri, _ in plain[name] if uri in ("a.png", "d.png", "e.png")]
        assert [uri for uri, _ in part[name]] == kept


def test_a_graph_without_colour_differs_and_has_no_such_parent(fused):
    plain = build_graph(fused, graph_config(), named("plain")).run
    joined = fused.workspace.find_build(EDGES, "joined")
    assert "global_descriptors:colour" in joined.parents
    assert sorted(plain.parents) == ["global_descriptors", "queries", "results"]
    weights = [fused.reader.read(EDGES, name)["affinity"].to_numpy() for name in ("plain", "joined")]
    assert len(weights[0])
    assert weights[0].tolist() != weights[1].tolist()
    assert fused.workspace.builds()[plain.build_id].settings["gamma"] == "auto"
    found = run_search(fused, queries_from="collection", graph="plain")[0]
    assert {name: found[name][0][0] for name in VIEWS} == VIEWS
    assert "global_descriptors:colour" not in fused.workspace.find_build(RESULTS).parents


def test_searches_that_do_not_suffice_are_refused(fused):
    shallow = SearchConfig(queries_from="collection", method="asmk", depth=100)
    search(fused, shallow, named("shallow"))
    search(fused, SearchConfig(queries_from="collection", descriptors="net"), named("similar"))
    for name in ("shallow", "similar"):
        conf = GraphConfig(of="fused", descriptors="net", ranked=name)
        with pytest.raises(SettingError, match=f"--ranked: '{name}'.*--depth 101"):
            build_graph(fused, conf)
    with pytest.raises(SettingError, match="ranked: --of fused needs"):
        GraphConfig.from_mapping({"of": "fused"})
    with pytest.raises(SettingError, match="colour: only for --of fused"):
        GraphConfig.from_mapping({"colour": "hues"})
    assert fused.workspace.find_build(NEIGHBORS, "joined").settings["of"] == "fused"
    for name in ("missing", "joined"):
        with pytest.raises(SettingError, match="no build of"):
            resight.open(fused.workspace.root, graph="joined", also=name).search(1, method="fused")
    with pytest.raises(SettingError, match="also: only for the method fused"):
        SearchConfig.from_mapping({"queries_from": "collection", "also": "sees"})


def test_a_further_index_is_an_ingredient_of_graph_and_search(fused, folder):  # noqa: F811
    conf = {"queries": str(folder / "queries"), "graph": "joined"}
    search(
        fused, SearchConfig(method="hqe", depth=101, hqe_matches=2, queries=conf["queries"]), named("more")
    )
    plain = run_search(fused, **conf)[0]
    with_more = run_search(fused, **conf, also="more")[0]
    assert {uri for uri, _ in with_more["q.png"][:2]} == {"a.png", "b.png"}
    assert with_more != plain
    opened = resight.open(fused.workspace.root, graph="joined", also="more")
    settings = {"depth": "all", "alpha": 0.1, "verified_weight": 1.0}
    found = opened.search([folder / "queries" / "q.png"], method="fused", **settings)
    compare(with_more, found, ["q.png"])
    with pytest.raises(SettingError, match="--also: 'sees' is no search of the very same queries"):
        run_search(fused, **conf, also="sees")
    search(fused, SearchConfig(method="asmk", queries=conf["queries"], depth=5), named("flat"))
    with pytest.raises(SettingError, match=r"--also: 'flat' must be a search with .* --depth 101"):
        run_search(fused, **conf, also="flat")
    both = build_graph(fused, graph_config(also="sees", also_weight=0.4), named("twice")).run
    heavy = build_graph(fused, graph_config(fused_weight=0.8), named("heavy")).run
    assert "results:also" in both.parents
    edges = [fused.reader.read(EDGES, run.build_id) for run in (both, heavy)]
    keys = [("src", "ascending"), ("dst", "ascending")]
    assert edges[0].sort_by(keys).equals(edges[1].sort_by(keys))


def by_pair(rows):
    return {(row["query_id"], row["image_id"]): (row["rank"], row["score"]) for row in rows}


def test_settings_that_do_not_fit_are_refused_before_queries_are_described(fused, folder, monkeypatch):  # noqa: F811
    from resight.jobs import search as search_job

    monkeypatch.setattr(search_job, "describe_asked", None)
    build_index(fused, IndexConfig(aggregate=False, values="float16"), named("vectors"))
    asked = {"queries": str(folder / "queries")}
    for conf, message in (
        ({"method": "hqe", "index": "vectors"}, "hqe compares bits"),
        ({"method": "asmk", "index": "vectors", "asmk_alpha": 2.0}, "asmk_alpha: the norms"),
        ({"method": "fused", "graph": "joined", "also": "sees"}, "--also: 'sees' is no search"),
    ):
        with pytest.raises(SettingError, match=message):
            search(fused, SearchConfig(**asked, **conf))


def test_candidates_are_verified_by_the_keypoints_that_an_index_kept(fused, folder):  # noqa: F811
    build_index(fused, IndexConfig(shard_images=2, idf=False, keep_local=100), named("kept"))
    ranking = SearchConfig(queries_from="collection", method="asmk", depth=101, index="kept")
    search(fused, ranking, named("kept sees"))
    rows = [fused.reader.read(RESULTS, name).to_pylist() for name in ("sees", "kept sees")]
    assert by_pair(rows[0]) == by_pair(rows[1])  # too few were kept to ask with: they are found again
    build_graph(fused, GraphConfig(of="fused", descriptors="net", ranked="kept sees"), named("kept all"))
    conf = {"queries": str(folder / "queries"), "graph": "kept all"}
    plain = run_search(fused, **conf, n_verified=0)[0]
    (folder / "photos").rename(folder / "away")
    try:
        found = run_search(fused, **conf)[0]
        opened = resight.open(fused.workspace.root, graph="kept all")
        settings = {"method": "fused", "depth": "all", "alpha": 0.1, "verified_weight": 1.0}
        compare(found, opened.search([folder / "queries" / "q.png"], **settings), ["q.png"])
    finally:
        (folder / "away").rename(folder / "photos")
    assert {uri for uri, _ in found["q.png"][:2]} == {"a.png", "b.png"}
    assert found["q.png"][0][1] > plain["q.png"][0][1] + 0.02  # what inliers add


def test_an_image_that_came_since_the_search_is_refused(fused, folder):  # noqa: F811
    cv2.imwrite(str(folder / "photos" / "g.png"), draw_scene(7, width=200, height=160))
    ingest(fused, IngestConfig(source=str(folder / "photos")))
    extract_features(fused, ExtractConfig(longer_side=64, pooling="spoc"))
    with pytest.raises(SettingError, match=r"--ranked: 1 images with descriptors did not ask in .*'sees'"):
        build_graph(fused, graph_config())
    build_index(fused, IndexConfig(shard_images=2, idf=False))
    search(fused, SearchConfig(queries_from="collection", method="asmk", depth=101), named("sees"))
    grown = build_graph(fused, graph_config()).run
    assert grown.outputs["nodes"].n_rows == 6
    found = run_search(fused, queries_from="collection", graph="plain")[0]
    assert {name: found[name][0][0] for name in VIEWS} == VIEWS
    assert len(found["g.png"]) == 5
