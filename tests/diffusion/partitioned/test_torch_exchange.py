import multiprocessing
from functools import partial

import numpy as np
import pytest

from resight.diffusion.normalize import normalize_affinity
from resight.diffusion.order import arrange_graph
from resight.diffusion.partitioned.rank import RankWork
from resight.diffusion.partitioned.torch_exchange import join_group
from resight.diffusion.solve import solve_diffusion
from tests.diffusion.graphs import observe_some, patchy_affinity
from tests.diffusion.partitioned.ranks import read_scores, save_observed, save_parts

N = 3


def share_texts(text, *, rank, texts, barrier):
    """Give a text to all processes."""
    texts[rank] = text
    barrier.wait()
    return [texts[q] for q in range(N)]


def solve_rank(rank, work, texts, barrier, found):
    share = partial(share_texts, rank=rank, texts=texts, barrier=barrier)
    with join_group(rank, N, "127.0.0.1", share) as exchange:
        gathered = exchange.gather(np.array([rank, 7]))
        found[rank] = (gathered, list(work(exchange)), exchange.sent)


@pytest.mark.slow
def test_processes_that_talk_by_gloo_solve_what_one_machine_does(tmp_path):
    S = arrange_graph(normalize_affinity(patchy_affinity(np.random.default_rng(0))).S).S
    Y, ids = observe_some(np.random.default_rng(1), S.shape[0], 5), np.arange(S.shape[0])
    layout = save_parts(tmp_path / "graph", S, N, ids)
    observed = save_observed(tmp_path / "observed", Y, ids)
    work = RankWork(layout, observed, str(tmp_path / "keep"), alpha=0.99, tol=1e-10, limit=999, depth=10**6)
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        shared = (work, manager.dict(), context.Barrier(N), manager.dict())
        ranks = [context.Process(target=solve_rank, args=(rank, *shared)) for rank in range(N)]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
        found = [shared[-1][rank] for rank in range(N)]
    F = read_scores([batch for _, batches, _ in found for batch in batches], ids, 5)[0]
    np.testing.assert_allclose(F, solve_diffusion(S, Y, tol=1e-10).F, rtol=1e-8, atol=1e-12)
    assert all(gathered.tolist() == [[0, 7], [1, 7], [2, 7]] for gathered, _, _ in found)
    assert sum(sent for _, _, sent in found) > 0
