"""Diffusion's solver: its product against ``csr_matvecs``, its solution against ``scipy.sparse.linalg.cg``.

The graph is drawn: clusters of 40 nodes, about 13 neighbours per row, one link in twenty to anywhere, node
numbers in random order. *Product*: milliseconds for S times a block of s vectors, and the share of a plain
copy's bandwidth when only the bytes that must move are counted (12 per stored entry, 16 per number of the
block). What two threads gain stands next to what they gain at a copy of as many bytes, which memory limits,
and at sums in registers, which only the machine's second core limits. *Solve*: queries of ten nodes each, the
same queries on both sides, `cg` one by one on the graph in our order and with BLAS on one thread; both reach
the same true residual, which is printed. All sides of a pair run alternately in one process; each line gives
the median of the ratios and their range, wall and CPU seconds. Run on a quiet machine::

    python benchmarks/solver.py
    python benchmarks/solver.py --n 1000000 --queries 256 --pairs 8 --parts product solve
"""

import argparse
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numba
import numpy as np
import scipy.sparse as sp
from scipy.sparse._sparsetools import csr_matvecs
from scipy.sparse.linalg import cg
from threadpoolctl import threadpool_limits

from resight.diffusion.normalize import normalize_affinity
from resight.diffusion.order import arrange_graph
from resight.diffusion.product import Passes
from resight.diffusion.solve import solve_diffusion

ALPHA = 0.99
SUMS = 100_000_000  # of one call of the sums in registers


def draw_graph(n, rng, *, degree=14, size=40, far=0.05):
    """Draw the normalised graph with node numbers in random order, int32."""
    src = rng.integers(0, n, n * degree // 2)
    dst = np.minimum(src // size * size + rng.integers(0, size, len(src)), n - 1)
    is_far = rng.random(len(src)) < far
    dst[is_far] = rng.integers(0, n, is_far.sum())
    names = rng.permutation(n).astype(np.int32)
    src, dst = names[src[src != dst]], names[dst[src != dst]]
    weight = rng.random(len(src)) + 0.1
    ends = (np.concatenate([src, dst]), np.concatenate([dst, src]))
    return normalize_affinity(sp.coo_array((np.tile(weight, 2), ends), shape=(n, n))).S


def run_timed(function):
    """Give (wall seconds, CPU seconds) of one call."""
    cpu, wall = time.process_time(), time.perf_counter()
    function()
    return time.perf_counter() - wall, time.process_time() - cpu


def run_pairs(sides, pairs):
    """Run named functions of the pair's number in turn; per name the (wall, CPU) of every pair."""
    times = {name: [] for name in sides}
    for i in range(pairs):
        names = list(sides) if i % 2 == 0 else list(sides)[::-1]
        for name in names:
            times[name].append(run_timed(partial(sides[name], i)))
    return times


def median_wall(rows):
    """Median of the wall seconds."""
    return statistics.median(wall for wall, _ in rows)


def describe_ratio(theirs, ours):
    """How many times faster ours is: median of the pairs' ratios with their range; CPU seconds likewise."""
    ratios = sorted(a[0] / b[0] for a, b in zip(theirs, ours, strict=True))
    cpu = sum(a[1] for a in theirs) / sum(b[1] for b in ours)
    return f"{statistics.median(ratios):.2f} x [{ratios[0]:.2f}, {ratios[-1]:.2f}], CPU {cpu:.2f} x"


def share(call, n, threads):
    """Call with consecutive ranges of ``n`` things, each thread a part of its own."""
    cuts = [n * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda i: call(cuts[i], cuts[i + 1]), range(threads)))


@numba.njit(nogil=True)
def add_up(start, stop):
    """Sum in a register: an instruction waits for the one before and for nothing else."""
    total = 0.0
    for i in range(start, stop):
        total += i
    return total


def compare_products(name, S, s, pairs):
    """Time S times a block of s vectors on both sides, on one thread and on two."""
    n, P = S.shape[0], np.random.default_rng(1).random((S.shape[0], s))
    Q, minimal = np.empty_like(P), 12 * S.nnz + 16 * n * s
    source, target = np.ones(minimal // 16), np.empty(minimal // 16)  # a copy reads 8 bytes and writes 8

    def multiply_scipy(_):
        Q.fill(0)
        csr_matvecs(n, n, s, S.indptr, S.indices, S.data, P.ravel(), Q.ravel())

    with Passes(S) as one, Passes(S, threads=2) as two:

        def copy(start, stop):
            target[start:stop] = source[start:stop]

        sides = {
            "copy": lambda _: share(copy, len(source), 1),
            "copy 2": lambda _: share(copy, len(source), 2),
            "sums": lambda _: share(add_up, SUMS, 1),
            "sums 2": lambda _: share(add_up, SUMS, 2),
            "scipy": multiply_scipy,
            "ours": lambda _: one.multiply(P, Q),
            "ours 2": lambda _: two.multiply(P, Q),
        }
        run_pairs(sides, 1)
        times = run_pairs(sides, pairs)
    ms = {side: 1e3 * median_wall(rows) for side, rows in times.items()}
    shares = [ms["copy"] / ms["scipy"], ms["copy"] / ms["ours"], ms["copy 2"] / ms["ours 2"]]
    print(
        f"product, {name}, s = {s}: csr_matvecs {ms['scipy']:.0f} ms ({shares[0]:.0%} of a copy), ours "
        f"{ms['ours']:.0f} ms ({shares[1]:.0%}), two threads {ms['ours 2']:.0f} ms ({shares[2]:.0%} of two)\n"
        f"  one thread / csr_matvecs {describe_ratio(times['scipy'], times['ours'])}\n"
        + "".join(
            f"  two threads / one, {what}: {describe_ratio(times[side], times[f'{side} 2'])}\n"
            for side, what in (("ours", "product"), ("copy", "a copy"), ("sums", "sums"))
        )
        + f"  {pairs} pairs",
        flush=True,
    )


def draw_observations(n, s, rng):
    """Ten nodes per query, in weights that fall."""
    nodes = rng.integers(0, n, 10 * s)
    weights = np.tile(0.9 ** np.arange(10), s)
    return sp.csc_array((weights, (nodes, np.repeat(np.arange(s), 10))), shape=(n, s))


def find_worst_residual(S, F, Y):
    """Largest true relative residual of the columns."""
    B = (1 - ALPHA) * Y.toarray()
    return (np.linalg.norm(B - F + ALPHA * (S @ F), axis=0) / np.linalg.norm(B, axis=0)).max()


def solve_one_by_one(M, Y, tol):
    """Solve by scipy's conjugate gradient, one column after the other; (n, s)."""
    B = (1 - ALPHA) * Y.toarray().T
    return np.stack([cg(M, b, rtol=tol, atol=0)[0] for b in B], axis=1)


def compare_solves(S, options, rng):
    """Solve the same blocks of queries by scipy, one by one, and by ours in four ways."""
    step = -(-options.queries // options.pairs)
    blocks = [draw_observations(S.shape[0], step, rng) for _ in range(options.pairs)]
    M = sp.csr_array(sp.eye_array(S.shape[0]) - ALPHA * S)
    ways = {"float64": {}, "float32": {"precision": "float32"}}
    ways |= {f"{name}, two threads": {**keywords, "threads": 2} for name, keywords in ways.items()}
    scores = {}

    def solve_ours(name, i):
        scores[name] = solve_diffusion(S, blocks[i], alpha=ALPHA, tol=options.tol, **ways[name]).F

    def solve_scipy(i):
        scores["scipy"] = solve_one_by_one(M, blocks[i], options.tol)

    sides = {"scipy": solve_scipy} | {name: partial(solve_ours, name) for name in ways}
    for name in ways:
        sides[name](0)
    with threadpool_limits(1):
        times = run_pairs(sides, options.pairs)
    worst = {}
    for name in sides:
        sides[name](0)
        worst[name] = find_worst_residual(S, scores[name], blocks[0])
    total = options.pairs * median_wall(times["scipy"])
    print(f"solve, {options.pairs} x {step} queries: scipy's cg {total:.1f} s, residual {worst['scipy']:.1e}")
    for name in ways:
        seconds, ratio = options.pairs * median_wall(times[name]), describe_ratio(times["scipy"], times[name])
        print(f"  {name}: {seconds:.1f} s, {ratio}, residual {worst[name]:.1e}", flush=True)


def main():
    """Run the chosen parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32])
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--tol", type=float, default=1e-6)
    parser.add_argument("--parts", nargs="+", choices=["product", "solve"], default=["product", "solve"])
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    S = draw_graph(options.n, rng)
    begun = time.perf_counter()
    arranged = arrange_graph(S).S
    print(
        f"{options.n} nodes, {S.nnz / options.n:.1f} per row; ordered in {time.perf_counter() - begun:.1f} s"
    )
    if "product" in options.parts:
        for s in options.widths:
            compare_products("random order", S, s, options.pairs)
            compare_products("our order", arranged, s, options.pairs)
    if "solve" in options.parts:
        compare_solves(arranged, options, rng)


if __name__ == "__main__":
    sys.exit(main())
