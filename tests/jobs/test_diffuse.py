"""Diffusion through the jobs, on imported vectors."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resight.arrow import arrow_to_lists
from resight.config import SettingError
from resight.job import Options
from resight.jobs.build_graph import GraphConfig
from resight.jobs.build_graph import main as build_graph
from resight.jobs.diffuse import DiffuseConfig
from resight.jobs.diffuse import main as diffuse
from resight.jobs.import_descriptors import ImportConfig
from resight.jobs.import_descriptors import main as import_descriptors
from resight.jobs.ingest_images import IngestConfig
from resight.jobs.ingest_images import main as ingest
from resight.jobs.search import SearchConfig
from resight.jobs.search import main as search
from resight.store import TableStore
from resight.tables import EDGES, EXPLANATIONS, MANIFOLD_NEIGHBORS, NODES, QUERIES, RESULTS
from resight.workspace import Workspace
from tests.synthetic import planted

EXACT = {"tol": 1e-10, "alpha": 0.9}


def save_vectors(file, seed, **planting):
    vectors = planted(np.random.default_rng(seed), d=16, **planting).vectors
    names = [f"{seed}-{i:03d}" for i in range(len(vectors))]
    pq.write_table(pa.table({"uri": names, "vector": vectors.astype(float).tolist()}), file)
    return str(file)


def import_vectors(store, source, name):
    ingest(store, IngestConfig(source=source, kind="vectors", source_id=name))
    import_descriptors(
        store, ImportConfig(source=source, source_id=name, dtype="float32"), Options(name=name)
    )


@pytest.fixture(scope="module")
def store(spark, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vectors")
    store = TableStore(Workspace.open(str(folder / "w"), "parquet", create=True), spark)
    source = save_vectors(folder / "v.parquet", 5, k=6, m=8, n_distractors=10, n_copies=6)
    import_vectors(store, source, "planted")
    build_graph(store, GraphConfig(k=8), Options(name="k8"))
    return store


def ranked(store, **settings):
    outcome = search(store, SearchConfig(queries_from="collection", depth="all", **settings))
    rows = store.reader.read(RESULTS, outcome.build_id)
    return outcome, rows.sort_by([("query_id", "ascending"), ("rank", "ascending")])


def test_offline_diffusion_of_whole_components_ranks_as_diffusion_does(store):
    outcome = diffuse(
        store, DiffuseConfig(shortlist=10**6, depth=10**6, max_iter=300, block_nodes=7, **EXACT)
    )
    assert outcome.run.notes["kept_of_ten_best"] == 1
    assert sum(outcome.run.notes["blocks"].values()) >= 3
    assert (
        diffuse(store, DiffuseConfig(shortlist=10**6, depth=10**6, max_iter=300, **EXACT)).state
        == "unchanged"
    )
    solved, offline = (ranked(store, method=m, **EXACT)[1] for m in ("diffusion", "offline_diffusion"))
    a, b = solved["score"].to_numpy(), offline["score"].to_numpy()
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
    n = len(np.unique(solved["query_id"].to_numpy()))
    assert len(solved) == len(offline) == n * (n - 1)


def test_rows_name_their_graph_and_hold_the_best_nodes_in_order(store):
    diffuse(store, DiffuseConfig(depth=5), Options(name="top5"))
    rows = store.reader.read(MANIFOLD_NEIGHBORS, "top5")
    nodes = store.reader.read(NODES).to_pylist()
    assert sorted(rows["src"].to_pylist()) == sorted(row["node_id"] for row in nodes if row["dup_of"] is None)
    assert set(rows["graph_version"].to_pylist()) == {store.source(EDGES)[1].digest}
    offsets, dst = arrow_to_lists(rows["dst"], "int64")
    assert np.diff(offsets).max() == 5
    scores = arrow_to_lists(rows["score"], "float32")[1]
    inside = np.diff(np.repeat(np.arange(len(rows)), np.diff(offsets))) == 0
    assert (np.diff(scores)[inside] <= 0).all()
    assert set(dst) <= set(rows["src"].to_pylist())


def test_queries_say_how_they_were_solved_and_results_why_they_were_found(store):
    outcome, _ = ranked(store, method="diffusion", explain=2)
    queries = store.reader.read(QUERIES, outcome.build_id)
    assert max(queries["residual"].to_pylist()) <= 1e-6
    assert min(queries["iterations"].to_pylist()) >= 1
    hops = store.reader.read(EXPLANATIONS, outcome.build_id).to_pylist()
    edges = {(e["src"], e["dst"]): e["affinity"] for e in store.reader.read(EDGES).to_pylist()}
    walked = [hop for hop in hops if hop["src"] is not None]
    assert len(walked)
    for hop in walked:
        assert abs(edges[hop["src"], hop["dst"]] - hop["affinity"]) < 1e-9


def test_a_graph_of_other_descriptors_is_refused(store, tmp_path):
    source = save_vectors(tmp_path / "o.parquet", 6, k=3, m=4, n_distractors=4, n_copies=0)
    import_vectors(store, source, "others")
    wrong = SearchConfig(queries_from="collection", method="diffusion", graph="k8", descriptors="others")
    with pytest.raises(SettingError, match="another build of descriptors than 'others'"):
        search(store, wrong)


def test_diffusion_without_a_graph_names_the_job_to_run(spark, tmp_path):
    store = TableStore(Workspace.open(str(tmp_path / "w"), "parquet", create=True), spark)
    import_vectors(store, save_vectors(tmp_path / "v.parquet", 6, k=3, m=4, n_distractors=4, n_copies=0), "v")
    for method, job in (("diffusion", "build-graph"), ("offline_diffusion", "diffuse")):
        with pytest.raises(SettingError, match=job):
            search(store, SearchConfig(queries_from="collection", method=method))


def test_a_path_that_cannot_be_taken_is_refused_before_anything_is_computed(store):
    for path in ("replicated", "partitioned"):
        with pytest.raises(ValueError, match="shortlist: only on the path truncated"):
            SearchConfig(queries_from="collection", method="diffusion", shortlist=9, path=path)
    for method, path in (("regional_diffusion", "partitioned"), ("global", "truncated")):
        with pytest.raises(ValueError, match=f"path: {path} is for the method"):
            SearchConfig(queries_from="collection", method=method, path=path)
    parts = SearchConfig(queries_from="collection", method="diffusion", path="partitioned", n_parts=3)
    with pytest.raises(SettingError, match="3 parts need 3 slots"):
        search(store, parts)


def test_paths_of_the_solver_give_the_same_answers(store):
    ways = {"replicated": {}, "partitioned": {"n_parts": 2}, "truncated": {"shortlist": 10**6}}
    found = {}
    for path, options in ways.items():
        outcome, rows = ranked(store, method="diffusion", path=path, **EXACT, **options)
        assert outcome.run.notes["path"] == path
        found[path] = rows
    for path in ("partitioned", "truncated"):
        assert found[path]["image_id"].equals(found["replicated"]["image_id"])
        scores = [found[name]["score"].to_numpy() for name in (path, "replicated")]
        np.testing.assert_allclose(*scores, rtol=1e-6, atol=1e-7)


def test_a_search_whose_answers_were_cut_for_want_of_memory_is_done_again_when_there_is_more(store):
    settings = {"queries_from": "collection", "method": "diffusion", "depth": 3}
    few, enough = (SearchConfig(**settings, task_memory=g) for g in (1e-9, 4.0))
    assert few.digest == enough.digest
    for conf, state, path in (
        (few, "committed", "truncated"),
        (few, "unchanged", "truncated"),
        (enough, "committed", "replicated"),
        (enough, "unchanged", "replicated"),
    ):
        outcome = search(store, conf)
        assert outcome.state == state
        assert store.workspace.builds()[outcome.build_id].notes["path"] == path


def test_offline_rows_are_not_taken_for_those_of_another_alpha(store):
    diffuse(store, DiffuseConfig(depth=5, alpha=0.5), Options(name="half"))
    conf = {"queries_from": "collection", "method": "offline_diffusion", "manifold": "half"}
    with pytest.raises(
        SettingError, match=r"alpha: the rows of 'half' were solved with alpha 0\.5, not 0\.8"
    ):
        search(store, SearchConfig(**conf))
    outcome = search(store, SearchConfig(**conf, alpha=0.5, explain=2, depth=4))
    assert store.reader.read(EXPLANATIONS, outcome.build_id).num_rows > 10


def test_a_graph_counts_its_isolated_nodes(store):
    notes = store.workspace.find_build(EDGES, "k8").notes
    nodes = [row["node_id"] for row in store.reader.read(NODES, "k8").to_pylist() if row["dup_of"] is None]
    assert notes["isolated"] == len(set(nodes) - set(store.reader.read(EDGES, "k8")["src"].to_pylist()))


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"spark.master": "local[2]"}, r"spark\.master: 9 parts need 9 slots"),
        ({"spark.dynamicAllocation.enabled": "true"}, r"spark\.dynamicAllocation\.enabled: a barrier stage"),
    ],
)
def test_parts_that_cannot_run_together_are_refused_before_spark_starts(properties, message):
    conf = SearchConfig(queries_from="collection", method="diffusion", path="partitioned", n_parts=9)
    with pytest.raises(SettingError, match=message):
        conf.check_spark(properties)
    SearchConfig(queries_from="collection", method="diffusion", n_parts=9).check_spark(properties)
