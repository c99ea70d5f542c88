"""How the cost of a graph and of searches over it grows with the collection.

For every size a fresh process draws planted manifolds, builds the graph with the operators of build-graph (by
the path that the planner chooses, or the one named) and diffuses for some queries. A line gives seconds and
CPU seconds (children included) of each step; at the end stands the exponent of n that fits the totals best
(least squares of the logarithms), and between neighbouring sizes. With ``--keep FOLDER`` what was done stays
there, so that sizes can be measured one by one, and a run that was stopped goes on after its last step. Run
on a quiet machine::

    python benchmarks/growth.py
    python benchmarks/growth.py --sizes 50000 100000 200000 500000 1000000 --method ivf
    python benchmarks/growth.py --sizes 50000 --keep grown && python benchmarks/growth.py --keep grown
"""

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path

import numpy as np
from manifolds import SESSION, Pipeline, draw_views, write_vectors

from resight.search.collection import SearchFiles
from resight.search.rank import answer_queries
from resight.search.settings import SearchSettings
from resight.session import start_session

SIZES = [50_000, 100_000, 200_000, 500_000, 1_000_000]


def measure(n, options):
    """Build one graph and search it, in this process: step -> (seconds, CPU seconds, MiB)."""
    kept = options.keep and Path(options.keep, str(n))
    if kept and (kept / "figures.json").exists():
        return json.loads((kept / "figures.json").read_text())
    spark = start_session(SESSION)
    with nullcontext(str(kept)) if kept else tempfile.TemporaryDirectory(dir=options.folder) as folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        pipeline = Pipeline(spark, folder, k=options.k, method=options.method)
        write_vectors(pipeline.path("vectors"), n, options.d)
        warm_up(spark, options)
        collection = SearchFiles(*pipeline.build()).open()
        Q = draw_views(0, options.queries, options.d, noise=0.45)
        settings = SearchSettings(method="diffusion", alpha=options.alpha)
        own = np.full(len(Q), -1)
        next(answer_queries(Q[:1], own[:1], collection, settings))  # compiles
        name = f"{len(Q)} queries"
        pipeline.timed(name, lambda: list(answer_queries(Q, own, collection, settings, threads=2)))
        figures = {"nnz": collection.nodes.S.nnz, "steps": pipeline.seconds}
        (Path(folder) / "figures.json").write_text(json.dumps(figures))
    spark.stop()
    return figures


def warm_up(spark, options):
    """Go through all steps on a few vectors: what a session costs once is no part of the growth."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        pipeline = Pipeline(spark, folder, k=10, method=options.method)
        write_vectors(pipeline.path("vectors"), 2000, options.d)
        pipeline.build()


def fit_exponent(sizes, costs):
    """Fit the exponent of ``cost ~ n^e``, and give those between neighbouring sizes."""
    x, y = np.log(sizes), np.log(costs)
    local = [(d - c) / (b - a) for (a, c), (b, d) in pairwise(zip(x, y, strict=True))]
    return (float(np.polyfit(x, y, 1)[0]) if len(x) > 1 else float("nan")), local


def report(n, figures):
    """Print the steps of one size; give the totals (seconds, CPU seconds)."""
    steps = figures["steps"]
    totals = [sum(pair[i] for pair in steps.values()) for i in (0, 1)]
    print(f"n {n}, {figures['nnz'] / n:.1f} edges a node: {totals[0]:.1f} s, {totals[1]:.1f} CPU-s")
    for name, (wall, cpu, peak) in steps.items():
        each = f"{1e3 * cpu / n:8.3f} CPU-ms a vector"
        print(f"  {name:22s} {wall:9.1f} s {cpu:9.1f} CPU-s {each} {peak:8.0f} MiB", flush=True)
    return totals


def main():
    """Measure every size in a process of its own, then fit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--d", type=int, default=128)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--alpha", type=float, default=0.99)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--method", choices=["auto", "exact", "ivf"], default="auto")
    parser.add_argument("--folder", default=None, help="where tables and files are written, and deleted")
    parser.add_argument("--keep", default="", help="folder that keeps what was done, for the next call")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        sys.stdout.write(json.dumps(measure(options.measure, options)) + "\n")
        return
    totals = []
    for n in options.sizes:
        words = [sys.executable, __file__, *sys.argv[1:], "--measure", str(n)]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
        totals.append(report(n, json.loads(done.stdout.splitlines()[-1])))
    for name, costs in zip(("seconds", "CPU seconds"), zip(*totals, strict=True), strict=True):
        exponent, local = fit_exponent(options.sizes, costs)
        steps = ", ".join(f"{e:.2f}" for e in local)
        print(f"{name} grow as n^{exponent:.2f}; from size to size {steps}")


if __name__ == "__main__":
    main()
