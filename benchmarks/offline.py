"""Diffusion of every node ahead of time: our rows against one slice and one scipy solve per node.

The public code's algorithm slices ``I - alpha S`` to the list of a node and runs 20 steps of
``scipy.sparse.linalg.cg`` on it. Both sides get the same graph and the same lists and run alternately, one
thread each; a line gives median CPU seconds per 1,000 nodes and the ratio with its range, and how far the
scores are apart: in float64 and in float32, with all scores of a list sorted, and with the best 100, which is
what the job keeps (the other side keeps all, unsorted). Seeds are runs of consecutive nodes, as a job's
blocks are. The graph is planted: long curves, every node linked to some that lie near it on its curve, a few
links astray. Run on a quiet machine::

    python benchmarks/offline.py
    python benchmarks/offline.py --n 50000 --lists 100 1000 --pairs 7
    python benchmarks/offline.py --n 1000000 --lists 100 300 --seeds 2000 --threads 2
"""

import argparse
import resource
import statistics
import sys
import time

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import cg

from resight.diffusion.normalize import normalize_affinity
from resight.diffusion.offline import Shortlists, solve_offline
from resight.diffusion.reach import grow_lists

ALPHA, TOL, STEPS = 0.99, 1e-6, 20
WAYS = (
    ("float64", {}),
    ("float32", {"precision": "float32"}),
    ("float32, best 100", {"precision": "float32", "depth": 100}),
)


def plant_graph(n, degree, *, reach=40, astray=0.02, seed=0):
    """Draw a normalised graph: ``degree`` links a node, to about ``reach`` steps along its curve."""
    rng = np.random.default_rng(seed)
    src = np.repeat(np.arange(n, dtype=np.int32), degree // 2)
    dst = (src + rng.geometric(1 / reach, len(src))) % n
    dst = np.where(rng.random(len(src)) < astray, rng.integers(0, n, len(src)), dst).astype(np.int32)
    weights = rng.uniform(0.3, 1, len(src)) ** 3
    kept = src != dst
    A = sp.csr_array((weights[kept], (src[kept], dst[kept])), shape=(n, n))
    return normalize_affinity(A.maximum(A.T)).S


def solve_one_by_one(system, lists):
    """Slice and solve node after node, as the public code does; scores in the order of the lists."""
    rows = []
    for i, seed in enumerate(lists.seeds):
        nodes = lists.ordinals[lists.offsets[i] : lists.offsets[i + 1]]
        small = system[nodes][:, nodes]
        load = (1 - ALPHA) * (nodes == seed)
        rows.append(cg(small, load, rtol=TOL, atol=0, maxiter=STEPS)[0])
    return rows


def largest_difference(rows, expected, lists):
    """Largest difference of a score, relative to the largest score of its row."""
    worst = 0.0
    for i, scores in enumerate(expected):
        nodes = lists.ordinals[lists.offsets[i] : lists.offsets[i + 1]]
        entries = slice(rows.offsets[i], rows.offsets[i + 1])
        order = np.argsort(nodes)
        dense = np.zeros(len(nodes))
        dense[order[np.searchsorted(nodes[order], rows.ordinals[entries])]] = rows.scores[entries]
        worst = max(worst, np.abs(dense - scores).max() / np.abs(scores).max())
    return worst


def first_lists(lists, b):
    """Give the lists of the first ``b`` seeds."""
    return Shortlists(lists.seeds[:b], lists.offsets[: b + 1], lists.ordinals[: lists.offsets[b]])


def run_timed(function, clock=time.process_time):
    """Give the seconds and the result of one call."""
    start = clock()
    result = function()
    return clock() - start, result


def draw_seeds(n, n_seeds, *, run=64):
    """Draw runs of consecutive nodes."""
    starts = np.random.default_rng(1).integers(0, max(n - run, 1), max(n_seeds // run, 1))
    return np.unique(np.minimum(np.add.outer(starts, np.arange(run)), n - 1))


def compare(S, lists, pairs, n_scipy, way):
    """Run both sides alternately; the slower one gets fewer nodes, and both figures are per 1,000."""
    name, options = way
    options = {"alpha": ALPHA, "tol": TOL, "max_iter": STEPS} | options
    solve_offline(S, first_lists(lists, 1), **options)  # compiles
    system = (sp.eye_array(S.shape[0], format="csr") - ALPHA * S).tocsr()
    few = first_lists(lists, min(n_scipy, len(lists.seeds)))
    ours, theirs = [], []
    for _ in range(pairs):
        seconds, rows = run_timed(lambda: solve_offline(S, lists, **options))
        ours.append(1000 * seconds / len(lists.seeds))
        seconds, expected = run_timed(lambda: solve_one_by_one(system, few))
        theirs.append(1000 * seconds / len(few.seeds))
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    print(
        f"  {name}: {statistics.median(ours):.3f} CPU-s per 1,000 nodes against "
        f"{statistics.median(theirs):.3f} s; "
        f"{statistics.median(ratios):.1f} x [{ratios[0]:.1f}, {ratios[-1]:.1f}], {pairs} pairs; "
        f"{rows.iterations.mean():.1f} iterations, residual {np.median(rows.residuals):.1e}"
        + ("" if "depth" in options else f", off by {largest_difference(rows, expected, few):.1e} at most"),
        flush=True,
    )
    return statistics.median(ours)


def run_size(S, size, options):
    """Measure one length of lists: both sides, then threads, and what all nodes would take."""
    seeds = draw_seeds(S.shape[0], options.seeds)
    grow_lists(S, seeds[:1], size=size)  # compiles
    seconds, lists = run_timed(lambda: grow_lists(S, seeds, size=size))
    print(f"n {S.shape[0]}, {S.nnz / S.shape[0]:.1f} links a node, lists of {size}:", flush=True)
    for way in WAYS:
        alone = compare(S, lists, options.pairs, options.scipy_seeds, way)
    growing = 1000 * seconds / len(seeds)
    hours = (alone + growing) * S.shape[0] / 3.6e6
    print(f"  lists: {growing:.3f} s per 1,000; all nodes: {hours:.3f} h of a core")
    walls = [
        statistics.median(
            run_timed(
                lambda t=threads: solve_offline(S, lists, precision="float32", threads=t), time.perf_counter
            )[0]
            for _ in range(options.pairs)
        )
        for threads in (1, options.threads)
    ]
    print(f"  {options.threads} threads: {walls[0] / walls[1]:.2f} x one, by the wall clock", flush=True)


def main():
    """Measure every length of lists."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--degree", type=int, default=24)
    parser.add_argument("--lists", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--scipy-seeds", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    S = plant_graph(options.n, options.degree)
    for size in options.lists:
        run_size(S, size, options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of this process {peak:.0f} MiB, graph {(12 * S.nnz) / 2**20:.0f} MiB")


if __name__ == "__main__":
    sys.exit(main())
