import numpy as np
import pytest

from resight.diffusion import block
from resight.diffusion.block import DiffuseWork
from resight.graph.matrix import save_graph
from tests.diffusion.planted_curves import affinity_of, draw_curves, solve_dense


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    drawn = draw_curves(np.random.default_rng(2), n_curves=4, n_points=25, sigma=0.3, arc=3, n_distractors=20)
    A = affinity_of(drawn.X, 8).tocoo()
    n = A.shape[0]
    order = np.lexsort((A.col, A.row))
    edges = A.row[order], A.col[order], A.data[order]
    return save_graph(str(tmp_path_factory.mktemp("graph")), np.arange(n), np.zeros(n, np.int64), edges)


def test_the_share_that_lists_keep_is_that_of_a_dense_solve_for_any_number_solved_together(
    graph, monkeypatch
):
    work = DiffuseWork(graph, "v", alpha=0.9, shortlist=6, depth=6, max_iter=200, tol=1e-12)
    opened, seeds = graph.open(), np.arange(0, graph.n, 7)
    F = solve_dense(opened.S, np.eye(graph.n)[:, seeds], 0.9)
    rows, expected = work.diffuse(seeds), []
    for f, dst in zip(F.T, rows["dst"], strict=True):
        best = np.lexsort((opened.ids, -f))[: min(5, (f > 1e-12).sum())]
        kept = np.frombuffer(dst.as_buffer(), np.int64)[: len(best)]
        expected.append(np.isin(opened.ids[best], kept).mean())
    assert 0.3 < np.mean(expected) < 1
    for n_together in (1, 3, graph.n):
        monkeypatch.setattr(block, "MEASURE_BYTES", 8 * graph.n * n_together)
        np.testing.assert_allclose(work.measure(seeds, k=5), expected)
    assert work.measure(seeds[:0]).shape == (0,)
