"""The reader without Spark, on collections that were committed without Spark."""

import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import resight
from resight.config import SettingError
from resight.diffusion.explain import explain_result
from resight.graph.matrix import save_graph
from resight.search.locate import check_alpha
from resight.search.rank import answer_queries
from resight.search.settings import SearchSettings
from resight.tables import IMAGES, MANIFOLD_NEIGHBORS
from resight.workspace import Workspace
from tests.search.committed import commit, commit_collection, commit_groups
from tests.synthetic import planted, unit

METHODS = ["global", "alpha_qe", "diffusion"]


def draw(seed, d=16):
    rng = np.random.default_rng(seed)
    vectors = planted(rng, k=8, m=8, n_distractors=20, n_copies=12, d=d).vectors
    return rng.permutation(10 * len(vectors))[: len(vectors)].astype(np.int64), vectors


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("w")
    ids, vectors = draw(3)
    workspace = commit_collection(folder, ids, vectors)
    commit_groups(workspace, 9, [np.sort(ids)[[4, 7, 2]].tolist(), np.sort(ids)[[5, 6]].tolist()])
    return str(folder)


@pytest.fixture(scope="module")
def opened(root):
    return resight.open(root)


def open_files(searcher):
    return searcher.moment.open(SearchSettings(method="diffusion")).collection


def rank_lists(results, column="image_id"):
    rows = results.to_pydict()
    found = {}
    for query, value in zip(rows["query"], rows[column], strict=True):
        found.setdefault(query, []).append(value)
    return found


@pytest.mark.parametrize("method", METHODS)
def test_ids_are_answered_as_the_kernel_ranks_them(opened, method):
    collection = open_files(opened)
    own = np.array([3, 40, 71])
    ids = collection.X.id_of(own)
    settings = SearchSettings(method=method, depth=7)
    expected = answer_queries(collection.X.gather(own), own, collection, settings)
    found = opened.search(ids.tolist(), method=method, depth=7)
    lists, scores = rank_lists(found.results), rank_lists(found.results, "score")
    for i, answer in enumerate(expected):
        assert lists[i] == collection.X.id_of(answer.ordinals).tolist()
        np.testing.assert_allclose(scores[i], answer.scores, rtol=1e-6)
    assert found.results["uri"].to_pylist() == [f"{i}.jpg" for i in found.results["image_id"].to_pylist()]
    assert found.results["rank"].to_pylist() == 3 * list(range(7))
    assert found.results["region_ix"].null_count == 21
    assert found.queries["status"].to_pylist() == ["ok"] * 3


def test_vectors_of_any_length_are_scaled_and_bad_queries_are_rows_with_a_status(opened):
    X = open_files(opened).X
    v = X.gather(np.array([8]))[0].astype(np.float64)
    bad = [v, np.zeros(16), 3 * v, np.full(16, np.nan), -1]
    found = opened.search(bad, depth=5)
    assert found.queries["status"].to_pylist() == ["ok", "zero", "ok", "nan", "missing"]
    lists = rank_lists(found.results)
    assert sorted(lists) == [0, 2]
    assert lists[0] == lists[2]
    rows = opened.search(np.stack([v, 3 * v]), depth=5)
    assert [*rank_lists(rows.results).values()] == [lists[0], lists[0]]
    assert not len(opened.search([], depth=5).results)
    with pytest.raises(ValueError, match="expected a vector of 16 dimensions"):
        opened.search(np.ones(8))


@pytest.mark.parametrize("depth", [5, "all"])
@pytest.mark.parametrize("method", METHODS)
def test_a_filter_keeps_the_order_of_the_whole_ranking_and_fills_the_depth(opened, method, depth):
    X = open_files(opened).X
    queries = [int(X.id_of(np.array([8]))[0]), *unit(X.gather(np.array([3, 50])) + 0.05)]
    full = rank_lists(opened.search(queries, method=method, depth="all", tol=1e-12).results)
    filter = ["format=png", "split=train", "split=dev"]
    some = opened.search(queries, method=method, depth=depth, filter=filter, tol=1e-12)
    for query, ids in rank_lists(some.results).items():
        wanted = [i for i in full[query] if i % 2 == 0 and i % 3]
        assert len(wanted) > 20
        assert ids == wanted[: None if depth == "all" else depth]


@pytest.mark.parametrize("method", METHODS)
def test_a_filter_that_allows_few_or_none_gives_what_there_is(opened, method):
    ids = open_files(opened).X.id_of(np.arange(3)).tolist()
    found = opened.search(ids[0], method=method, filter={"uri": [f"{i}.jpg" for i in ids]})
    assert sorted(found.results["image_id"].to_pylist()) == sorted(ids[1:])
    found = opened.search(ids[0], method=method, filter={"image_id": ids[1:], "width": [640, 641]})
    assert found.results["image_id"].to_pylist() == [i for i in ids[1:] if i % 3]
    nothing = opened.search(ids[0], method=method, filter={"no column": "x"})
    assert not len(nothing.results)
    with pytest.raises(SettingError, match="filter: 'png' is not of the form"):
        opened.search(ids[0], filter="png")
    for wrong in ("taken_at=2026-01-01", {"sharpness": 3}, {"extra": "x"}):
        with pytest.raises(SettingError, match=r"filter: \w+ holds .*; only texts and whole numbers"):
            opened.search(ids[0], filter=wrong)


def test_neighbours_and_groups_are_those_of_the_tables(opened, root):
    ids = open_files(opened).X.id_of(np.arange(8)).tolist()
    near = opened.neighbors(f"{ids[3]}.jpg").to_pylist()
    assert [row["image_id"] for row in near] == [ids[3], ids[3]]
    assert near[1] == {"rank": 1, "image_id": ids[3], "uri": f"{ids[3]}.jpg", "similarity": 1.0}
    group = opened.group(ids[2]).to_pylist()
    assert [row["image_id"] for row in group] == [ids[4], ids[2], ids[7]]
    assert [row["keep"] for row in group] == [True, False, False]
    assert (group[1]["uri"], group[1]["reason"]) == (f"{ids[2]}.jpg", "smaller")
    assert not len(opened.group(ids[0]))
    with pytest.raises(SettingError, match=r"0 images have the uri 'x.jpg'"):
        opened.neighbors("x.jpg")


def test_a_chain_leads_from_the_query_to_the_image_over_edges(opened):
    collection = open_files(opened)
    query = collection.X.id_of(np.array([10]))[0]
    n_longer = 0
    for image in opened.search(query, method="diffusion", depth=12).results["image_id"].to_pylist():
        hops = opened.explain(query, image)
        n_longer += len(hops) > 1
        if len(hops):
            src, dst = hops["src"].to_pylist(), hops["dst"].to_pylist()
            assert src == [None, *dst[:-1]]
            assert dst[-1] == image
            assert query not in dst
            np.testing.assert_allclose(hops["product"], np.cumprod(hops["affinity"]))
    assert n_longer >= 2


def test_an_explanation_reads_only_the_rows_it_comes_by(tmp_path):
    n = 40_000
    ring = np.arange(n), (np.arange(n) + 1) % n
    both = [np.concatenate(ends) for ends in (ring, ring[::-1])]
    order = np.lexsort(both[::-1])
    edges = both[0][order], both[1][order], np.full(2 * n, 0.9)
    graph = save_graph(str(tmp_path), np.arange(n), np.zeros(n, np.int64), edges).open()
    start, target = graph.place_of(np.array([100, 104]))
    tracemalloc.start()
    path = explain_result(graph.row, np.array([start]), np.array([1.0]), int(target))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.asarray(graph.ids)[path.dst].tolist() == [100, 101, 102, 103, 104]
    np.testing.assert_allclose(path.affinity[1:], 0.9)
    assert peak < 100_000 < graph.S.data.nbytes


def test_newer_runs_are_seen_when_asked_for(tmp_path):
    ids, vectors = draw(1)
    commit_collection(tmp_path, ids, vectors)
    opened = resight.open(str(tmp_path))
    before = opened.search(int(ids[0]), depth="all").results
    commit_collection(tmp_path, ids[:-5], vectors[:-5], first=11)
    assert opened.search(int(ids[0]), depth="all").results.equals(before)
    assert opened.tables.read(IMAGES).num_rows == len(ids)
    opened.refresh()
    after = opened.search(int(ids[0]), depth="all").results
    assert set(before["image_id"].to_pylist()) - set(after["image_id"].to_pylist()) == set(ids[-5:].tolist())


def test_threads_share_one_reader(root):
    opened = resight.open(root)
    ids = open_files(resight.open(root)).X.id_of(np.arange(24)).tolist()
    tasks = [(i, method, f"format={kind}") for i in ids for method in METHODS for kind in ("png", "jpeg")]

    def ask(task):
        query, method, filter = task
        if query == ids[7]:
            opened.refresh()
        return opened.search(query, method=method, filter=filter, depth=9).results

    alone = [resight.open(root).search(q, method=m, filter=f, depth=9).results for q, m, f in tasks[::5]]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, tasks))
    assert all(a.equals(b) for a, b in zip(alone, together[::5], strict=True))


def test_files_that_no_job_has_written_yet_are_named_with_the_job(tmp_path):
    ids, vectors = draw(1)
    workspace = commit_collection(tmp_path, ids, vectors)
    with pytest.raises(SettingError, match="table 'manifold_neighbors' is missing"):
        resight.open(str(tmp_path)).search(int(ids[0]), method="offline_diffusion")
    (tmp_path / "shards/edges-build-graph/v3/graph.json").unlink()
    opened = resight.open(workspace.root)
    assert len(opened.search(int(ids[0])).results) == len(ids) - 1
    with pytest.raises(SettingError, match="resight diffuse"):
        opened.search(int(ids[0]), method="diffusion")
    with pytest.raises(SettingError, match="no workspace"):
        resight.open(str(tmp_path / "nothing"))


def test_it_needs_neither_spark_nor_a_network(root):
    program = (
        "import sys; sys.modules['pyspark'] = None; import resight; assert 'numpy' not in sys.modules;"
        f"s = resight.open({root!r}); f = s.search([1, 2, 3, 4, 5], method='diffusion');"
        "assert 'torch' not in sys.modules; print(len(f.queries))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "5\n"


def test_imported_vectors_have_no_recipe_for_pictures(opened, tmp_path):
    with pytest.raises(SettingError, match="made elsewhere"):
        opened.search(tmp_path / "a.jpg")


def test_a_search_says_which_setting_is_wrong(opened):
    for wrong, message in (
        ({"method": "best"}, "method"),
        ({"depth": 0}, "depth"),
        ({"explain": 3, "method": "diffusion"}, "explain"),
        ({"speed": 3}, "speed: unknown setting"),
    ):
        with pytest.raises(SettingError, match=message):
            opened.search(1, **wrong)


def test_a_refresh_stays_with_what_can_be_searched_until_the_files_of_the_newer_runs_are_there(tmp_path):
    ids, vectors = draw(1)
    commit_collection(tmp_path, ids, vectors)
    opened = resight.open(str(tmp_path))
    assert opened.refresh() == ""
    commit_collection(tmp_path, ids[:-5], vectors[:-5], first=11)
    hidden = tmp_path / "shards/edges-build-graph/v13/graph.json"
    hidden.rename(hidden.with_suffix(".later"))
    assert "`resight diffuse` writes them" in opened.refresh()
    for method in METHODS:
        found = opened.search(int(ids[0]), method=method, depth="all")
        assert len(found.results) == len(ids) - 1
    hidden.with_suffix(".later").rename(hidden)
    assert opened.refresh() == ""
    assert len(opened.search(int(ids[0]), depth="all").results) == len(ids) - 6


def test_rows_of_another_alpha_are_refused(tmp_path):
    workspace = Workspace.open(str(tmp_path), "parquet", create=True)
    run = commit(workspace, 1, "diffuse", {MANIFOLD_NEIGHBORS: {}}, settings={"alpha": 0.99})
    settings = SearchSettings(method="offline_diffusion", alpha=0.99)
    check_alpha(settings, run)
    with pytest.raises(SettingError, match=r"alpha: the rows of 'diffuse' .* alpha 0.99, not 0.8"):
        check_alpha(SearchSettings(method="offline_diffusion"), run)
