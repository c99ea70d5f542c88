import json
import tracemalloc
from itertools import pairwise
from threading import BrokenBarrierError

import numpy as np
import pytest

from resight.diffusion.normalize import normalize_affinity
from resight.diffusion.order import arrange_graph
from resight.diffusion.partitioned.halo import build_rank_graph
from resight.diffusion.partitioned.parts import load_partitioned_files
from resight.diffusion.partitioned.rank import LANES, RankWork, best_entries
from resight.diffusion.solve import solve_diffusion
from tests.diffusion.graphs import observe_some, patchy_affinity, scattered_affinity
from tests.diffusion.partitioned.ranks import read_scores, run_ranks, save_observed, save_parts

N_PARTS = pytest.mark.parametrize("n_parts", [1, 2, 3, 7])


@pytest.fixture(scope="module", name="S")
def draw_graph():
    return arrange_graph(normalize_affinity(patchy_affinity(np.random.default_rng(0))).S).S


@pytest.fixture(scope="module", name="Y")
def observe(S):
    return observe_some(np.random.default_rng(1), S.shape[0], LANES + 4)  # two blocks, a zero column


def prepare(folder, S, Y, n_parts, **options):
    ids = np.arange(S.shape[0])[::-1] * 7
    layout = save_parts(folder / "graph", S, n_parts, ids)
    observed = save_observed(folder / "observed", Y, ids)
    given = {"alpha": 0.99, "tol": 1e-10, "limit": 1000, "depth": 10**9} | options
    return RankWork(layout, observed, str(folder / "keep"), **given), ids


def solve(work, n_parts, **options):
    found = run_ranks(n_parts, lambda exchange: list(work(exchange)), **options)
    return [batch for batches in found for batch in batches]


@N_PARTS
def test_scores_equal_those_of_one_machine(S, Y, n_parts, tmp_path):
    work, ids = prepare(tmp_path, S, Y, n_parts)
    F, steps, residuals, _ = read_scores(solve(work, n_parts), ids, Y.shape[1])
    expected = solve_diffusion(S, Y, tol=1e-10)
    np.testing.assert_allclose(F, expected.F, rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(F == 0, expected.F == 0)
    assert np.abs(steps - expected.iterations).max() <= 1
    assert residuals.max() <= 1e-10
    B = 0.01 * Y[:, :-1]
    true = np.linalg.norm(B - F[:, :-1] + 0.99 * (S @ F[:, :-1]), axis=0) / np.linalg.norm(B, axis=0)
    np.testing.assert_allclose(residuals[:-1], true, rtol=1e-3)


@N_PARTS
def test_a_rank_sends_the_halo_of_the_graph_and_no_more(S, Y, n_parts, tmp_path):
    lanes = 4
    work, ids = prepare(tmp_path, S, Y[:, :lanes], n_parts)
    _, steps, _, reports = read_scores(solve(work, n_parts), ids, lanes)
    bounds, is_linked = work.graph.bounds, S.toarray() > 0
    swaps = int(steps.max()) + 1  # one per iteration, one for the true residual
    for rank, report in enumerate(map(json.loads, reports)):
        start, stop = bounds[rank], bounds[rank + 1]
        others = [(a, b) for a, b in pairwise(bounds) if a != start]
        needed = sum(int(is_linked[a:b, start:stop].any(axis=0).sum()) for a, b in others)
        assert report["halo_bytes"] == needed * lanes * 8 * swaps
        inside = np.r_[0:start, stop : S.shape[0]]
        assert report["halo"] == is_linked[start:stop][:, inside].any(axis=0).sum()
        assert report["need_bytes"] == 8 * report["halo"]


@pytest.mark.parametrize("n_parts", [2, 3, 7])
def test_opening_a_part_takes_little_more_than_its_share(n_parts, tmp_path):
    S = arrange_graph(normalize_affinity(scattered_affinity(np.random.default_rng(0), 20_000, 12)).S).S
    layout = save_parts(tmp_path, S, n_parts)
    whole = 12 * S.nnz + 8 * S.shape[0]
    assert max(part.nnz for part in layout.parts) - S.nnz / n_parts < np.diff(S.indptr).max()
    tapes = run_ranks(n_parts, lambda x: record(layout, x))
    tracemalloc.start()
    part = layout.open(0)
    graph = build_rank_graph(part, layout.bounds, Replay(tapes[0]))  # this rank's memory alone
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    mapped = sum(array.nbytes for array in part[2:])
    halo = sum(rows.nbytes for _, rows in graph.gives) + 3 * graph.halo.nbytes
    assert peak + mapped <= 1.5 / n_parts * whole + halo + (1 << 16)
    assert graph.n_bytes <= 1.1 / n_parts * whole + halo


def record(layout, exchange):
    """Open a part for real; give all that came from the other ranks."""
    tape, gather, swap = [], exchange.gather, exchange.swap
    exchange.gather = lambda x: tape.append(gather(x)) or tape[-1]
    exchange.swap = lambda gives, takes: swap(gives, takes) or tape.append([array for _, array in takes])
    build_rank_graph(layout.open(exchange.rank), layout.bounds, exchange)
    return tape


class Replay:
    """Rank 0 of an exchange that is over."""

    rank, sent = 0, 0

    def __init__(self, tape):
        self.tape = iter(tape)
        self.size = len(tape[0])

    def gather(self, _):
        return next(self.tape)

    def swap(self, _, takes):
        for (_, array), found in zip(takes, next(self.tape), strict=True):
            np.copyto(array, found)


class Killed(BaseException):
    """Stands for the death of a process."""


def dying(exchange, rank, after):
    """Let ``rank`` die at its swap number ``after``; count the swaps of all."""
    swap, exchange.swaps = exchange.swap, 0

    def count(gives, takes):
        exchange.swaps += 1
        if exchange.rank == rank and exchange.swaps == after:
            raise Killed
        swap(gives, takes)

    exchange.swap = count
    return exchange


@pytest.mark.parametrize("after", [3, 60])
def test_what_starts_again_goes_on_from_the_last_iterate_that_all_have(S, Y, after, tmp_path):
    undisturbed, ids = prepare(tmp_path, S, Y, 3, every=10)
    seen = []
    counting = {"wrap": lambda x: seen.append(x) or dying(x, -1, 0)}
    whole = read_scores(solve(undisturbed, 3, **counting), ids, Y.shape[1])
    n_swaps = seen[0].swaps
    (tmp_path / "again").mkdir()
    work, _ = prepare(tmp_path / "again", S, Y, 3, every=10)
    with pytest.raises((Killed, BrokenBarrierError)):
        solve(work, 3, wrap=lambda x: dying(x, 1, after))
    seen.clear()
    found = read_scores(solve(work, 3, **counting), ids, Y.shape[1])
    for a, b in zip(found[:3], whole[:3], strict=True):
        np.testing.assert_array_equal(a, b)
    repeated = after - 1 + seen[0].swaps - n_swaps
    assert repeated <= 10 + 2  # the needs are exchanged again, and the iterations since the last iterate


def test_the_best_nodes_of_a_rank_hold_all_that_tie_with_the_last():
    f = np.array([0.0, 3, 1, 2, 2, 2, 0, -1])
    assert best_entries(f, 2).tolist() == [1, 3, 4, 5]
    assert best_entries(f, 100).tolist() == [1, 2, 3, 4, 5, 7]


def test_the_list_of_parts_is_read_back_as_it_was(S, tmp_path):
    layout = save_parts(tmp_path, S, 3)
    assert load_partitioned_files(str(tmp_path)) == layout
    assert np.concatenate([layout.open(i).ids for i in range(3)]).tolist() == list(
        range(0, 7 * S.shape[0], 7)
    )
