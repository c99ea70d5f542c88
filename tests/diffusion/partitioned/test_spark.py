import json

import numpy as np
import pytest
import scipy.sparse as sp

from resight.config import SettingError
from resight.diffusion.normalize import normalize_affinity
from resight.diffusion.partitioned.parts import load_partitioned_files
from resight.diffusion.partitioned.rank import RankWork
from resight.diffusion.partitioned.rows import PartedRows
from resight.diffusion.partitioned.spark import FOUND, explain_refusal, list_reports, run_ranks, solve_ranks
from resight.diffusion.partitioned.storage.spark import write_partitioned_files
from resight.diffusion.solve import solve_diffusion
from resight.graph.matrix import load_graph_files
from resight.graph.storage.spark import write_graph_files
from resight.knn.spark import number_tasks
from tests.diffusion.graphs import observe_some
from tests.diffusion.partitioned import ranks
from tests.diffusion.partitioned.tables import graph_tables, save_planted, watched


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return save_planted(tmp_path_factory.mktemp("collection"))


@pytest.fixture(scope="module")
def tables(spark, made):
    return graph_tables(spark, *made)


@pytest.fixture(scope="module")
def halves(tables, tmp_path_factory):
    return write_partitioned_files(tables, str(tmp_path_factory.mktemp("halves")), n_parts=2)


@pytest.fixture(scope="module")
def sevenths(tables, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("sevenths"))
    return write_partitioned_files(tables, folder, n_parts=7, max_task_edges=150, piece_nodes=30)


@pytest.fixture(scope="module")
def joined(tables, tmp_path_factory):
    folder = tmp_path_factory.mktemp("joined")
    layout = write_partitioned_files(tables, str(folder), n_parts=2, max_task_edges=60)
    assert not (folder / "finer").exists()
    return layout


@pytest.fixture(params=["halves", "sevenths", "joined"])
def layout(request):
    return request.getfixturevalue(request.param)


def read_graph(layout):
    """Put the parts together: ids by ordinal and S (n, n)."""
    parts = [layout.open(i) for i in range(len(layout.parts))]
    rows = [sp.csr_array((p.data, p.indices, p.indptr), shape=(len(p.ids), layout.n)) for p in parts]
    return np.concatenate([p.ids for p in parts]), sp.vstack(rows).tocsr()


def test_the_parts_hold_the_normalised_graph_of_all_nodes(layout, made):
    ids, S = read_graph(layout)
    assert sorted(ids) == sorted(made[1])
    at = np.searchsorted(made[1], ids)
    expected = normalize_affinity(sp.csr_array(made[2])).S.toarray()[np.ix_(at, at)]
    np.testing.assert_allclose(S.toarray(), expected, rtol=1e-14)  # degrees are summed in another order
    assert (S != S.T).nnz == 0
    assert layout.nnz == S.nnz
    assert load_partitioned_files(layout.folder) == layout


def test_the_parts_joined_are_the_files_of_the_whole_graph(tables, made, tmp_path):
    whole, joined = (
        write_graph_files(*tables, str(tmp_path / name), max_edges=limit, max_task_edges=150).open()
        for name, limit in (("whole", 10**6), ("joined", 150))
    )
    at = np.asarray(joined.place_of(whole.ids))
    np.testing.assert_array_equal(joined.ids[at], whole.ids)
    S = joined.S[at][:, at].sorted_indices()
    np.testing.assert_array_equal(S.indices, whole.S.indices)
    np.testing.assert_allclose(S.data, whole.S.data, rtol=1e-14)  # degrees are summed in another order
    np.testing.assert_allclose(joined.degrees[at], whole.degrees, rtol=1e-14)
    assert {path.suffix for path in (tmp_path / "joined").iterdir()} == {".npy", ".json"}
    assert load_graph_files(str(tmp_path / "joined")).nnz == (made[2] > 0).sum()


def test_single_rows_hold_the_affinity(layout, made):
    rows, ids = PartedRows(layout), np.asarray(made[1])
    ordinals = rows.find(np.append(ids, -7))
    assert ordinals[-1] == -1
    assert sorted(ordinals[:-1]) == list(range(layout.n))
    np.testing.assert_array_equal(rows.ids_of(ordinals[:-1]), ids)
    for i in range(0, len(ids), 5):
        found = np.zeros(layout.n)
        neighbors, affinities = rows.row(int(ordinals[i]))
        found[neighbors] = affinities
        np.testing.assert_allclose(found[ordinals[:-1]], made[2][i], rtol=1e-12)


def test_parts_are_about_equal_and_neighbours_are_close(layout):
    S = read_graph(layout)[1]
    cost = np.array([part.nnz + 4 * (part.stop - part.start) for part in layout.parts])
    heaviest = np.diff(S.indptr).max() + 4
    assert np.abs(cost - cost.mean()).max() <= heaviest
    coo, random = S.tocoo(), np.random.default_rng(0).permutation(layout.n)
    distance = np.abs(coo.row - coo.col).mean()
    assert distance < 0.3 * np.abs(random[coo.row] - random[coo.col]).mean()


def test_components_come_one_after_the_other(layout):
    ids, S = read_graph(layout)
    label = sp.csgraph.connected_components(S, directed=False)[1]
    assert (np.diff(label) != 0).sum() == label.max()
    firsts = [ids[label == i].min() for i in dict.fromkeys(label)]
    assert firsts == sorted(firsts)


def make_work(folder, layout, ids, Y, every=10):
    observed = ranks.save_observed(folder / "observed", Y, ids)
    given = {"alpha": 0.99, "tol": 1e-10, "limit": 1000, "depth": 10**9, "every": every}
    return RankWork(layout, observed, str(folder / "iterates"), **given)


def test_seven_parts_give_the_scores_of_one_machine(sevenths, tmp_path):
    ids, S = read_graph(sevenths)
    Y = observe_some(np.random.default_rng(1), sevenths.n, 5)
    work = make_work(tmp_path, sevenths, ids, Y)
    found = ranks.run_ranks(7, lambda exchange: list(work(exchange)))
    F = ranks.read_scores([batch for batches in found for batch in batches], ids, 5)[0]
    np.testing.assert_allclose(F, solve_diffusion(S, Y, tol=1e-10).F, rtol=1e-8, atol=1e-12)


def test_a_stage_whose_rank_is_killed_goes_on_and_opens_only_its_own_files(spark, halves, tmp_path):
    ids, S = read_graph(halves)
    Y = observe_some(np.random.default_rng(1), halves.n, 5)
    work = make_work(tmp_path, halves, ids, Y)
    log = tmp_path / "log"
    log.mkdir()
    found = solve_ranks(spark, 2, watched(work, str(log), victim=1, after=24), str(tmp_path / "found"))
    F, steps, _, _ = ranks.read_scores(found.toArrow().to_batches(), ids, 5)
    np.testing.assert_allclose(F, solve_diffusion(S, Y, tol=1e-10).F, rtol=1e-8, atol=1e-12)
    assert (log / "died").exists()
    swaps = [sum(len(p.read_text()) for p in log.glob(f"{rank}-*.swaps")) for rank in (0, 1)]
    needed = int(steps.max()) + 3  # the needs, twice, and the true residual
    assert needed < swaps[1] <= needed + 10 < needed + 22
    for rank, part in enumerate(halves.parts):
        opened = "\n".join(path.read_text() for path in log.glob(f"{rank}-*.opened"))
        assert all((name in opened) == (array != "roots") for array, name in part.names)
        others = [name for _, name in halves.parts[1 - rank].names]
        assert not any(name in opened for name in others)
    reports = list(map(json.loads, list_reports(found)))
    assert [report["rows"] for report in reports] == np.diff(halves.bounds).tolist()


def test_too_few_slots_are_a_setting_error_before_and_during_the_stage(spark):
    with pytest.raises(SettingError, match=r"spark\.master: 3 parts need 3 slots"):
        run_ranks(spark, 3, iter, FOUND)
    with pytest.raises(Exception, match="SPARK-24819") as refused:
        number_tasks(spark, 3).mapInArrow(lambda batches: batches, "id long", barrier=True).collect()
    assert isinstance(explain_refusal(refused.value, 3, spark), SettingError)
