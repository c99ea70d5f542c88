"""One iteration of diffusion: the graph in parts on several processes against the whole graph in one.

The graph is that of ``solver.py``, in our order, cut into parts of equally many edges. *Partitioned*: a
process per part, one thread each, halos exchanged by gloo; *replicated*: one process that maps the whole
graph, on one thread and on as many as there are parts. All solve the same block of queries to the same
residual, in turn; a line gives milliseconds per iteration (median of the pairs), the ratio with its range,
and the bytes that all ranks together send per iteration next to the halo's rows; the last, what a rank
takes at most. It is bounded by 1.5 times its share of the graph, and for each query seven numbers for a row
and three for one of its halo; the first line gives the share and the vectors. Run on a quiet machine::

    python benchmarks/partitioned.py
    python benchmarks/partitioned.py --n 1000000 --parts 2 --pairs 5
"""

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from solver import ALPHA, draw_graph, draw_observations

from resight.diffusion.order import arrange_graph
from resight.diffusion.partitioned.halo import build_rank_graph
from resight.diffusion.partitioned.keep import Keep
from resight.diffusion.partitioned.parts import PartitionedFiles, cut_ordinals, save_rows
from resight.diffusion.partitioned.solve import Entries, RankSystem, solve_block
from resight.diffusion.partitioned.torch_exchange import join_group
from resight.diffusion.product import Passes
from resight.diffusion.solve import solve_diffusion


def save_parts(folder, S, n_parts):
    """Write S in parts of about equally many entries."""
    n, counts = S.shape[0], np.diff(S.indptr).astype(np.float64)
    targets = counts.sum() * np.arange(1, n_parts) / n_parts
    bounds = [0, *cut_ordinals(counts, targets, 0, 0.0).tolist(), n]
    parts = []
    for start, stop in pairwise(bounds):
        own = slice(S.indptr[start], S.indptr[stop])
        rows = np.repeat(np.arange(start, stop), np.diff(S.indptr[start : stop + 1]))
        entries = (rows, S.indices[own].astype(np.int64), S.data[own])
        nodes = np.arange(start, stop), np.ones(stop - start)
        parts.append(save_rows(folder, (start, stop), nodes, entries))
    return PartitionedFiles(folder, n, S.nnz, tuple(parts))


def solve_rank(rank, layout, Y, options, shared):
    """Be one rank: solve the block whenever all are ready; rank 0 reports seconds and iterations."""
    texts, barrier, reports = shared

    def share(text):
        texts[rank] = text
        barrier.wait()
        return [texts[q] for q in range(options.parts)]

    with join_group(rank, options.parts, "127.0.0.1", share) as exchange:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        part = layout.open(rank)
        graph = build_rank_graph(part, layout.bounds, exchange)
        y = Y[part.start : part.stop].tocoo()
        B = Entries(y.row, y.col, y.data * (1 - ALPHA), y.shape)
        with Passes(graph.S) as passes:
            system = RankSystem(graph, passes, passes, exchange, ALPHA, options.tol, 1000)
            for _ in range(options.pairs + 1):  # the first compiles
                barrier.wait()
                begun, sent = time.perf_counter(), exchange.sent
                _, steps, residuals = solve_block(system, B, 0, Keep("", rank, 0))
                seconds = time.perf_counter() - begun
                taken = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
                figures = (exchange.sent - sent, len(graph.halo), taken)
                reports.put((rank, seconds, int(steps.max()), *figures))
                assert residuals.max() <= options.tol


def time_whole(S, Y, options, threads):
    """Give seconds per iteration of the whole graph in this process."""
    begun = time.perf_counter()
    solution = solve_diffusion(S, Y, alpha=ALPHA, tol=options.tol, threads=threads)
    return (time.perf_counter() - begun) / solution.iterations.max()


def describe_ratio(theirs, ours):
    """Median of the pairs' ratios with their range."""
    ratios = sorted(a / b for a, b in zip(theirs, ours, strict=True))
    return f"{statistics.median(ratios):.2f} x [{ratios[0]:.2f}, {ratios[-1]:.2f}]"


def compare(S, Y, layout, options):
    """Run both sides in turn and print a line for each."""
    context = multiprocessing.get_context("spawn")
    barrier, reports = context.Barrier(options.parts + 1), context.Queue()
    with context.Manager() as manager:
        shared = (manager.dict(), barrier, reports)
        arguments = [(rank, layout, Y.tocsr(), options, shared) for rank in range(options.parts)]
        ranks = [context.Process(target=solve_rank, args=given) for given in arguments]
        for process in ranks:
            process.start()
        barrier.wait()  # the ranks tell each other where they are
        times = {"partitioned": [], "one": [], "many": []}
        for _ in range(options.pairs + 1):
            barrier.wait()
            found = [reports.get() for _ in ranks]
            times["partitioned"].append(max(seconds for _, seconds, *_ in found) / found[0][2])
            times["one"].append(time_whole(S, Y, options, 1))
            times["many"].append(time_whole(S, Y, options, options.parts))
        for process in ranks:
            process.join()
    times = {name: seconds[1:] for name, seconds in times.items()}
    report(times, found, options)


def report(times, found, options):
    """Print the figures."""
    ms = {name: 1e3 * statistics.median(seconds) for name, seconds in times.items()}
    n_swaps = found[0][2] + 1  # the true residual is one more
    sent, halo = sum(row[3] for row in found) / n_swaps, sum(row[4] for row in found)
    print(
        f"per iteration of {options.queries} queries: {options.parts} parts {ms['partitioned']:.1f} ms, "
        f"sending {sent / 1e6:.2f} MB ({halo} halo rows x {8 * options.queries} bytes)\n"
        f"  whole graph, one thread {ms['one']:.1f} ms, "
        f"{describe_ratio(times['one'], times['partitioned'])}\n"
        f"  whole graph, {options.parts} threads {ms['many']:.1f} ms, "
        f"{describe_ratio(times['many'], times['partitioned'])}, {options.pairs} pairs\n"
        f"  a rank takes {max(row[5] for row in found) / 1e6:.0f} MB",
        flush=True,
    )


def main():
    """Draw the graph, cut it, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--parts", type=int, default=2)
    parser.add_argument("--queries", type=int, default=16, help="solved together: a power of two up to 16")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--tol", type=float, default=1e-6)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    S = arrange_graph(draw_graph(options.n, rng)).S
    Y = draw_observations(options.n, options.queries, rng)
    share, vectors = (
        size / options.parts / 1e6 for size in (12 * S.nnz + 8 * options.n, 56 * options.queries * options.n)
    )
    print(
        f"{options.n} nodes, {S.nnz / options.n:.1f} per row; of {options.parts} parts each has "
        f"{share:.0f} MB, vectors {vectors:.0f} MB",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        compare(S, Y, save_parts(str(Path(folder)), S, options.parts), options)


if __name__ == "__main__":
    main()
