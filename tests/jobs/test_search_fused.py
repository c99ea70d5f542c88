"""The fused ranking by jobs, on photos whose views are known; most keypoints are not stored."""

import shutil

import numpy as np
import pytest

from resight.config import SettingError
from resight.job import Options
from resight.jobs.build_graph import GraphConfig
from resight.jobs.build_graph import main as build_graph
from resight.jobs.extract_features import ExtractConfig
from resight.jobs.extract_features import main as extract_features
from resight.jobs.search import SearchConfig
from resight.jobs.search import main as search
from resight.tables import EDGES, NEIGHBORS, RESULTS
from tests.jobs.test_search_local import folder, read_answers, store  # noqa: F401

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
    assert sorted(plain.parents) == ["global_descriptors", "results"]
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
