import json
import tracemalloc
from collections import deque
from dataclasses import replace
from itertools import pairwise
from threading import BrokenBarrierError

import numpy as np
import pytest

from resight.diffusion.normalize import normalize_affinity
from resight.diffusion.order import arrange_graph
from resight.diffusion.partitioned.halo import build_rank_graph, find_halo
from resight.diffusion.partitioned.parts import load_partitioned_files
from resight.diffusion.partitioned.rank import LANES, RankWork, best_entries
from resight.diffusion.solve import solve_diffusion
from resight.knn.matrix import save_array
from resight.topk import rank_order
from tests.diffusion.graphs import observe_some, patchy_affinity, scattered_affinity
from tests.diffusion.partitioned.ranks import read_scores, run_ranks, save_observed, save_parts

N_PARTS = pytest.mark.parametrize("n_parts", [1, 2, 7, 16])


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
    for f, g in zip(F.T, expected.F.T, strict=True):  # the same nodes first, but for scores that tie
        np.testing.assert_allclose(f[rank_order(g, ids)[:100]], f[rank_order(f, ids)[:100]], rtol=1e-8)
    assert np.abs(steps - expected.iterations).max() <= 1
    assert residuals.max() <= 1e-10
    B = 0.01 * Y[:, :-1]
    true = np.linalg.norm(B - F[:, :-1] + 0.99 * (S @ F[:, :-1]), axis=0) / np.linalg.norm(B, axis=0)
    np.testing.assert_allclose(residuals[:-1], true, rtol=1e-3)


@pytest.mark.parametrize("lanes", [1, 4])
def test_scores_do_not_depend_on_how_many_queries_are_solved_together(S, Y, lanes, tmp_path):
    work, ids = prepare(tmp_path, S, Y, 2)
    found = [
        read_scores(solve(replace(work, lanes=n, folder=str(tmp_path / f"{n}")), 2), ids, Y.shape[1])
        for n in (lanes, LANES)
    ]
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-8, atol=1e-12)
    assert np.abs(found[0][1] - found[1][1]).max() <= 1


@N_PARTS
def test_a_rank_sends_the_halo_of_the_graph_and_no_more(S, Y, n_parts, tmp_path):
    lanes = 4
    work, ids = prepare(tmp_path, S, Y[:, :lanes], n_parts)
    _, steps, _, reports = read_scores(solve(work, n_parts), ids, lanes)
    bounds, is_linked = work.graph.bounds, S.toarray() > 0
    n_bytes = 8 * (count_lanes(steps, lanes) + lanes)  # of a row in all iterations, and in the true residual
    for rank, report in enumerate(map(json.loads, reports)):
        start, stop = bounds[rank], bounds[rank + 1]
        others = [(a, b) for a, b in pairwise(bounds) if a != start]
        needed = sum(int(is_linked[a:b, start:stop].any(axis=0).sum()) for a, b in others)
        assert report["halo_bytes"] == needed * n_bytes
        inside = np.r_[0:start, stop : S.shape[0]]
        assert report["halo"] == is_linked[start:stop][:, inside].any(axis=0).sum()
        assert report["need_bytes"] == 8 * report["halo"]


def count_lanes(steps, lanes):
    """Count the columns that are sent in all iterations: those that move, and zeros up to a power of two."""
    total = 0
    for number in range(1, int(steps.max()) + 1):
        n_moving = int((steps >= number).sum())
        if 2 * n_moving <= lanes:
            lanes = 1 << (n_moving - 1).bit_length()
        total += lanes
    return total


def test_columns_that_have_converged_are_no_longer_sent(S, Y, tmp_path):
    seen = Y[:, :LANES].copy()
    isolated = np.flatnonzero(np.diff(S.indptr) == 0)
    seen[:, 3:] = 0
    seen[isolated[0], 3:] = 1  # solved in one step
    work, ids = prepare(tmp_path, S, seen, 2)
    F, steps, _, reports = read_scores(solve(work, 2), ids, LANES)
    assert (steps[:3] > 20).all()
    assert (steps[3:] <= 1).all()
    np.testing.assert_allclose(F, solve_diffusion(S, seen, tol=1e-10).F, rtol=1e-8, atol=1e-12)
    sent = json.loads(reports[0])["halo_bytes"]
    row = 8 * (count_lanes(steps, LANES) + LANES)
    assert sent % row == 0
    assert row < 0.4 * 8 * LANES * (steps.max() + 1)


@pytest.mark.parametrize("n_parts", [1, 3])
def test_float32_reaches_the_residual_of_float64_and_sends_half(S, Y, n_parts, tmp_path):
    work, ids = prepare(tmp_path, S, Y, n_parts, precision="float32")
    F, steps, residuals, reports = read_scores(solve(work, n_parts), ids, Y.shape[1])
    np.testing.assert_allclose(F, solve_diffusion(S, Y, tol=1e-10).F, rtol=1e-8, atol=1e-12)
    assert residuals.max() <= 1e-10
    (tmp_path / "wide").mkdir()
    wide, _ = prepare(tmp_path / "wide", S, Y, n_parts)
    expected = read_scores(solve(wide, n_parts), ids, Y.shape[1])
    sent = [sum(json.loads(r)["halo_bytes"] for r in rows) for rows in (reports, expected[3])]
    assert sent[0] * expected[1].sum() <= 0.7 * sent[1] * steps.sum()  # for each iteration of a query


def test_only_allowed_nodes_are_given(S, Y, tmp_path):
    work, ids = prepare(tmp_path, S, Y, 2, depth=5)
    some = np.sort(ids[::3])
    name = save_array(str(tmp_path), "allowed", some)
    given = read_scores(solve(replace(work, allowed=(str(tmp_path), name)), 2), ids, Y.shape[1])[0]
    full = np.where(np.isin(ids, some)[:, None], solve_diffusion(S, Y, tol=1e-10).F, 0)
    for j in range(Y.shape[1]):
        assert (given[~np.isin(ids, some), j] == 0).all()
        best = np.sort(full[:, j])[::-1][:5]
        np.testing.assert_allclose(np.sort(given[:, j])[::-1][:5], best, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("n_parts", [2, 3, 7])
def test_opening_a_part_takes_little_more_than_its_share(n_parts, tmp_path):
    S = arrange_graph(normalize_affinity(scattered_affinity(np.random.default_rng(0), 20_000, 12)).S).S
    layout = save_parts(tmp_path, S, n_parts)
    whole = 12 * S.nnz + 8 * S.shape[0]
    assert max(part.nnz for part in layout.parts) - S.nnz / n_parts < np.diff(S.indptr).max()

    def build(exchange):
        return build_rank_graph(layout.open(exchange.rank), layout.bounds, exchange)

    tapes = run_ranks(n_parts, lambda x: record(lambda: build(x), x))
    tracemalloc.start()
    part = layout.open(0)
    graph = build_rank_graph(part, layout.bounds, Replay(tapes[0]))  # this rank's memory alone
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    mapped = sum(array.nbytes for array in part[2:])
    halo = sum(rows.nbytes for _, rows in graph.gives) + 3 * graph.halo.nbytes
    assert peak + mapped <= 1.5 / n_parts * whole + halo + (1 << 16)
    assert graph.n_bytes <= 1.1 / n_parts * whole + halo


@pytest.mark.parametrize("lanes", [1, 4, 16])
def test_a_solving_rank_takes_its_share_and_the_vectors_of_what_is_solved_together(lanes, tmp_path):
    n_parts, n = 2, 20_000
    S = arrange_graph(normalize_affinity(scattered_affinity(np.random.default_rng(0), n, 12)).S).S
    Y = observe_some(np.random.default_rng(1), n, lanes + 2)
    work, _ = prepare(tmp_path, S, Y, n_parts, tol=1e-3, depth=100, lanes=lanes)
    tapes = run_ranks(n_parts, lambda x: record(lambda: deque(work(x), 0), x))
    part, alone = work.graph.open(0), replace(work, folder=str(tmp_path / "alone"))
    tracemalloc.start()
    deque(alone(Replay(tapes[0])), 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    n_halo, n_own = len(find_halo(part)), part.stop - part.start
    vectors = 8 * lanes * (7 * n_own + 3 * n_halo)
    mapped, whole = sum(array.nbytes for array in part[2:]), 12 * S.nnz + 8 * n
    assert peak + mapped <= 1.5 / n_parts * whole + vectors + 32 * n_halo + (1 << 17)


def record(call, exchange):
    """Call for real; give all that came from the other ranks."""
    tape, gather, swap = [], exchange.gather, exchange.swap
    exchange.gather = lambda x: tape.append(gather(x)) or tape[-1]
    exchange.swap = lambda gives, takes: swap(gives, takes) or tape.append([a.copy() for _, a in takes])
    call()
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
